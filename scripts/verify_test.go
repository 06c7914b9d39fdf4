package scripts

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	ourBinary = "/usr/local/bin/containerd-berth-" + testVersion
	ourDropIn = "etc/systemd/system/containerd.service.d/zz-berth.conf"
)

// verify returns the first line and the others of what the script says: the same in both shells, with the node untouched.
func (n *node) verify() (string, string) {
	n.t.Helper()
	return n.verifyIn("dash", "busybox")
}

func (n *node) verifyIn(names ...string) (string, string) {
	n.t.Helper()
	before, run, state := n.snapshot(), n.inRun(), n.getSim("dropins")+n.getSim("starts")
	var said string
	installed := n.shell
	for _, name := range names {
		n.shell = shells(n.t)[name]
		r := n.try(Verify, "verify", []Var{{"OWNER", owner}})
		if r.err != nil || r.stderr != "" {
			n.t.Fatalf("verify in %s: %v\n%s%s", name, r.err, r.stdout, r.stderr)
		}
		if said != "" && r.stdout != said {
			n.t.Errorf("in %s it says %q, elsewhere %q", name, r.stdout, said)
		}
		said = r.stdout
	}
	n.shell = installed
	n.same(before)
	if n.inRun() != run || n.getSim("dropins")+n.getSim("starts") != state {
		n.t.Error("verify changed something that runs")
	}
	first, rest, _ := strings.Cut(said, "\n")
	return first, rest
}

// inRun lists all names and contents below /run.
func (n *node) inRun() string {
	n.t.Helper()
	var b strings.Builder
	n.must(filepath.WalkDir(n.root+"/run", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(path + "\n")
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			b.Write(data)
			return err
		}
		return nil
	}))
	return b.String()
}

