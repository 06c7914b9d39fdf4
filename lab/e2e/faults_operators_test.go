package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// operators: while a run works on the nodes, others begin. One with the same stack finds it locked, one with a stack and a state of
// its own is refused by every node, as is one whose stack has the same name, and all leave everything as it is.
func (f *faults) operators(t *testing.T) {
	t.Helper()
	worker1 := f.node(t, "worker1")
	other := f.otherOperator(t, "other")
	versions, containers := f.kube.versions(t), f.containers(t)
	for _, w := range f.watches {
		w.begin()
	}
	hold := fault{step: switchStep, before: dropInGone, at: "mv */switch.berth-tmp *", do: held}
	arm(t, worker1, hold)
	t.Cleanup(func() { disarm(t, worker1, hold) })
	first := f.pulumi.start(t, "up", "--yes", "--skip-preview")
	eventually(t, 2*time.Minute, func() string {
		if !happened(worker1) {
			return "the switch of worker1 does not begin: " + first.output.String()
		}
		return ""
	})

	second := f.pulumi.mustFail(t, "up", "--yes", "--skip-preview")
	contains(t, "the second up of the same stack", second.text(), "locked")

	third := other.start(t, "up", "--yes", "--skip-preview", "--continue-on-error")
	eventually(t, 2*time.Minute, func() string {
		if said := third.output.String(); !strings.Contains(said, "for containerd apply of "+stackName+"/worker1") && !third.ended() {
			return "the other stack does not wait for the lock of worker1: " + said
		}
		return ""
	})
	run(t, worker1, "touch "+armed+"/go")
	if err := <-first.done; err != nil {
		t.Errorf("the first up: %v\n%s", err, first.output.String())
	}
	if err := <-third.done; err == nil {
		t.Errorf("the other stack had to be refused:\n%s", third.output.String())
	}
	for _, n := range f.cluster.Nodes {
		contains(t, "the up of the other stack", third.output.String(), "this node belongs to "+stackName+"/"+n.Name)
	}
	noTrace(t, second.text()+third.output.String())
	other.must(t, "destroy", "--yes", "--skip-preview")

	namesake := f.otherOperator(t, stackName)
	fourth := namesake.mustFail(t, "up", "--yes", "--skip-preview", "--continue-on-error")
	for _, n := range f.cluster.Nodes {
		contains(t, "the up of the stack's namesake", fourth.text(), "this node belongs to "+stackName+"/"+n.Name+" of another Pulumi state")
	}
	noTrace(t, fourth.text())
	namesake.must(t, "destroy", "--yes", "--skip-preview")

	disarm(t, worker1, hold)
	f.isRight(t, round{next: "up", workers: true})
	if now := f.containers(t); !maps.Equal(now, containers) {
		t.Errorf("the witnesses' containers were %v and are %v", containers, now)
	}
	f.pulumi.must(t, "preview", "--expect-no-changes")
	// The first up proved worker1 with a new Job; all else of the cluster is as it was.
	if diff := lasting(versions).diff(lasting(f.kube.versions(t))); len(diff) > 0 {
		t.Errorf("the cluster's objects changed:\n%s", strings.Join(diff, "\n"))
	}
	outage := f.watches["worker1"].outage()
	row("switch", "second-operator-same-stack", "stack-is-locked,nothing-runs", outage)
	row("switch", "second-operator-other-stack", "refused-by-owner,nothing-changes", outage)
	row("switch", "second-operator-other-backend", "refused-by-identity,nothing-changes", outage)
}

// otherOperator is somebody with a checkout, a stack and a state of his own, for the same cluster.
func (f *faults) otherOperator(t *testing.T, stack string) *pulumiCLI {
	t.Helper()
	dir := f.secondCheckout(t)
	other := &pulumiCLI{
		dir: dir, stack: stack, leaks: f.leaks, config: filepath.Join(dir, "stacks", "Pulumi."+stack+".yaml"),
		env: slices.Concat(f.pulumi.env, []string{"PULUMI_BACKEND_URL=file://" + t.TempDir()}),
	}
	if r := other.run(t, "", "stack", "init"); r.err != nil {
		t.Fatalf("pulumi stack init: %v\n%s", r.err, r.text())
	}
	check(t, os.WriteFile(other.config, []byte(readFile(t, f.configs[true])), 0o600))
	return other
}

// lasting leaves out what proves a node and goes again.
func lasting(versions map[string]string) snapshot {
	all := snapshot{}
	for name, version := range versions {
		if !strings.HasPrefix(name, "Job/") && !strings.HasPrefix(name, "Pod/") {
			all[name] = version
		}
	}
	return all
}
