package scripts

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const owner = "dev/n1"

// eachShell runs a test on a fresh node for each shell that nodes have.
func eachShell(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newNode(t, argv))
		})
	}
}

func TestApplyTwiceThenRemove(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		if got := n.run(Anchor, "preflight", anchorVars(owner)); !strings.HasPrefix(got, "preflight ok: ") {
			t.Errorf("preflight said %q", got)
		}
		n.same(before)
		for i := range 2 {
			if got, want := n.run(Base, "apply", baseVars(owner)), "base trust=containerd hosts=10.99.0.12 port=30443"; got != want {
				t.Errorf("run %d of base: %q, want %q", i, got, want)
			}
			want := "containerd=" + testVersion + " digest=" + digest + " restarts=1"
			if got := n.run(Containerd, "apply", containerdVars(owner, digest)); got != want {
				t.Errorf("run %d of containerd: %q, want %q", i, got, want)
			}
			if n.starts() != 1 {
				t.Fatalf("run %d: containerd started %d times", i, n.starts())
			}
			if i == 0 {
				before := n.snapshot()
				defer func() { n.same(before) }()
			}
		}
		if got := strings.Count(n.getSim("calls"), "curl "); got != 1 {
			t.Errorf("fetched %d times", got)
		}
		if n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
			t.Errorf("%s runs", n.running())
		}
		if got, want := n.getSim("starts"), "/usr/local/bin/containerd-berth-"+testVersion+" --config /etc/containerd/config.toml --log-level info\n"; strings.ReplaceAll(
			strings.Join(strings.Fields(got), " "), `"`, "")+"\n" != want {
			t.Errorf("started %q, want %q", got, want)
		}
		if got, want := n.read("etc/hosts"), "127.0.0.1 localhost\n10.0.0.9 other.example\n# BEGIN berth\n10.99.0.12 Yuan.com\n# END berth\n"; got != want {
			t.Errorf("hosts is %q", got)
		}
		if !strings.Contains(n.read("etc/containerd/berth.ports"), "\nYuan.com 30443\n") {
			t.Errorf("mapping is %q", n.read("etc/containerd/berth.ports"))
		}
		if got := n.read("etc/systemd/system/containerd.service.d/zz-berth.conf"); !strings.Contains(got,
			`Environment="SSL_CERT_DIR=/etc/ssl/certs:/etc/pki/tls/certs:/var/lib/berth/trust"`) {
			t.Errorf("drop-in is %q", got)
		}
		if target, err := os.Readlink(n.root + "/usr/local/bin/ctr"); err != nil || target != "/usr/local/bin/ctr-berth-"+testVersion {
			t.Errorf("ctr leads to %q, %v", target, err)
		}
	})
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		n.setSim("images", n.getSim("images")+strings.Join([]string{
			"Yuan.com/berth/verify:1f x sha256:aa", "Yuan.com/berth/verify@sha256:aa x sha256:aa", "sha256:cfgaa x sha256:aa",
			"Yuan.com/nginx:v1 x sha256:bb", "sha256:cfgbb x sha256:bb", "",
		}, "\n"))
		if got := n.run(Anchor, "remove", anchorVars(owner)); got != "removed: "+owner {
			t.Errorf("remove said %q", got)
		}
		n.same(before)
		if n.running() != "/usr/bin/containerd" || n.starts() != 2 {
			t.Errorf("%s runs after %d starts", n.running(), n.starts())
		}
		if got := n.getSim("images"); strings.Contains(got, "aa") || !strings.Contains(got, "Yuan.com/nginx:v1") || !strings.Contains(got, "cfgbb") {
			t.Errorf("images are %q", got)
		}
		if got := n.run(Anchor, "remove", anchorVars(owner)); got != "removed: nothing was left" {
			t.Errorf("second remove said %q", got)
		}
		n.same(before)
		if n.starts() != 2 {
			t.Errorf("the second remove restarted containerd")
		}
	})
}

// install does what an up does.
func (n *node) install() string {
	n.t.Helper()
	digest := n.publish(containerdScript(testVersion, 0, "cri"))
	n.run(Anchor, "preflight", anchorVars(owner))
	n.run(Base, "apply", baseVars(owner))
	return n.run(Containerd, "apply", containerdVars(owner, digest))
}