// TestVerify changes one thing after the other on a node, and repairs each with the steps that verify names and no other.
func TestVerify(t *testing.T) {
	t.Parallel()
	remove := func(name string) func(*node) {
		return func(n *node) { n.must(os.Remove(filepath.Join(n.root, name))) }
	}
	write := func(name, text string, mode os.FileMode) func(*node) {
		return func(n *node) { n.write(name, text, mode) }
	}
	for _, c := range []struct {
		name   string
		change func(*node)
		want   string
	}{
		{"nothing", func(*node) {}, ""},
		{"binary", write(ourBinary, "#!/bin/sh\n", 0o755), "containerd binary " + ourBinary + " is changed\n"},
		{"binary changed and dated back", func(n *node) {
			file := filepath.Join(n.root, ourBinary)
			info, err := os.Stat(file)
			n.must(err)
			n.must(os.WriteFile(file, bytes.ToUpper([]byte(n.read(ourBinary))), 0o755))
			n.must(os.Chtimes(file, info.ModTime(), info.ModTime()))
		}, "containerd binary " + ourBinary + " is changed\n"},
		{"binary touched", func(n *node) { n.must(os.Chtimes(filepath.Join(n.root, ourBinary), time.Now(), time.Now())) }, ""},
		{"binary gone", remove(ourBinary), "containerd binary " + ourBinary + " is missing\n"},
		{"ctr", remove("usr/local/bin/ctr-berth-" + testVersion), "containerd binary /usr/local/bin/ctr-berth-" + testVersion + " is missing\n"},
		{"link", remove("usr/local/bin/ctr"), "containerd link /usr/local/bin/ctr is missing\n"},
		{"drop-in", write(ourDropIn, "[Service]\n", 0o644), "containerd drop-in zz-berth.conf is changed\n"},
		{"drop-in gone", remove(ourDropIn), "containerd drop-in zz-berth.conf is missing\n"},
		{
			"arguments of the packaged unit",
			func(n *node) {
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "info", "warn"), 0o644)
			},
			"containerd drop-in zz-berth.conf is changed\n",
		},
		{"trial", write("run/systemd/berth-trial.conf", "", 0o644), "containerd trial drop-in berth-trial.conf is left\n"},
		{"switch", write("var/lib/berth/switch", "", 0o600), "containerd the step was interrupted\n"},
		{
			"another containerd runs",
			func(n *node) {
				n.must(os.Remove(n.root + "/proc/4242/exe"))
				n.must(os.Symlink(n.root+"/usr/bin/containerd", n.root+"/proc/4242/exe"))
			},
			"containerd /usr/bin/containerd runs in place of " + ourBinary + "\n",
		},
		{"containerd is down", func(n *node) { n.setSim("active", "failed\n") }, "containerd containerd.service is failed\n"},
		{
			"CA", write("var/lib/berth/trust/berth.crt", "other", 0o600),
			"base CA file /var/lib/berth/trust/berth.crt is changed\ncontainerd it may have started without the CA\n",
		},
		{
			"CA gone", remove("var/lib/berth/trust/berth.crt"),
			"base CA file /var/lib/berth/trust/berth.crt is missing\ncontainerd it may have started without the CA\n",
		},
		{"hosts gone", write("etc/hosts", "127.0.0.1 localhost\n", 0o644), "base the block in /etc/hosts is missing\n"},
		{
			"hosts",
			func(n *node) {
				n.write("etc/hosts", strings.ReplaceAll(n.read("etc/hosts"), "10.99.0.12", "10.1.1.1"), 0o644)
			},
			"base the block in /etc/hosts is changed\n",
		},
		{"mapping", write("etc/containerd/berth.ports", "", 0o644), "base port mapping /etc/containerd/berth.ports is changed\n"},
		{"mapping gone", remove("etc/containerd/berth.ports"), "base port mapping /etc/containerd/berth.ports is missing\n"},
		{"way out", remove("usr/local/sbin/berth-remove"), "base /usr/local/sbin/berth-remove is missing\n"},
		{
			"manifest", remove("var/lib/berth/manifest"), "base the manifest is gone\ncontainerd the manifest is gone\n",
		},
		{
			"empty manifest", write("var/lib/berth/manifest", "", 0o600), "base the manifest is gone\ncontainerd the manifest is gone\n",
		},
		{
			"state", func(n *node) { n.must(os.RemoveAll(n.root + "/var/lib/berth")) },
			"base the manifest is gone\ncontainerd the manifest is gone\n",
		},
		{
			"several things",
			func(n *node) {
				n.must(os.Remove(n.root + "/etc/containerd/berth.ports"))
				n.must(os.Remove(n.root + "/" + ourDropIn))
				n.must(os.Remove(n.root + ourBinary))
			},
			"base port mapping /etc/containerd/berth.ports is missing\ncontainerd binary " + ourBinary +
				" is missing\ncontainerd drop-in zz-berth.conf is missing\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells(t)["dash"])
			n.install()
			digest := n.publish(containerdScript(testVersion, 0, "cri"))
			c.change(n)
			first, rest := n.verify()
			if rest != c.want {
				t.Errorf("got %q, want %q", rest, c.want)
			}
			if rest == "" && first == "applies 2" {
				return
			}
			if !strings.HasPrefix(first, "applies ") {
				t.Errorf("begins with %q", first)
			}
			if strings.Contains(rest, "base ") {
				n.run(Base, "apply", baseVars(owner))
			}
			if strings.Contains(rest, "containerd ") {
				n.run(Containerd, "apply", containerdVars(owner, digest))
			}
			again, rest := n.verifyIn("busybox")
			if rest != "" || again == first {
				t.Errorf("after the repair: %q (was %q), %q", again, first, rest)
			}
		})
	}
}

func TestVerifyNotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*node)
		want   string
	}{
		"a newer package": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("1.7.100", 0, "cri"), 0o755) },
			"note the package brings containerd 1.7.100: berth:containerd.version is behind\n",
		},
		"a package as new": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("1.7.36~ds1", 0, "cri"), 0o755) }, "",
		},
		"an overriding drop-in": {
			func(n *node) {
				n.setSim("exec", "/usr/bin/containerd --config /etc/containerd/config.toml --log-level info\n")
			},
			"note the next start of containerd is not berth's: a drop-in overrides zz-berth.conf, or systemctl daemon-reload is due\n",
		},
		"KillMode": {
			func(n *node) {
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "KillMode=process", "KillMode=mixed"), 0o644)
			},
			"note KillMode=mixed lets a restart kill all pods: set KillMode=process in containerd.service\n",
		},
		"another stack": {
			func(n *node) { n.write("var/lib/berth/manifest", "owner prod/n1\n", 0o600) }, "note this node belongs to prod/n1\n",
		},
		"no way out, and nothing to make it from": {
			func(n *node) {
				n.must(os.Remove(n.root + "/usr/local/sbin/berth-remove"))
				n.must(os.Remove(n.root + "/run/berth-remove"))
			},
			"note /usr/local/sbin/berth-remove is missing: the next change of the anchor brings it\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells(t)["dash"])
			n.install()
			c.change(n)
			if _, rest := n.verify(); rest != c.want {
				t.Errorf("got %q, want %q", rest, c.want)
			}
		})
	}
}

