package scripts

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const clusterIP = "10.96.0.43"

func accessVars(mode string, change ...Var) []Var {
	address := map[string]string{"cluster-ip": clusterIP, "port-range": "10.99.0.12"}[mode]
	return changed([]Var{
		{"OWNER", owner},
		{"MODE", mode},
		{"NAMES", "Yuan.com"},
		{"NODE_PORT", "30443"},
		{"ADDRESS", address},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"ALLOW", ""},
	}, change)
}

// access does what an up in a mode does, in either kind of trust, and returns the line of the last step.
func (n *node) access(mode, trust string) string {
	n.t.Helper()
	version := ""
	if mode == "patch" {
		version = n.patched
	}
	n.run(Anchor, "preflight", changed(anchorVars(owner), []Var{{"VERSION", version}}))
	n.run(Base, "apply", baseVars(owner, Var{"MODE", mode}, Var{"TRUST", trust}))
	if mode == "patch" {
		digest := n.publish(containerdScript(version, 0, "cri"))
		return n.run(Containerd, "apply", containerdVars(owner, digest, Var{"VERSION", version}, Var{"TRUST", trust}))
	}
	return n.run(Access, "apply", accessVars(mode, Var{"TRUST", trust}))
}

// newAccessNode has the trust store of RHEL, whose tool is quickly played, and time that does not pass.
func newAccessNode(t *testing.T, shell []string) *node {
	t.Helper()
	n := newNode(t, shell)
	n.mkdir("etc/pki/ca-trust/source/anchors")
	bundle := "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	n.write(bundle, "", 0o644)
	n.stub("update-ca-trust", `cat "$FAKE"/etc/pki/ca-trust/source/anchors/* >"$FAKE/`+bundle+`" 2>/dev/null || :`)
	n.stub("trust", `while [ $# -gt 1 ]; do shift; done; cat "$FAKE"/etc/pki/ca-trust/source/anchors/* >"$1" 2>/dev/null || :`)
	n.stub("sleep", `echo "$1" >>"$SIM/slept"`)
	return n
}

func eachAccessShell(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newAccessNode(t, argv))
		})
	}
}

const (
	ourEntry = "etc/containerd/certs.d/Yuan.com/hosts.toml"
	ourTable = "# BEGIN berth\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n" + ourPath
	ourPath  = "config_path = \"/etc/containerd/certs.d\"\n# END berth\n"
)

// kinds are the modes, with those kinds of trust that make a difference to them.
var kinds = []struct{ mode, trust string }{
	{"patch", "os"}, {"mirror", "os"}, {"cluster-ip", "os"}, {"cluster-ip", "containerd"}, {"port-range", "os"},
}