func TestFailedSwitchRollsBack(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		broken := n.publish(containerdScript(testVersion, 1, "cri"))
		n.run(Base, "apply", baseVars(owner))
		dropin := "etc/systemd/system/containerd.service.d/zz-berth.conf"
		n.fail(Containerd, "apply", containerdVars(owner, broken), "no such config: BROKEN", "/usr/bin/containerd runs again", "failed")
		if n.running() != "/usr/bin/containerd" || n.exists(dropin) || n.exists("run/systemd/system/containerd.service.d") {
			t.Fatalf("%s runs, drop-in %v", n.running(), n.exists(dropin))
		}
		// The next good one repairs it, and a broken one of the same version leaves that in place.
		good := n.publish(containerdScript(testVersion, 0, "cri"))
		if got, want := n.run(Containerd, "apply", containerdVars(owner, good)), "containerd="+testVersion+" digest="+good+" restarts=3"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		before := n.snapshot()
		n.publish(containerdScript(testVersion, 1, "cri"))
		n.fail(Containerd, "apply", containerdVars(owner, broken), "no such config: BROKEN", "containerd-berth-"+testVersion+" runs again")
		after := n.snapshot()
		for _, name := range []string{"/" + dropin, "/usr/local/bin/containerd-berth-" + testVersion} {
			if before[name] != after[name] {
				t.Errorf("%s changed", name)
			}
		}
		if n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
			t.Errorf("%s runs", n.running())
		}
		n.publish(containerdScript(testVersion, 0, "cri"))
		if got, want := n.run(Containerd, "apply", containerdVars(owner, good)), "containerd="+testVersion+" digest="+good+" restarts=5"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestLostPluginRollsBack(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		// Time runs fast, so that the health check gives up early.
		n.stub("date", `case $* in +%s) echo 10 >>"$SIM/clock"; echo $(($(wc -l <"$SIM/clock") * 10)) ;; *) exec /bin/date "$@" ;; esac`)
		n.write("usr/bin/containerd", containerdScript("1.7.20", 0, "cri", "nri"), 0o755)
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		n.fail(Containerd, "apply", containerdVars(owner, digest), "plugin io.containerd.grpc.v1.nri is missing", "/usr/bin/containerd runs again")
		if n.running() != "/usr/bin/containerd" {
			t.Errorf("%s runs", n.running())
		}
	})
}

func TestRestartsOnlyForAReason(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		n.install()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		want := 1
		check := func(what string, more int, vars ...Var) {
			t.Helper()
			want += more
			n.run(Containerd, "apply", containerdVars(owner, digest, vars...))
			if n.starts() != want {
				t.Errorf("%s: %d starts, want %d", what, n.starts(), want)
			}
		}
		n.run(Base, "apply", baseVars(owner, Var{"NODE_PORT", "30444"}))
		check("another port", 0, Var{"NODE_PORT", "30444"})
		check("another password", 0, Var{"PULL_PASSWORD", "other"})
		ca := strings.ReplaceAll(testCA, "\nMII", "\nMIJ")
		n.run(Base, "apply", baseVars(owner, Var{"CA_PEM", ca}))
		check("another CA", 1, Var{"CA_PEM", ca})
		n.write("usr/local/bin/containerd-berth-"+testVersion, "#!/bin/sh\n", 0o755)
		check("an overwritten binary", 1, Var{"CA_PEM", ca})
		if err := os.Remove(n.root + "/etc/systemd/system/containerd.service.d/zz-berth.conf"); err != nil {
			t.Fatal(err)
		}
		check("a removed drop-in", 1, Var{"CA_PEM", ca})
		if err := os.Remove(n.root + "/proc/4242/exe"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(n.root+"/usr/bin/containerd", n.root+"/proc/4242/exe"); err != nil {
			t.Fatal(err)
		}
		check("another running binary", 1, Var{"CA_PEM", ca})
		n.setSim("active", "failed\n")
		check("a containerd that is down", 1, Var{"CA_PEM", ca})
		check("nothing", 0, Var{"CA_PEM", ca})
		if got := strings.Count(n.getSim("calls"), "curl "); got != 1 {
			t.Errorf("fetched %d times", got)
		}
	})
}

