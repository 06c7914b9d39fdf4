package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

// TestKilledRemove kills a remove at each tool it calls; the next one ends what it began.
func TestKilledRemove(t *testing.T) {
	t.Parallel()
	shell := shells(t)["dash"]
	for _, tool := range []string{"systemctl", "rmdir", "mv", "cp", "ctr"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			for count := 1; ; count++ {
				n := newNode(t, shell)
				clean := n.snapshot()
				n.install()
				n.killAt(tool)
				n.env = []string{"KILL_AT=" + strings.Repeat("x", count)}
				killed := n.try(Anchor, "remove", anchorVars(owner)).err != nil
				n.env = []string{"KILL_AT="}
				if n.getSim("active") != "active\n" {
					t.Fatalf("call %d: containerd does not run", count)
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
				if n.running() != "/usr/bin/containerd" || t.Failed() {
					t.Fatalf("call %d of %s: %s runs", count, tool, n.running())
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

// TestCutConnectionDuringSwitch kills the script at the moment when its unit starts: the unit ends its work and keeps
// the lock for it, so that a remove comes after it.
func TestCutConnectionDuringSwitch(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		clean := n.snapshot()
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		n.must(os.Rename(n.path+"/systemd-run", n.path+"/systemd-run.real"))
		n.stub("systemd-run", `case $* in *berth-switch*) kill -9 -"$(cat "$SIM/main")"; sleep 1 ;; esac
"`+n.path+`/systemd-run.real" "$@"; echo "$?" >"$SIM/unit-ended"`)
		if r := n.try(Containerd, "apply", containerdVars(owner, digest)); r.err == nil || r.stdout != "" {
			t.Fatalf("the script was not killed: %v", r)
		}
		r := n.try(Anchor, "remove", anchorVars(owner))
		if r.err != nil || !strings.Contains(r.stderr, "waiting up to 900 s for containerd apply of "+owner) {
			t.Fatalf("%v\n%s", r.err, r.stderr)
		}
		if n.getSim("unit-ended") != "0\n" || n.starts() != 2 {
			t.Errorf("the unit ended with %q, %d starts", n.getSim("unit-ended"), n.starts())
		}
		n.same(clean)
	})
}

// TestBinaryIsOnTheDiskFirst: what would run after a loss of power is written out before the unit is told to run it.
func TestBinaryIsOnTheDiskFirst(t *testing.T) {
	t.Parallel()
	for name, fallback := range map[string]string{"a file": "", "all, where a file is refused": `[ $# = 0 ] || exit 1; `} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells(t)["dash"])
			n.stub("sync", fallback+`ls "$FAKE/etc/systemd/system/containerd.service.d/zz-berth.conf" >>"$SIM/synced" 2>&1; echo "$@" >>"$SIM/synced"`)
			n.install()
			want := "No such file or directory\n" + n.root + "/usr/local/bin/containerd-berth-" + testVersion + "\n"
			if fallback != "" {
				want = "No such file or directory\n\n"
			}
			if got := n.getSim("synced"); !strings.HasSuffix(got, want) {
				t.Errorf("written to the disk: %q, want %q at its end", got, want)
			}
		})
	}
}

// killAt makes the call of tool whose number is the length of KILL_AT kill the script that made it.
func (n *node) killAt(tool string) {
	n.t.Helper()
	for _, dir := range []string{n.path, "/usr/bin", "/bin", "/usr/sbin"} {
		path := filepath.Join(dir, tool)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if dir == n.path {
			n.must(os.Rename(path, path+".real"))
			path += ".real"
		}
		n.stub(tool, `if [ -n "$KILL_AT" ]; then
echo >>"$SIM/count"
if [ "$(wc -l <"$SIM/count")" = "${#KILL_AT}" ]; then kill -9 -"$(cat "$SIM/main")" 0; fi
fi
exec `+path+` "$@"`)
		return
	}
	n.t.Fatalf("no %s here", tool)
}