func TestEveryModeTwiceThenRemove(t *testing.T) {
	t.Parallel()
	eachAccessShell(t, func(t *testing.T, n *node) {
		for _, kind := range kinds[1:] {
			what := kind.mode + " with trust " + kind.trust
			clean, starts := n.snapshot(), n.starts()
			first := n.access(kind.mode, kind.trust)
			// Once for config_path, or for a CA in the store of the system.
			if !strings.HasSuffix(first, " access="+kind.mode+" restarts=1") || n.starts()-starts != 1 {
				t.Errorf("%s: %q after %d starts", what, first, n.starts()-starts)
			}
			installed := n.snapshot()
			if again := n.access(kind.mode, kind.trust); again != first {
				t.Errorf("%s: first %q, then %q", what, first, again)
			}
			n.same(installed)
			if _, rest := n.verifyIn("dash"); rest != "" {
				t.Errorf("%s: verify says %q", what, rest)
			}
			n.run(Anchor, "remove", anchorVars(owner))
			n.same(clean)
			if n.running() != "/usr/bin/containerd" {
				t.Errorf("%s: %s runs after the removal", what, n.running())
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	})
}

func TestWhatAModeInstalls(t *testing.T) {
	t.Parallel()
	n := newAccessNode(t, shells(t)["dash"])
	for _, c := range []struct{ mode, trust, server, hosts, ca string }{
		{"mirror", "containerd", "https://Yuan.com:30443", "10.99.0.12", "/var/lib/berth/trust/berth.crt"},
		{"mirror", "os", "https://Yuan.com:30443", "10.99.0.12", "/etc/pki/ca-trust/source/anchors/berth.crt"},
		{"cluster-ip", "containerd", "https://Yuan.com", clusterIP, "/var/lib/berth/trust/berth.crt"},
		{"cluster-ip", "os", "", clusterIP, ""},
		{"port-range", "containerd", "https://Yuan.com", "10.99.0.12", "/var/lib/berth/trust/berth.crt"},
		{"port-range", "os", "", "10.99.0.12", ""},
	} {
		what := c.mode + " with trust " + c.trust
		n.access(c.mode, c.trust)
		want := "# Written by berth.\nserver = \"" + c.server + "\"\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nca = \"" + c.ca + "\"\n\n[host]\n"
		if c.server == "" {
			if n.exists("etc/containerd/certs.d") || strings.Contains(n.read("etc/containerd/config.toml"), "berth") {
				t.Errorf("%s: certs.d is left", what)
			}
		} else if n.read(ourEntry) != want || n.read("etc/containerd/config.toml") != "version = 2\n"+ourTable {
			t.Errorf("%s: the entry is %q and the configuration %q", what, n.read(ourEntry), n.read("etc/containerd/config.toml"))
		}
		if hosts := n.read("etc/hosts"); !strings.HasSuffix(hosts, "\n# BEGIN berth\n"+c.hosts+" Yuan.com\n# END berth\n") {
			t.Errorf("%s: hosts is %q", what, hosts)
		}
		for _, of := range []string{"etc/containerd/berth.ports", ourDropIn, "usr/local/bin/ctr"} {
			if n.exists(of) {
				t.Errorf("%s: there is %s", what, of)
			}
		}
	}
	// What is asked for by its port is another name.
	n.access("mirror", "containerd")
	if withPort := "etc/containerd/certs.d/Yuan.com_30443_/hosts.toml"; n.read(withPort) != n.read(ourEntry) {
		t.Errorf("for the name with its port: %q", n.read(withPort))
	}
	n.run(Base, "apply", baseVars(owner, Var{"MODE", "mirror"}, Var{"NODE_PORT", "30444"}))
	n.run(Access, "apply", accessVars("mirror", Var{"NODE_PORT", "30444"}))
	if !strings.Contains(n.read(ourEntry), "Yuan.com:30444") || n.exists("etc/containerd/certs.d/Yuan.com_30443_") {
		t.Errorf("after a change of the port: %q", n.read(ourEntry))
	}
}

// TestEveryChangeOfMode goes from each mode to each other, and compares with a node on which nothing else has ever been.
func TestEveryChangeOfMode(t *testing.T) {
	t.Parallel()
	fresh := map[string]map[string]string{}
	for _, kind := range kinds {
		n := newAccessNode(t, shells(t)["dash"])
		n.access(kind.mode, kind.trust)
		fresh[kind.mode+kind.trust] = n.installed()
	}
	for _, from := range kinds {
		t.Run(from.mode+"-"+from.trust, func(t *testing.T) {
			t.Parallel()
			for _, to := range kinds {
				if to == from {
					continue
				}
				n := newAccessNode(t, shells(t)["busybox"])
				clean := n.snapshot()
				n.access(from.mode, from.trust)
				n.access(to.mode, to.trust)
				want, got := fresh[to.mode+to.trust], n.installed()
				for _, name := range slices.Sorted(maps.Keys(want)) {
					if got[name] != want[name] {
						t.Errorf("to %s-%s: %s is\n%s\nwant\n%s", to.mode, to.trust, name, got[name], want[name])
					}
				}
				for _, name := range slices.Sorted(maps.Keys(got)) {
					if _, ok := want[name]; !ok {
						t.Errorf("to %s-%s: %s is left: %s", to.mode, to.trust, name, got[name])
					}
				}
				if _, rest := n.verifyIn("dash"); rest != "" {
					t.Errorf("to %s-%s: verify says %q", to.mode, to.trust, rest)
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
				if t.Failed() {
					t.FailNow()
				}
			}
		})
	}
}

// installed is the snapshot of a node with a manifest whose order and counts, and what was changed last, do not matter.
func (n *node) installed() map[string]string {
	n.t.Helper()
	all := n.snapshot()
	lines := strings.Split(n.read("var/lib/berth/manifest"), "\n")
	slices.Sort(lines)
	all["/var/lib/berth/manifest"] = regexp.MustCompile(`(?m)^(applies|restarts|did|inodes) .*\n`).ReplaceAllString(strings.Join(lines, "\n")+"\n", "")
	// Paths of the fake root and of the run differ from node to node.
	if _, ok := all["/var/lib/berth/undo"]; ok {
		all["/var/lib/berth/undo"] = "there"
	}
	delete(all, "/usr/local/sbin/berth-remove")
	return all
}

// TestAnOldRoadStaysWhileContainerdRemembersIt: other steps close it as soon as the access step of the last node has ended.
func TestAnOldRoadStaysWhileContainerdRemembersIt(t *testing.T) {
	t.Parallel()
	n := newAccessNode(t, shells(t)["dash"])
	waited := func(what string, want bool, do func()) {
		t.Helper()
		n.setSim("slept", "")
		do()
		slept, err := os.ReadFile(filepath.Join(n.sim, "slept"))
		if got := strings.Contains("\n"+string(slept), "\n6\n"); err != nil || got != want {
			t.Errorf("%s: it slept %q, %v", what, slept, err)
		}
	}
	for _, step := range []struct {
		to   string
		want bool
	}{
		// A restart comes behind the first.
		{"cluster-ip", false},
		{"cluster-ip", false},
		{"port-range", true},
		{"cluster-ip", true},
		{"mirror", true},
		{"cluster-ip", true},
		{"patch", true},
		{"patch", false},
		{"cluster-ip", false},
	} {
		waited(step.to, step.want, func() { n.access(step.to, "os") })
	}
	waited("remove", false, func() { n.run(Anchor, "remove", anchorVars(owner)) })
}

// TestConfigPath edits configurations of all kinds, and gives them back with what somebody else wrote in between.
func TestConfigPath(t *testing.T) {
	t.Parallel()
	const table = "[plugins.\"io.containerd.grpc.v1.cri\".registry]"
	for name, c := range map[string]struct{ config, want string }{
		"no table":        {"version = 2\n", "version = 2\n" + ourTable},
		"no end of line":  {"version = 2\n[debug]\n  level = \"info\" # mine", "version = 2\n[debug]\n  level = \"info\" # mine\n" + ourTable},
		"empty":           {"", ourTable},
		"table":           {"version = 2\n  " + table + "\n    x = \"1\"", "version = 2\n  " + table + "\n# BEGIN berth\n" + ourPath + "    x = \"1\""},
		"table of others": {"version = 2\n[a]\nconfig_path = \"\"\n", "version = 2\n[a]\nconfig_path = \"\"\n" + ourTable},
		"as containerd config default writes it": {
			"version = 2\n\n  [plugins.'io.containerd.grpc.v1.cri'.registry] # pulls\n      config_path = \"\"\n\n[b]\n  config_path = \"\"\n",
			"version = 2\n\n  [plugins.'io.containerd.grpc.v1.cri'.registry] # pulls\n# BEGIN berth\n" + ourPath +
				"# berth:       config_path = \"\"\n\n[b]\n  config_path = \"\"\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"dash", "busybox"} {
				n := newAccessNode(t, shells(t)[shell])
				n.write("etc/containerd/config.toml", c.config, 0o640)
				clean := n.snapshot()
				quoting := strings.ReplaceAll(containerdScript("1.7.20", 0, "cri"), "table = $0;", "gsub(/\\047/, \"\\\"\"); table = $0;")
				n.must(os.WriteFile(n.root+"/usr/bin/containerd", []byte(quoting), 0o755))
				n.access("mirror", "containerd")
				if got := n.read("etc/containerd/config.toml"); got != c.want {
					t.Errorf("%s: the configuration is\n%s\nwant\n%s", shell, got, c.want)
				}
				theirs := "# theirs\n[z]\n"
				n.write("etc/containerd/config.toml", theirs+n.read("etc/containerd/config.toml"), 0o640)
				n.run(Anchor, "remove", anchorVars(owner))
				if got := n.read("etc/containerd/config.toml"); got != theirs+c.config {
					t.Errorf("%s: after the removal the configuration is\n%q\nwant\n%q", shell, got, theirs+c.config)
				}
				n.write("etc/containerd/config.toml", c.config, 0o640)
				n.must(os.WriteFile(n.root+"/usr/bin/containerd", []byte(containerdScript("1.7.20", 0, "cri")), 0o755))
				n.same(clean)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		n := newAccessNode(t, shells(t)["dash"])
		n.must(os.RemoveAll(n.root + "/etc/containerd"))
		clean := n.snapshot()
		n.access("mirror", "containerd")
		if got := n.read("etc/containerd/config.toml"); got != "version = 2\n"+ourTable {
			t.Errorf("the configuration is %q", got)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
	t.Run("of others", func(t *testing.T) {
		t.Parallel()
		n := newAccessNode(t, shells(t)["dash"])
		n.config(table + "\nconfig_path = \"/etc/mine:/other\"")
		n.write("etc/mine/docker.io/hosts.toml", "server = \"https://mirror.example\"\n", 0o644)
		clean := n.snapshot()
		if got := n.access("mirror", "containerd"); !strings.HasSuffix(got, " restarts=0") || n.starts() != 0 {
			t.Errorf("%q after %d starts", got, n.starts())
		}
		if !n.exists("etc/mine/Yuan.com/hosts.toml") || n.exists("etc/containerd/certs.d") {
			t.Error("the entry is not in the folder that is configured")
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
		if n.starts() != 0 {
			t.Errorf("%d starts", n.starts())
		}
	})
}

func TestAccessRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode    string
		prepare func(n *node)
		want    []string
	}{
		"entry of others": {
			"mirror",
			func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"")
				n.write(ourEntry, "server = \"https://Yuan.com\"\n", 0o644)
			},
			[]string{"/etc/containerd/certs.d/Yuan.com/hosts.toml is not from berth"},
		},
		"mirrors": {
			"mirror", func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"x.io\"]\nendpoint = \"y\"")
			},
			[]string{"registry.mirrors or configs.tls in /etc/containerd/config.toml bar config_path"},
		},
		"a table in another form": {
			"mirror", func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nx = 1\n[plugins.\"io.containerd.grpc.v1.cri\".registry]")
			},
			[]string{"takes no config_path without another change"},
		},
		"no answer": {
			"cluster-ip", func(n *node) { n.setSim("address", "") }, []string{"does not answer at 10.96.0.43:443", "no route"},
		},
		"no answer of its own": {
			"port-range", func(n *node) { n.setSim("address", "") }, []string{"does not answer at 10.99.0.12:443", "no route"},
		},
		"KillMode": {
			"mirror",
			func(n *node) {
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "KillMode=process", "KillMode=mixed"), 0o644)
			},
			[]string{"KillMode=mixed lets a restart kill all pods"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newAccessNode(t, shells(t)["dash"])
			c.prepare(n)
			clean := n.snapshot()
			n.run(Base, "apply", baseVars(owner, Var{"MODE", c.mode}))
			hosts, config := n.read("etc/hosts"), n.read("etc/containerd/config.toml")
			n.fail(Access, "apply", accessVars(c.mode), c.want...)
			if n.read("etc/hosts") != hosts || c.mode == "mirror" && n.read("etc/containerd/config.toml") != config || n.starts() != 0 {
				t.Error("something is changed")
			}
			n.run(Anchor, "remove", anchorVars(owner))
			n.same(clean)
		})
	}
}