func TestUpgradeDropsTheOlderVersion(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		digest := n.publish(containerdScript("1.7.37+berth.1", 0, "cri"))
		n.run(Containerd, "apply", containerdVars(owner, digest, Var{"VERSION", "1.7.37+berth.1"}))
		files, err := filepath.Glob(n.root + "/usr/local/bin/*")
		if err != nil || len(files) != 3 || n.running() != "/usr/local/bin/containerd-berth-1.7.37+berth.1" {
			t.Errorf("%v, %v; %s runs", files, err, n.running())
		}
		if target, err := os.Readlink(n.root + "/usr/local/bin/ctr"); err != nil || target != "/usr/local/bin/ctr-berth-1.7.37+berth.1" {
			t.Errorf("ctr leads to %q, %v", target, err)
		}
		old := n.publish(containerdScript("1.6.39+berth.1", 0, "cri"))
		n.fail(Containerd, "apply", containerdVars(owner, old, Var{"VERSION", "1.6.39+berth.1"}), "newer line")
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
	})
}

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
		real, err2 := os.Stat(n.root + "/etc/hosts")
		if err != nil || err2 != nil || info.Mode()&os.ModeSymlink == 0 || real.Mode().Perm() != 0o640 {
			t.Errorf("hosts became %v, %v", info.Mode(), real.Mode())
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
		if got := n.run(Base, "apply", baseVars(owner, Var{"HOSTS_IP", ""})); got != "base trust=containerd hosts=none port=30443" {
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
		n.fail(Base, "apply", baseVars(owner), "/etc/hosts names Yuan.com already", "hostsEntry")
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

func TestOwner(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		n.install()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		// The machine was renamed in the config: the new name takes over, the old anchor's remove does nothing.
		n.run(Anchor, "preflight", anchorVars("dev/m1"))
		n.run(Base, "apply", baseVars("dev/m1"))
		n.run(Containerd, "apply", containerdVars("dev/m1", digest))
		before := n.snapshot()
		if got := n.run(Anchor, "remove", anchorVars(owner)); got != "skip remove: owner is dev/m1" {
			t.Errorf("remove said %q", got)
		}
		n.same(before)
		// Another stack takes nothing.
		for _, r := range []struct {
			s    Script
			verb string
			vars []Var
		}{
			{Anchor, "preflight", anchorVars("prod/n1")},
			{Base, "apply", baseVars("prod/n1")},
			{Containerd, "apply", containerdVars("prod/n1", digest)},
		} {
			n.fail(r.s, r.verb, r.vars, "this node belongs to dev/m1")
		}
		if got := n.run(Anchor, "remove", anchorVars("prod/n1")); got != "skip remove: owner is dev/m1" {
			t.Errorf("remove said %q", got)
		}
		n.same(before)
	})
}

func TestRemoveFencesOrphans(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		clean := n.snapshot()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Anchor, "preflight", anchorVars(owner))
		// A base whose pulumi was killed hangs in the middle, a containerd apply waits behind it, and remove behind both.
		n.stub("cp", `touch "$SIM/hangs"; while [ ! -e "$SIM/go" ]; do sleep 0.05; done; exec /bin/cp "$@"`)
		start := func(s Script, verb string, vars []Var) chan result {
			done := make(chan result)
			go func() { done <- n.try(s, verb, vars) }()
			return done
		}
		base := start(Base, "apply", baseVars(owner))
		n.waitFor(func() bool { _, err := os.Stat(n.sim + "/hangs"); return err == nil })
		// The remove is given the lock first: flock promises no order.
		n.stub("flock", `case $* in
"-n 9") exec /usr/bin/flock "$@" ;;
"-w 900 9") touch "$SIM/remove-waits"; exec /usr/bin/flock "$@" ;;
*) touch "$SIM/apply-waits"; while [ ! -e "$SIM/apply-go" ]; do sleep 0.05; done; exec /usr/bin/flock "$@" ;;
esac`)
		late := start(Containerd, "apply", containerdVars(owner, digest))
		n.waitFor(func() bool { _, err := os.Stat(n.sim + "/apply-waits"); return err == nil })
		remove := start(Anchor, "remove", anchorVars(owner))
		n.waitFor(func() bool { _, err := os.Stat(n.sim + "/remove-waits"); return err == nil })
		n.setSim("go", "")
		if r := <-base; r.err != nil {
			t.Fatalf("base: %v\n%s", r.err, r.stderr)
		}
		r := <-remove
		if r.err != nil || !strings.Contains(r.stderr, "waiting up to 900 s for base apply of "+owner) {
			t.Fatalf("remove: %v\n%s", r.err, r.stderr)
		}
		n.same(clean)
		n.setSim("apply-go", "")
		if r := <-late; r.err == nil || !strings.Contains(r.stderr, "removed from this node while this step waited") {
			t.Errorf("the queued apply: %v\n%s", r.err, r.stderr)
		}
		n.same(clean)
		// One that was still dialling refuses too, and a new up works.
		n.fail(Base, "apply", baseVars(owner), "berth was removed from this node", "run pulumi up again in")
		n.same(clean)
		n.install()
	})
}

