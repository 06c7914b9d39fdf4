package scripts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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
			if got, want := n.run(Base, "apply", baseVars(owner)), "base trust=containerd hosts=10.99.0.12 port=30443 changed=ca,hosts,port"; got != want {
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
		// A preflight alone leaves nothing that is to stay.
		n.run(Anchor, "preflight", anchorVars(owner))
		n.run(Anchor, "remove", anchorVars(owner))
		if n.exists("run/berth-remove") {
			t.Error("the copy for base is still there")
		}
	})
}

// TestReloadsOnce: a reload has systemd read all units of the node anew.
func TestReloadsOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		if got := strings.Count(n.getSim("calls"), "systemctl daemon-reload\n"); got != 1 {
			t.Errorf("the first switch reloaded systemd %d times", got)
		}
		info, err := os.Lstat(n.root + "/" + ourDropIn)
		if err != nil || !info.Mode().IsRegular() {
			t.Errorf("the drop-in is %v: %v", info.Mode(), err)
		}
		// Another build under the same name is tried from another file: what systemd has read names that.
		n.run(Containerd, "apply", containerdVars(owner, n.publish(containerdScript(testVersion, 0, "cri", "nri"))))
		if got := strings.Count(n.getSim("calls"), "systemctl daemon-reload\n"); got != 3 {
			t.Errorf("the second switch reloaded systemd %d times", got-1)
		}
		if got := n.getSim("exec"); !strings.HasPrefix(got, ourBinary+" ") {
			t.Errorf("systemd would start %q next", got)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
	})
}

// TestPowerLossDuringTrial: the power comes back to a link that leads nowhere, which systemd does not mind.
func TestPowerLossDuringTrial(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.run(Anchor, "preflight", anchorVars(owner))
		n.run(Base, "apply", baseVars(owner))
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.must(os.Rename(n.path+"/systemctl", n.path+"/systemctl.real"))
		n.stub("systemctl", `if [ "$1" = restart ]; then kill -9 -"$(cat "$SIM/main")" "$(cat "$SIM/unit")"; fi
exec "`+n.path+`/systemctl.real" "$@"`)
		if r := n.try(Containerd, "apply", containerdVars(owner, digest)); r.err == nil {
			t.Fatal("the step was not killed")
		}
		n.must(os.Rename(n.path+"/systemctl.real", n.path+"/systemctl"))
		n.must(os.RemoveAll(n.root + "/run/systemd/berth-trial.conf"))
		if target, err := os.Readlink(n.root + "/" + ourDropIn); err != nil || filepath.Join(n.root, filepath.Dir(ourDropIn), target) !=
			n.root+"/run/systemd/berth-trial.conf" {
			t.Fatalf("the trial's link leads to %q: %v", target, err)
		}
		if got := n.run(Containerd, "apply", containerdVars(owner, digest)); !strings.HasPrefix(got, "containerd="+testVersion) {
			t.Errorf("the repair said %q", got)
		}
		if _, said := n.verify(); said != "" {
			t.Errorf("after the repair: %s", said)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
	})
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
		n.write("usr/bin/containerd", containerdScript("1.7.20", 0, "cri", "nri"), 0o755)
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		// Time runs fast, so that the health check gives up early.
		n.stub("date", `case $* in +%s) echo 10 >>"$SIM/clock"; echo $(($(wc -l <"$SIM/clock") * 10)) ;; *) exec /bin/date "$@" ;; esac`)
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