// TestFailedAccessRollsBack has the packaged containerd refuse to start, with whatever ran before.
func TestFailedAccessRollsBack(t *testing.T) {
	t.Parallel()
	for from, shell := range map[string]string{"nothing": "bash", "patch": "dash", "mirror": "busybox"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			n := newAccessNode(t, shells(t)[shell])
			clean := n.snapshot()
			to, trust := "mirror", "containerd"
			if from == "mirror" {
				to, trust = "cluster-ip", "os"
			}
			if from != "nothing" {
				n.access(from, "containerd")
			}
			running, config := n.running(), n.read("etc/containerd/config.toml")
			// It starts again when it has failed once: the configuration was to blame.
			n.must(os.WriteFile(n.root+"/usr/bin/containerd", []byte(strings.Replace(containerdScript("1.7.20", 0, "cri"), "start)\n",
				"start)\n[ -e \"$SIM/failed\" ] || { echo 'level=fatal msg=\"no such config: BROKEN\"'; : >\"$SIM/failed\"; exit 1; }\n", 1)), 0o755))
			n.run(Base, "apply", baseVars(owner, Var{"MODE", to}, Var{"TRUST", trust}))
			n.fail(Access, "apply", accessVars(to, Var{"TRUST", trust}), "access mode "+to+" is taken back", "no such config: BROKEN", running+" runs again")
			if n.running() != running || n.read("etc/containerd/config.toml") != config {
				t.Errorf("%s runs, with the configuration %q", n.running(), n.read("etc/containerd/config.toml"))
			}
			if from == "patch" {
				if _, rest := n.verifyIn("dash"); rest != "containerd a change of the access mode is not complete\n" {
					t.Errorf("verify says %q", rest)
				}
			}
			n.access(to, trust)
			if _, rest := n.verifyIn("dash"); rest != "" {
				t.Errorf("verify says %q", rest)
			}
			n.must(os.WriteFile(n.root+"/usr/bin/containerd", []byte(containerdScript("1.7.20", 0, "cri")), 0o755))
			n.run(Anchor, "remove", anchorVars(owner))
			n.same(clean)
		})
	}
}