func (n *node) waitFor(ready func() bool) {
	n.t.Helper()
	for range 400 {
		if ready() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	n.t.Fatal("waited in vain")
}

// TestKilledAnywhere kills an apply at each tool it calls; after each, remove gives the node back, and apply repairs it.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	shell := shells(t)["dash"]
	for _, tool := range []string{"mv", "cp", "systemd-run", "systemctl", "tar", "mkdir", "curl", "ln", "rmdir"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			step := 1
			if tool == "mv" {
				// Every file that is replaced: too many to try each of them each time.
				step = 3
			}
			for count := 1; ; count += step {
				n := newNode(t, shell)
				clean := n.snapshot()
				digest := n.publish(containerdScript(testVersion, 0, "cri"))
				n.killAt(tool)
				n.env = []string{"KILL_AT=" + strings.Repeat("x", count)}
				killed := n.try(Base, "apply", baseVars(owner)).err != nil
				if !killed {
					killed = n.try(Containerd, "apply", containerdVars(owner, digest)).err != nil
				}
				n.env = []string{"KILL_AT="}
				if n.getSim("active") != "active\n" {
					t.Fatalf("call %d: containerd does not run", count)
				}
				if count%2 == 0 {
					n.run(Base, "apply", baseVars(owner))
					n.run(Containerd, "apply", containerdVars(owner, digest))
					if n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
						t.Fatalf("call %d: %s runs", count, n.running())
					}
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
				if n.running() != "/usr/bin/containerd" {
					t.Fatalf("call %d: %s runs", count, n.running())
				}
				if t.Failed() {
					t.Fatalf("call %d of %s", count, tool)
				}
				if !killed {
					if count == 1 {
						t.Fatalf("%s is never called", tool)
					}
					return
				}
			}
		})
	}
}

// killAt makes the call of tool whose number is the length of KILL_AT kill the script that made it.
func (n *node) killAt(tool string) {
	n.t.Helper()
	for _, dir := range []string{n.path, "/usr/bin", "/bin", "/usr/sbin"} {
		real := filepath.Join(dir, tool)
		if _, err := os.Stat(real); err != nil {
			continue
		}
		if dir == n.path {
			if err := os.Rename(real, real+".real"); err != nil {
				n.t.Fatal(err)
			}
			real += ".real"
		}
		n.stub(tool, `if [ -n "$KILL_AT" ]; then
echo >>"$SIM/count"
if [ "$(wc -l <"$SIM/count")" = "${#KILL_AT}" ]; then kill -9 0; fi
fi
exec `+real+` "$@"`)
		return
	}
	n.t.Fatalf("no %s here", tool)
}