func TestUpgradeKeepsTheOneBefore(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		digests := map[string]string{}
		for _, step := range []struct{ version, kept string }{
			{"1.7.37", "1.7.36"},
			{"1.7.38", "1.7.37"},
			// And back, which needs no registry.
			{"1.7.37", "1.7.38"},
		} {
			if full := step.version + "+berth.1"; digests[full] == "" {
				digests[full] = n.publish(containerdScript(full, 0, "cri"))
			} else {
				n.setSim("blob", "")
			}
			version, kept := step.version+"+berth.1", step.kept+"+berth.1"
			// What a killed apply may have left.
			n.write("var/lib/berth/unpacked/bin/ctr", "half", 0o700)
			n.write("var/lib/berth/fetch/blob", "half", 0o600)
			for range 2 {
				n.run(Containerd, "apply", containerdVars(owner, digests[version], Var{"VERSION", version}))
				var names []string
				for _, pattern := range []string{"/usr/local/bin/*", "/var/lib/berth/[afsu]*"} {
					files, err := filepath.Glob(n.root + pattern)
					n.must(err)
					for _, file := range files {
						names = append(names, filepath.Base(file))
					}
				}
				if len(names) != 7 || !slices.Contains(names, "containerd-berth-"+version) || !slices.Contains(names, "containerd-berth-"+kept) ||
					!slices.Contains(names, "ctr-berth-"+kept) || n.running() != "/usr/local/bin/containerd-berth-"+version {
					t.Errorf("%s: kept %q; %s runs", version, names, n.running())
				}
				if target, err := os.Readlink(n.root + "/usr/local/bin/ctr"); err != nil || target != "/usr/local/bin/ctr-berth-"+version {
					t.Errorf("ctr leads to %q, %v", target, err)
				}
			}
		}
		old := n.publish(containerdScript("1.6.39+berth.1", 0, "cri"))
		n.fail(Containerd, "apply", containerdVars(owner, old, Var{"VERSION", "1.6.39+berth.1"}), "newer line")
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
	})
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

func TestStageChangesNothingThatRuns(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Anchor, "preflight", anchorVars(owner))
		n.run(Base, "apply", baseVars(owner))
		for range 2 {
			if got := n.run(Containerd, "stage", containerdVars(owner, digest)); got != "restart" {
				t.Fatalf("before the first apply a stage says %q", got)
			}
			if n.starts() != 0 || n.running() != "/usr/bin/containerd" || n.exists("etc/systemd/system/containerd.service.d") {
				t.Fatalf("after a stage %s runs, after %d starts", n.running(), n.starts())
			}
		}
		// What was fetched needs the registry no more.
		n.setSim("blob", "")
		n.run(Containerd, "apply", containerdVars(owner, digest))
		if got := n.run(Containerd, "stage", containerdVars(owner, digest, Var{"NODE_PORT", "30444"}, Var{"PULL_PASSWORD", "another"})); got != "settled" {
			t.Errorf("for another port and password a stage says %q", got)
		}
		n.must(os.Remove(n.root + "/etc/systemd/system/containerd.service.d/zz-berth.conf"))
		if got := n.run(Containerd, "stage", containerdVars(owner, digest)); got != "restart" {
			t.Errorf("without the drop-in a stage says %q", got)
		}
		if n.starts() != 1 {
			t.Errorf("containerd started %d times", n.starts())
		}
	})
	eachShell(t, func(_ *testing.T, n *node) {
		digest := n.publish("#!/bin/sh\nexit 3\n")
		n.run(Anchor, "preflight", anchorVars(owner))
		n.run(Base, "apply", baseVars(owner))
		n.fail(Containerd, "stage", containerdVars(owner, digest), "does not run on this node")
	})
	eachShell(t, func(_ *testing.T, n *node) {
		before := n.snapshot()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Anchor, "preflight", anchorVars(owner))
		n.run(Base, "apply", baseVars(owner))
		n.run(Containerd, "stage", containerdVars(owner, digest))
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
	})
}

func TestBaseTellsWhatItChangedLast(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		n.run(Anchor, "preflight", anchorVars(owner))
		for _, step := range []struct {
			edit func()
			vars []Var
			want string
		}{
			{func() {}, nil, "ca,hosts,port"},
			{func() { n.write("etc/hosts", "127.0.0.1 localhost\n", 0o644) }, nil, "hosts"},
			{func() {}, nil, "hosts"},
			{func() {}, []Var{{"NODE_PORT", "30444"}}, "port"},
		} {
			step.edit()
			got := n.run(Base, "apply", baseVars(owner, step.vars...))
			if _, words, _ := strings.Cut(got, " changed="); words != step.want {
				t.Errorf("base said %q, want changed=%s", got, step.want)
			}
		}
	})
}
