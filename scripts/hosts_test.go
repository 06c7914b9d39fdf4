package scripts

import (
	"os"
	"strings"
	"testing"
)

func TestOthersEditsSurvive(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		if err := os.Rename(n.root+"/etc/hosts", n.root+"/etc/hosts.real"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("hosts.real", n.root+"/etc/hosts"); err != nil {
			t.Fatal(err)
		}
		n.install()
		n.write("etc/hosts.real", "10.1.1.1 early\n"+n.read("etc/hosts")+"10.2.2.2 late\n", 0o640)
		n.run(Base, "apply", baseVars(owner, Var{"HOSTS_IP", "10.99.0.13"}))
		if got := n.read("etc/hosts"); !strings.HasSuffix(got, "# BEGIN berth\n10.99.0.13 Yuan.com\n# END berth\n10.2.2.2 late\n") {
			t.Errorf("hosts is %q", got)
		}
		n.write("usr/local/bin/mine", "x", 0o755)
		n.run(Anchor, "remove", anchorVars(owner))
		want := "10.1.1.1 early\n127.0.0.1 localhost\n10.0.0.9 other.example\n10.2.2.2 late\n"
		if got := n.read("etc/hosts"); got != want {
			t.Errorf("hosts is %q, want %q", got, want)
		}
		info, err := os.Lstat(n.root + "/etc/hosts")
		target, err2 := os.Stat(n.root + "/etc/hosts")
		if err != nil || err2 != nil || info.Mode()&os.ModeSymlink == 0 || target.Mode().Perm() != 0o640 {
			t.Errorf("hosts became %v, %v", info.Mode(), target.Mode())
		}
		if !n.exists("usr/local/bin/mine") {
			t.Error("somebody else's file is gone")
		}
	})
}

func TestHostsBlock(t *testing.T) {
	t.Parallel()
	shell := shells(t)["busybox"]
	for name, c := range map[string]struct{ before, edit, want string }{
		"empty":             {"", "", ""},
		"no final newline":  {"a", "", "a"},
		"final newline":     {"a\n", "", "a\n"},
		"blank lines":       {"\n\na\n\n", "", "\n\na\n\n"},
		"line added":        {"a", "b\n", "a\nb\n"},
		"end mark lost":     {"a\n", "-# END berth\n", "a\n"},
		"end mark lost, +b": {"a\n", "-# END berth\nb\n", "a\nb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shell)
			n.write("etc/hosts", c.before, 0o644)
			n.run(Base, "apply", baseVars(owner))
			n.run(Base, "apply", baseVars(owner))
			text := n.read("etc/hosts")
			if strings.Count(text, "# BEGIN berth\n10.99.0.12 Yuan.com\n# END berth\n") != 1 {
				t.Errorf("hosts is %q", text)
			}
			edit := c.edit
			if rest, lost := strings.CutPrefix(edit, "-# END berth\n"); lost {
				text, edit = strings.ReplaceAll(text, "# END berth\n", ""), rest
			}
			n.write("etc/hosts", text+edit, 0o644)
			n.run(Anchor, "remove", anchorVars(owner))
			if got := n.read("etc/hosts"); got != c.want {
				t.Errorf("%q became %q, want %q", c.before, got, c.want)
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		before := n.read("etc/hosts")
		n.run(Base, "apply", baseVars(owner))
		got, want := n.run(Base, "apply", baseVars(owner, Var{"HOSTS_IP", ""})), "base trust=containerd hosts=none port=30443 changed=ca,hosts,port"
		if got != want {
			t.Errorf("got %q", got)
		}
		if n.read("etc/hosts") != before {
			t.Errorf("hosts is %q", n.read("etc/hosts"))
		}
	})
	t.Run("named already", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		n.write("etc/hosts", "10.5.5.5 x yuan.COM # old\n", 0o644)
		n.fail(Base, "apply", baseVars(owner), "/etc/hosts names the registry already", "hostsEntry")
		if n.read("etc/hosts") != "10.5.5.5 x yuan.COM # old\n" {
			t.Errorf("hosts is %q", n.read("etc/hosts"))
		}
	})
	t.Run("cloud-init", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		n.write("etc/cloud/cloud.cfg", "manage_etc_hosts: true\n", 0o644)
		n.fail(Base, "apply", baseVars(owner), "cloud-init", "manage_etc_hosts")
	})
}