func TestRemoveByHand(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		if info, err := os.Stat(n.root + "/usr/local/sbin/berth-remove"); err != nil || info.Mode().Perm() != 0o700 {
			t.Fatalf("berth-remove: %v, %v", info, err)
		}
		if strings.Contains(n.read("usr/local/sbin/berth-remove"), testPassword) {
			t.Error("berth-remove holds the password")
		}
		cmd := n.command(Anchor, "remove", anchorVars(""))
		cmd.Args = append(n.shell, n.root+"/usr/local/sbin/berth-remove")
		cmd.Stdin = nil
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "removed: "+owner+"\n") {
			t.Fatalf("%v\n%s", err, out)
		}
		n.same(before)
		// Pulumi knows nothing of it: its steps work at once.
		n.run(Base, "apply", baseVars(owner))
	})
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		r := n.try(Containerd, "apply", containerdVars(owner, digest))
		if r.err != nil {
			t.Fatalf("%v\n%s", r.err, r.stderr)
		}
		if got, want := n.getSim("curl-config"), "user = \"Yuan:Abcd\\\"12\\\\3'456\"\n"; got != want {
			t.Errorf("curl was told %q, want %q", got, want)
		}
		for what, text := range map[string]string{
			"stdout": r.stdout, "stderr": r.stderr, "arguments": n.getSim("calls"), "processes": n.getSim("processes"),
		} {
			if text == "" || strings.Contains(text, "Abcd") {
				t.Errorf("%s holds the password, or nothing: %q", what, text)
			}
		}
		for name := range n.snapshot() {
			if data, err := os.ReadFile(n.root + name); err == nil && strings.Contains(string(data), "Abcd") {
				t.Errorf("%s holds the password", name)
			}
		}
		for name, wrong := range map[string]string{"var/lib/berth": "drwx------", "var/lib/berth/manifest": "-rw-------"} {
			info, err := os.Lstat(filepath.Join(n.root, name))
			if err != nil || info.Mode().String() != wrong {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
	})
}