// TestVerifyAccess changes one thing after the other, and repairs it with the step that verify names.
func TestVerifyAccess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   string
		change func(n *node)
		want   string
	}{
		"entry":         {"mirror", func(n *node) { n.write(ourEntry, "", 0o644) }, "containerd entry /" + ourEntry + " is changed\n"},
		"entry is gone": {"mirror", func(n *node) { n.must(os.Remove(n.root + "/" + ourEntry)) }, "containerd entry /" + ourEntry + " is missing\n"},
		"config_path":   {"mirror", func(n *node) { n.config("") }, "containerd config_path in /etc/containerd/config.toml is missing\n"},
		"containerd is down": {
			"cluster-ip", func(n *node) { n.setSim("active", "failed\n") }, "containerd containerd.service is failed\n",
		},
		"hosts": {
			"cluster-ip", func(n *node) { n.write("etc/hosts", "127.0.0.1 localhost\n", 0o644) }, "base the block in /etc/hosts is missing\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newAccessNode(t, shells(t)["dash"])
			n.access(c.mode, "containerd")
			c.change(n)
			if _, rest := n.verify(); rest != c.want {
				t.Errorf("got %q, want %q", rest, c.want)
			}
			if strings.HasPrefix(c.want, "base ") {
				n.run(Base, "apply", baseVars(owner, Var{"MODE", c.mode}))
			} else {
				n.run(Access, "apply", accessVars(c.mode))
			}
			if _, rest := n.verify(); rest != "" {
				t.Errorf("after the repair: %q", rest)
			}
			if c.mode == "cluster-ip" && !strings.Contains(n.read("etc/hosts"), clusterIP+" Yuan.com\n") {
				t.Errorf("hosts is %q", n.read("etc/hosts"))
			}
		})
	}
}

