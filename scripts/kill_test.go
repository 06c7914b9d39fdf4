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
					for _, left := range []string{"fetch", "switch", "switch.log"} {
						if n.exists("var/lib/berth/" + left) {
							t.Errorf("call %d: %s is left", count, left)
						}
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

// TestKilledTrial kills the unit's script while a containerd that cannot start is on trial: nobody is left to take it back
// but systemd.
func TestKilledTrial(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		clean := n.snapshot()
		n.run(Base, "apply", baseVars(owner))
		n.must(os.Rename(n.path+"/systemctl", n.path+"/systemctl.real"))
		n.stub("systemctl", `"`+n.path+`/systemctl.real" "$@"
RC=$?
if [ "$1" = restart ] && mkdir "$SIM/killed" 2>/dev/null; then kill -9 "$(cat "$SIM/unit")"; fi
exit $RC`)
		n.fail(Containerd, "apply", containerdVars(owner, n.publish(containerdScript(testVersion, 1, "cri"))),
			"is taken back: the switch was killed", "/usr/bin/containerd runs again", "the switch to containerd "+testVersion+" failed")
		if n.getSim("active") != "active\n" || n.running() != "/usr/bin/containerd" {
			t.Fatalf("containerd is %q, and %s runs", n.getSim("active"), n.running())
		}
		n.run(Containerd, "apply", containerdVars(owner, n.publish(containerdScript(testVersion, 0, "cri"))))
		if n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
			t.Errorf("%s runs", n.running())
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
}

// TestOnTheDiskFirst: what a loss of power leaves under a file's name is all of the file, or what was there before; and a unit is
// told to run a binary that is there.
func TestOnTheDiskFirst(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]string{"a file": "", "all, where a file is refused": `[ $# = 0 ] || exit 1; `} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells(t)["dash"])
			n.stub("sync", old+`echo "sync $*" >>"$SIM/order"`)
			n.stub("mv", `echo "mv $*" >>"$SIM/order"; exec /bin/mv "$@"`)
			n.install()
			synced := func(file string) string {
				if old != "" {
					return "sync "
				}
				return "sync " + file
			}
			binary, dropIn, renamed := 0, 0, 0
			order := strings.Split(n.getSim("order"), "\n")
			for i, line := range order {
				words := strings.Fields(line)
				if line == synced(n.root+"/usr/local/bin/containerd-berth-"+testVersion) && dropIn == 0 {
					binary = i
				}
				// The link to ctr has no content.
				if len(words) != 4 || !strings.HasSuffix(words[2], ".berth-tmp") || strings.HasSuffix(words[3], "/ctr") {
					continue
				}
				renamed++
				if i == 0 || order[i-1] != synced(words[2]) {
					t.Errorf("%q comes without %q", line, synced(words[2]))
				}
				if strings.HasSuffix(words[3], "/zz-berth.conf") {
					dropIn = i
				}
			}
			if renamed < 10 || binary == 0 || dropIn < binary {
				t.Errorf("%d files renamed, the binary is written out at %d, the drop-in comes at %d:\n%s", renamed, binary, dropIn, n.getSim("order"))
			}
		})
	}
}

// TestCutUpload: what came of an archive whose upload was cut is in no manifest, and goes all the same.
func TestCutUpload(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells(t)["dash"])
	n.mkdir("tmp")
	clean := n.snapshot()
	n.write("tmp/berth-registry-image.tar", "half", 0o600)
	n.run(Anchor, "remove", anchorVars(owner))
	n.same(clean)
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