func TestFetchWithoutCurl(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		n.stub("curl", "exit 2")
		n.fail(Containerd, "apply", containerdVars(owner, digest), "fetching "+digest+" from Yuan.com:30443 at 10.99.0.12 failed")
		n.publish(containerdScript(testVersion, 0, "other"))
		n.stub("curl", `while [ "$1" != -o ]; do shift; done; cp "$SIM/blob" "$2"`)
		n.fail(Containerd, "apply", containerdVars(owner, digest), "what the registry sent is not "+digest)
		if n.starts() != 0 || n.exists("var/lib/berth/fetch") {
			t.Error("a failed fetch left traces")
		}
	})
	t.Run("ctr", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shells(t)["dash"])
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		// A PATH of its own, without curl.
		tools := filepath.Join(n.sim, "tools")
		if err := os.Mkdir(tools, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(n.path + "/curl"); err != nil {
			t.Fatal(err)
		}
		cmd := n.command(Containerd, "apply", containerdVars(owner, digest))
		text, err := stdin(Containerd, n.root, containerdVars(owner, digest))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader("command() { case $2 in curl) return 1 ;; *) type \"$2\" ;; esac; }\n" + text)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "Abcd") {
			t.Fatalf("%v\n%s", err, out)
		}
		if !strings.Contains(n.getSim("calls"), " Yuan.com:30443/berth/containerd:1.7.36-berth.1-linux-amd64\n") {
			t.Errorf("fetched something else: %s", n.getSim("calls"))
		}
		if got := n.getSim("hosts.toml"); !strings.Contains(got, `Authorization = "Basic WXVhbjpBYmNkIjEyXDMnNDU2"`) || n.getSim("hosts-mode") != "600\n" {
			t.Errorf("hosts.toml (%s) is %q", n.getSim("hosts-mode"), got)
		}
		if n.exists("var/lib/berth/fetch") || n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
			t.Errorf("%s runs, traces %v", n.running(), n.exists("var/lib/berth/fetch"))
		}
	})
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	shell := shells(t)["dash"]
	for name, c := range map[string]struct {
		prepare func(n *node)
		vars    []Var
		want    []string
	}{
		"KillMode": {
			func(n *node) {
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "KillMode=process", "KillMode=mixed"), 0o644)
			}, nil,
			[]string{"KillMode=mixed", "set KillMode=process"},
		},
		"ExecStart": {
			func(n *node) {
				n.write("etc/systemd/system/containerd.service.d/a.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c containerd\n", 0o644)
				n.setSim("dropins", "/etc/systemd/system/containerd.service.d/a.conf\n")
			}, nil,
			[]string{"ExecStart of containerd.service"},
		},
		"coupled":    {func(n *node) { n.setSim("requiredby", "docker.service\n") }, nil, []string{"docker.service", "Wants="}},
		"GPU":        {func(n *node) { n.write("dev/nvidia0", "", 0o644) }, nil, []string{"NVIDIA", "detaches"}},
		"k3s":        {func(n *node) { n.mkdir("var/lib/rancher/k3s") }, nil, []string{"k3s owns containerd here"}},
		"rke2":       {func(n *node) { n.mkdir("var/lib/rancher/rke2") }, nil, []string{"rke2 owns"}},
		"microk8s":   {func(n *node) { n.mkdir("var/snap/microk8s") }, nil, []string{"microk8s owns"}},
		"ostree":     {func(n *node) { n.mkdir("run/ostree-booted") }, nil, []string{"ostree owns"}},
		"spegel":     {func(n *node) { n.mkdir("etc/containerd/certs.d/_backup") }, nil, []string{"spegel owns"}},
		"Flatcar":    {func(n *node) { n.write("etc/os-release", "ID=flatcar\n", 0o644) }, nil, []string{"replaces /usr"}},
		"immutable":  {func(n *node) { n.setSim("immutable", "") }, nil, []string{"chattr -i /etc/hosts"}},
		"address":    {func(*node) {}, []Var{{"NODE_IP", "10.99.0.1"}}, []string{"10.99.0.1 is no address of this machine"}},
		"no systemd": {func(n *node) { n.must(os.RemoveAll(n.root + "/run/systemd")) }, nil, []string{"systemd does not run"}},
		"FIPS":       {func(n *node) { n.write("proc/sys/crypto/fips_enabled", "1\n", 0o644) }, nil, []string{"FIPS"}},
		"unhealthy":  {func(n *node) { n.setSim("active", "failed\n") }, nil, []string{"not healthy (containerd.service is failed"}},
		"no CRI": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("1.7.20", 0), 0o755) }, nil,
			[]string{"plugin io.containerd.grpc.v1.cri is missing"},
		},
		"btrfs": {func(n *node) { n.config(` snapshotter = "btrfs"`) }, nil, []string{"snapshotter btrfs"}},
		"list":  {func(n *node) { n.config(`config_path = "/a:/b"`) }, nil, []string{"/a:/b"}},
		"both": {
			func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n config_path = \"/c\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"x\"]")
			}, nil,
			[]string{"both config_path and registry.mirrors"},
		},
		"mirror": {
			func(n *node) { n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"Yuan.com\"]") }, nil,
			[]string{"sends Yuan.com elsewhere"},
		},
		"hosts.toml": {
			func(n *node) {
				n.config(`config_path = "/etc/containerd/certs.d"`)
				n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://Yuan.com\"\n[host.\"https://10.0.0.1:30443\"]\n", 0o644)
			}, nil,
			[]string{"hosts.toml sends Yuan.com to https://10.0.0.1:30443"},
		},
		"CRI-O": {
			func(n *node) {
				n.setSim("kubelet", "77\n")
				n.write("proc/77/cmdline", "/usr/bin/kubelet\x00--container-runtime-endpoint=unix:///run/crio/crio.sock\x00", 0o644)
			}, nil,
			[]string{"the kubelet uses unix:///run/crio/crio.sock and not containerd"},
		},
		"cri-dockerd": {
			func(n *node) {
				n.setSim("kubelet", "77\n")
				n.write("proc/77/cmdline", "/usr/bin/kubelet\x00", 0o644)
				n.write("var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: \"unix:///run/cri-dockerd.sock\"\n", 0o644)
			}, nil,
			[]string{"the kubelet uses unix:///run/cri-dockerd.sock"},
		},
		"arch": {func(*node) {}, []Var{{"ARCH", "arm64"}}, []string{"set arch in berth:nodes"}},
		"all at once": {
			func(n *node) {
				n.mkdir("var/lib/rancher/k3s")
				n.setSim("immutable", "")
				n.config(`config_path = "/a:/b"`)
			},
			[]Var{{"NODE_IP", "10.99.0.1"}},
			[]string{"k3s owns", "chattr -i", "/a:/b", "no address", "nothing is changed on this node"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shell)
			c.prepare(n)
			before := n.snapshot()
			vars := append(anchorVars(owner), Var{"ARCH", "amd64"}, Var{"TRUST", ""})
			n.fail(Anchor, "preflight", changed(vars, c.vars), c.want...)
			n.same(before)
		})
	}
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		n.setSim("kubelet", "77\n")
		n.write("proc/77/cmdline", "/usr/bin/kubelet\x00--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock\x00", 0o644)
		n.config("# snapshotter = \"btrfs\"\nconfig_path = \"/etc/containerd/certs.d\"\n")
		n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://yuan.com\"\n[host.\"https://Yuan.com:443\"]\n", 0o644)
		n.write("etc/containerd/certs.d/docker.io/hosts.toml", "server = \"https://mirror.example\"\n", 0o644)
		n.run(Anchor, "preflight", anchorVars(owner))
	})
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) config(text string) {
	n.t.Helper()
	n.write("etc/containerd/config.toml", "version = 2\n"+text+"\n", 0o644)
}

