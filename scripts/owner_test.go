package scripts

import (
	"os"
	"slices"
	"strings"
	"testing"
)

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

// TestAnotherStateOfTheSameStack: two people have a state each, of stacks of one name.
func TestAnotherStateOfTheSameStack(t *testing.T) {
	t.Parallel()
	other := Var{"IDENTITY", "SHA256:of/another+state"}
	eachShell(t, func(t *testing.T, n *node) {
		clean := n.snapshot()
		n.install()
		before := n.snapshot()
		const says = "this node belongs to " + owner + " of another Pulumi state"
		n.fail(Anchor, "preflight", changed(anchorVars(owner), []Var{other}), says, "nothing is changed on this node")
		n.fail(Base, "apply", baseVars(owner, other), says, "nothing is changed on this node")
		if got, want := n.run(Anchor, "remove", changed(anchorVars(owner), []Var{other})), "skip remove: owner is "+owner+" of another Pulumi state"; got != want {
			t.Errorf("remove said %q, want %q", got, want)
		}
		n.same(before)
		// The state that has the node goes on as ever.
		n.install()
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
	// A node that was set up before nodes remembered a state takes the first that comes.
	eachShell(t, func(_ *testing.T, n *node) {
		n.install()
		n.write("var/lib/berth/manifest", strings.ReplaceAll(n.read("var/lib/berth/manifest"), "identity "+testIdentity+"\n", ""), 0o600)
		n.run(Base, "apply", baseVars(owner, other))
		n.fail(Base, "apply", baseVars(owner), "of another Pulumi state")
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
		cmd.Path, cmd.Args = n.shell[0], slices.Concat(n.shell, []string{n.root + "/usr/local/sbin/berth-remove"})
		cmd.Stdin = nil
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "removed: "+owner+"\n") {
			t.Fatalf("%v\n%s", err, out)
		}
		n.same(before)
		// Pulumi knows nothing of it: its steps work at once.
		n.run(Base, "apply", baseVars(owner))
	})
}