func TestVerifyBeforeAndAfter(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells(t)["dash"])
	absent := func(when string) {
		t.Helper()
		if first, rest := n.verify(); !strings.HasPrefix(first, "absent ") || rest != "" {
			t.Errorf("%s: %q, %q", when, first, rest)
		}
	}
	absent("never touched")
	digest := n.publish(containerdScript(testVersion, 0, "cri"))
	n.run(Anchor, "preflight", anchorVars(owner))
	absent("after the preflight")
	n.run(Base, "apply", baseVars(owner))
	if first, rest := n.verify(); first != "applies 1" || rest != "containerd the step is not complete\n" {
		t.Errorf("after base: %q, %q", first, rest)
	}
	n.run(Containerd, "apply", containerdVars(owner, digest))
	// Another CA, and an up that failed between the two steps.
	n.run(Base, "apply", baseVars(owner, Var{"CA_PEM", pem("abc")}))
	if first, rest := n.verify(); first != "applies 3" || rest != "containerd the restart after a change of trust is missing\n" {
		t.Errorf("after another CA: %q, %q", first, rest)
	}
	n.run(Anchor, "remove", anchorVars(owner))
	absent("after the removal")
}

// TestVerifyLossesDiffer loses everything twice: each loss must ask for a repair of its own.
func TestVerifyLossesDiffer(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells(t)["dash"])
	n.write("etc/machine-id", "0123\n", 0o444)
	n.write("proc/sys/kernel/random/boot_id", "4567\n", 0o444)
	seen := map[string]bool{}
	for range 2 {
		n.install()
		n.run(Anchor, "remove", anchorVars(""))
		first, _ := n.verify()
		again, _ := n.verify()
		if first != again || seen[first] {
			t.Errorf("%q, then %q, among %v", first, again, seen)
		}
		seen[first] = true
	}
}

// TestVerifyTheStore looks into the trust store of the system.
func TestVerifyTheStore(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells(t)["dash"])
	n.mkdir("etc/pki/ca-trust/source/anchors")
	bundle := "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	n.write(bundle, "", 0o644)
	n.stub("update-ca-trust", `cat "$FAKE"/etc/pki/ca-trust/source/anchors/* >"$FAKE/`+bundle+`" 2>/dev/null || :`)
	n.stub("trust", `while [ $# -gt 1 ]; do shift; done; cat "$FAKE"/etc/pki/ca-trust/source/anchors/* >"$1" 2>/dev/null || :`)
	digest := n.publish(containerdScript(testVersion, 0, "cri"))
	up := func() {
		t.Helper()
		n.run(Base, "apply", osTrust())
		n.run(Containerd, "apply", containerdVars(owner, digest, Var{"TRUST", "os"}))
	}
	n.run(Anchor, "preflight", anchorVars(owner))
	up()
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, ""},
		{func() { n.write(bundle, pem("abc"), 0o644) }, "base the CA is missing in /" + bundle + "\ncontainerd it may have started without the CA\n"},
		{
			func() { n.must(os.Remove(n.root + "/etc/pki/ca-trust/source/anchors/berth.crt")) },
			"base CA file /etc/pki/ca-trust/source/anchors/berth.crt is missing\ncontainerd it may have started without the CA\n",
		},
		{func() { n.must(os.Remove(n.root + "/var/lib/berth/manifest")) }, "base the manifest is gone\ncontainerd the manifest is gone\n"},
	} {
		starts := n.starts()
		c.change()
		if _, rest := n.verify(); rest != c.want {
			t.Errorf("got %q, want %q", rest, c.want)
		}
		up()
		if _, rest := n.verify(); rest != "" {
			t.Errorf("after the repair of %q: %q", c.want, rest)
		}
		if restarted := n.starts() > starts; restarted != (c.want != "") {
			t.Errorf("%q: restarted %v", c.want, restarted)
		}
	}
	n.run(Anchor, "remove", anchorVars(owner))
	if first, rest := n.verify(); !strings.HasPrefix(first, "absent ") || rest != "" {
		t.Errorf("after the removal: %q, %q", first, rest)
	}
}