func TestRefusesBeforeTheUnitIsTouched(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript("9.9.9", 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		n.fail(Containerd, "apply", containerdVars(owner, digest), "the artifact is not containerd "+testVersion)
		n.setSim("refuse-run", "")
		n.fail(Containerd, "apply", containerdVars(owner, digest), "does not run on this node: Permission denied")
		n.fail(Containerd, "apply", containerdVars(owner, digest, Var{"CA_PEM", "other"}), "apply base first")
		n.write("dev/nvidia0", "", 0o644)
		n.fail(Containerd, "apply", containerdVars(owner, digest), "NVIDIA")
		if n.starts() != 0 || strings.Contains(n.getSim("calls"), "daemon-reload") {
			t.Errorf("the unit was touched: %s", n.getSim("calls"))
		}
	})
}

func TestShimsOutsideThePath(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		n.write("opt/containerd/bin/containerd", containerdScript("1.7.20", 0, "cri"), 0o755)
		n.write("opt/containerd/bin/containerd-shim-runc-v2", "", 0o755)
		n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "/usr/bin/", "/opt/containerd/bin/"), 0o644)
		n.install()
		n.run(Base, "apply", baseVars(owner))
		want := `Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/containerd/bin"`
		if got := n.read("etc/systemd/system/containerd.service.d/zz-berth.conf"); !strings.Contains(got, want) {
			t.Errorf("drop-in is %q", got)
		}
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Containerd, "apply", containerdVars(owner, digest))
		if n.starts() != 1 {
			t.Errorf("%d starts", n.starts())
		}
	})
}

func TestImportImage(t *testing.T) {
	t.Parallel()
	const image = "docker.io/library/registry:3.1.2"
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		archive := "/var/tmp/berth/registry.tar"
		vars := func(change ...Var) []Var {
			sum := sha256.Sum256([]byte(image))
			return changed([]Var{
				{"OWNER", owner}, {"ARCHIVE", archive}, {"IMAGE", image}, {"SHA256", hex.EncodeToString(sum[:])},
			}, change)
		}
		n.fail(ImportImage, "apply", vars(), "is missing")
		n.write(archive[1:], "half", 0o600)
		n.fail(ImportImage, "apply", vars(), "is not what was sent")
		n.write(archive[1:], image, 0o600)
		n.fail(ImportImage, "apply", vars(Var{"IMAGE", "other:1"}), "holds no image named other:1")
		for range 2 {
			if got := n.run(ImportImage, "apply", vars()); got != "image="+image {
				t.Errorf("got %q", got)
			}
		}
		if got := strings.Count(n.getSim("calls"), "images import"); got != 2 {
			t.Errorf("imported %d times", got)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		if got := n.getSim("images"); strings.Contains(got, image) {
			t.Errorf("images are %q", got)
		}
		n.must(os.Remove(n.root + "/var/tmp/berth"))
		n.must(os.Remove(n.root + "/var/tmp"))
		n.same(before)
		// An image that was there before stays.
		n.run(Anchor, "preflight", anchorVars(owner))
		n.setSim("images", n.getSim("images")+image+" x sha256:cc\n")
		n.write(archive[1:], image, 0o600)
		n.run(ImportImage, "apply", vars())
		n.run(Anchor, "remove", anchorVars(owner))
		if got := n.getSim("images"); !strings.Contains(got, image+" x sha256:cc") {
			t.Errorf("images are %q", got)
		}
	})
}