// TestNodeWithGPUs: no mode but patch needs the reload that takes GPUs from pods.
func TestNodeWithGPUs(t *testing.T) {
	t.Parallel()
	n := newAccessNode(t, shells(t)["dash"])
	n.write("dev/nvidia0", "", 0o644)
	n.run(Anchor, "preflight", changed(anchorVars(owner), []Var{{"VERSION", ""}, {"ALLOW", "gpu"}}))
	for _, mode := range []string{"mirror", "cluster-ip", "port-range"} {
		n.run(Base, "apply", baseVars(owner, Var{"MODE", mode}))
		n.run(Access, "apply", accessVars(mode))
	}
	n.run(Anchor, "remove", anchorVars(owner))
	if strings.Contains(n.getSim("calls"), "daemon-reload") {
		t.Error("systemd was reloaded")
	}
}

// TestAccessKilledAnywhere kills a change of the mode at each tool it calls; after each, remove gives the node back, and apply repairs it.
func TestAccessKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to, tool string
		// Of tools that are called often, not each call is tried each time.
		step int
		// config is what the configuration is where the package brings a containerd of 2.x, whose config_path is a drop-in.
		config string
	}{
		{"patch", "mirror", "mv", 5, ""},
		{"patch", "mirror", "rm", 5, ""},
		{"patch", "mirror", "systemctl", 2, ""},
		{"patch", "mirror", "systemd-run", 1, ""},
		{"patch", "mirror", "mkdir", 1, ""},
		{"cluster-ip", "mirror", "mv", 7, ""},
		{"cluster-ip", "mirror", "rmdir", 1, ""},
		{"cluster-ip", "mirror", "mv", 3, "version = 2\n"},
		{"cluster-ip", "mirror", "cp", 1, "version = 3\n[a]"},
		{"cluster-ip", "mirror", "mkdir", 1, "version = 3\nimports = [\"conf.d/*.toml\"]\n"},
		{"mirror", "cluster-ip", "mv", 3, "version = 2\n"},
		{"mirror", "cluster-ip", "rm", 3, "version = 3\n[a]"},
		{"mirror", "cluster-ip", "rmdir", 1, "version = 3\nimports = [\"conf.d/*.toml\"]\n"},
		{"mirror", "cluster-ip", "systemctl", 1, "version = 2\n"},
	} {
		t.Run(fmt.Sprintf("%s-%s-%s-%.11s", c.from, c.to, c.tool, c.config), func(t *testing.T) {
			t.Parallel()
			for count := 1; ; count += c.step {
				n := newAccessNode(t, shells(t)["dash"])
				if c.config != "" {
					n = newNode2(t, shells(t)["dash"], c.config)
				}
				clean := n.snapshot()
				n.access(c.from, "os")
				n.killAt(c.tool)
				n.env = []string{"KILL_AT=" + strings.Repeat("x", count)}
				killed := n.try(Base, "apply", baseVars(owner, Var{"MODE", c.to}, Var{"TRUST", "os"})).err != nil
				killed = killed || n.try(Access, "apply", accessVars(c.to, Var{"TRUST", "os"})).err != nil
				n.env = []string{"KILL_AT="}
				if n.getSim("active") != "active\n" {
					t.Fatalf("call %d: containerd does not run", count)
				}
				if count%2 == 0 {
					n.access(c.to, "os")
					if _, rest := n.verifyIn("dash"); rest != "" || n.running() != "/usr/bin/containerd" {
						t.Fatalf("call %d: %s runs; verify says %q", count, n.running(), rest)
					}
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
				if t.Failed() {
					t.Fatalf("call %d of %s", count, c.tool)
				}
				if !killed {
					return
				}
			}
		})
	}
}

// TestAccessLeavesNoTemporaryFile looks for what a rename would have taken away.
func TestAccessLeavesNoTemporaryFile(t *testing.T) {
	t.Parallel()
	n := newAccessNode(t, shells(t)["dash"])
	for _, kind := range kinds {
		n.access(kind.mode, kind.trust)
		n.must(filepath.WalkDir(n.root, func(path string, _ os.DirEntry, err error) error {
			if regexp.MustCompile(`berth-t(mp|ry)$|/dropin$|/switch`).MatchString(path) {
				t.Errorf("%s: %s is left", kind.mode, path)
			}
			return err
		}))
	}
}
