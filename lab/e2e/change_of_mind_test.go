package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/lab/cluster"
)

// TestChangeOfMind changes the names of the registry, and the nodes of the stack, in every way that a user may. The steps build on
// each other.
func TestChangeOfMind(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	s := newSuite(t, watchLeaks(t))
	for _, step := range []struct { //nolint:paralleltest // the steps build on each other
		name  string
		check func(*suite, *testing.T)
	}{
		{"aliases", (*suite).aliases},
		{"registry-renamed", (*suite).registryRenamed},
		{"node-moved-and-reordered", (*suite).nodeMoved},
		{"node-renamed", (*suite).nodeRenamed},
		{"node-removed-and-added", (*suite).nodeRemovedAndAdded},
		{"node-dead", (*suite).nodeDead},
	} {
		t.Run(step.name, func(t *testing.T) { step.check(s, t) })
	}
}

// aliases: a second name is pulled by on every node, with the credentials of the first, and no containerd is restarted for it.
func (s *suite) aliases(t *testing.T) {
	s.needUp(t)
	daemons := s.containerds(t)
	s.pulumi.set(t, "berth:registry.aliases[0]", aliasHost, false)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	// An up ends with the pull, and the pods some seconds later.
	s.kube.must(t, "", "wait", "--for=condition=complete", "jobs", "--all-namespaces", "-l", "app=berth-verify", "--timeout=60s")
	proved := s.kube.must(t, "", "get", "pods", "--all-namespaces", "-l", "app=berth-verify", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName}={.status.phase}={.spec.containers[*].image}{"\n"}{end}`)
	for _, n := range s.cluster.Nodes {
		contains(t, "the verification", proved, n.Name+"=Succeeded="+registryHost+"/berth/verify")
	}
	if got := strings.Count(proved, " "+aliasHost+"/berth/verify:"); got != len(s.cluster.Nodes) {
		t.Errorf("the alias was proved on %d nodes:\n%s", got, proved)
	}
	s.pulledBy(t, aliasHost)
	s.pulledBy(t, registryHost)
	s.sameContainerds(t, daemons)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// registryRenamed: first without one failed pull by either name, by way of the alias; then back, straight.
func (s *suite) registryRenamed(t *testing.T) {
	daemons, pod := s.containerds(t), s.registryPod(t)
	loops := map[string]*pullLoop{}
	for _, n := range s.cluster.Nodes {
		loops[n.Name] = s.startPulls(t, n, registryHost, aliasHost)
	}
	s.pulumi.set(t, "berth:registry.host", aliasHost, false)
	s.pulumi.set(t, "berth:registry.aliases[0]", registryHost, false)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	for name, loop := range loops {
		if pulled, failed := loop.stop(t); len(failed) > 0 || pulled < 5 {
			t.Errorf("%s: %d pulls went well and %d failed:\n%s", name, pulled, len(failed), strings.Join(failed, "\n"))
		}
	}
	if now := s.registryPod(t); now != pod {
		t.Errorf("the registry's pod was %s and is %s", pod, now)
	}

	s.pulumi.must(t, "config", "rm", "--path", "berth:registry.aliases")
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	s.pulledBy(t, aliasHost)
	s.forgotten(t, registryHost)

	s.pulumi.set(t, "berth:registry.host", registryHost, false)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	s.pulledBy(t, registryHost)
	s.forgotten(t, aliasHost)
	s.sameContainerds(t, daemons)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// nodeMoved: a machine is reached at another address, and the nodes stand in another order.
func (s *suite) nodeMoved(t *testing.T) {
	daemons := s.containerds(t)
	const second = "10.99.0.113"
	run(t, s.node(t, "worker2"), "ip address add "+second+"/24 dev host0")
	nodes := s.nodeConfigs()
	nodes[2]["internalIP"], nodes[2]["address"] = nodes[2]["address"], second
	slices.Reverse(nodes)
	s.setNodes(t, nodes)
	changes := s.pulumi.plan(t).changes()
	contains(t, "the plan", strings.Join(changes, "\n"), "update command:remote:Command::node-worker2-anchor")
	for _, change := range changes {
		if !strings.Contains(change, "node-worker2-") {
			t.Errorf("another address of worker2, and another order, plan: %s", change)
		}
	}
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.setNodes(t, s.nodeConfigs())
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	run(t, s.node(t, "worker2"), "ip address delete "+second+"/24 dev host0")
	s.sameContainerds(t, daemons)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// nodeRenamed: a name that is not the machine's own is refused. Where nothing tells that it is not, the new name takes the machine
// over, and the removal of the old one, which comes after it, leaves what belongs to the new.
func (s *suite) nodeRenamed(t *testing.T) {
	daemons, n := s.containerds(t), s.node(t, "worker2")
	owner := func() string { return run(t, n, "sed -n 's/^owner //p' /var/lib/berth/manifest") }
	nodes := s.nodeConfigs()
	nodes[2]["name"] = "worker9"
	s.setNodes(t, nodes)
	contains(t, "the refusal", s.pulumi.mustFail(t, "up", "--yes", "--skip-preview").text(),
		"this machine is Node worker2: correct name or address in berth:nodes")
	if got := owner(); got != stackName+"/worker2" {
		t.Errorf("the refused name left the owner %q", got)
	}

	// The cluster has no Node of that name, and so no pod could prove it: a retired one is not proved.
	nodes[2]["retired"] = true
	s.setNodes(t, nodes)
	const certificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	run(t, n, "mv "+certificate+" "+certificate+".e2e")
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	run(t, n, "mv "+certificate+".e2e "+certificate)
	if got := owner(); got != stackName+"/worker9" {
		t.Errorf("the renamed node belongs to %q", got)
	}
	s.setNodes(t, s.nodeConfigs())
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	if got := owner(); got != stackName+"/worker2" {
		t.Errorf("with its old name back the node belongs to %q", got)
	}
	s.sameContainerds(t, daemons)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// nodeRemovedAndAdded: in between the node is as nobody had ever used berth.
func (s *suite) nodeRemovedAndAdded(t *testing.T) {
	daemons, n := s.containerds(t), s.node(t, "worker2")
	s.removeImages(t, n)
	s.setNodes(t, s.nodeConfigs()[:2])
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.cleaned(t, n)
	if state := s.pulumi.export(t); strings.Contains(state, "node-worker2") {
		t.Error("the state still knows the node that was removed")
	}
	s.setNodes(t, s.nodeConfigs())
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.pulledOnEveryNode(t)
	delete(daemons, "worker2")
	s.sameContainerds(t, daemons)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// nodeDead: a machine that is gone is retired and forgotten. Another one goes without notice, and then all is destroyed: the rest goes
// nevertheless. When they come back they can be cleaned by hand.
func (s *suite) nodeDead(t *testing.T) {
	dead := []*cluster.Node{s.node(t, "worker1"), s.node(t, "worker2")}
	for _, n := range dead {
		s.removeImages(t, n)
		t.Cleanup(func() { check(t, n.Start(context.WithoutCancel(t.Context()))) })
	}
	check(t, dead[1].Kill(t.Context()))
	contains(t, "the preview", s.pulumi.must(t, "preview", "--expect-no-changes").text(), "worker2: the node could not be compared")
	nodes := s.nodeConfigs()
	nodes[2]["retired"] = true
	s.setNodes(t, nodes)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	if jobs := s.kube.must(t, "", "get", "jobs", "--all-namespaces", "-o", "name"); strings.Contains(jobs, "node-worker2") {
		t.Errorf("the Job of the retired node is left:\n%s", jobs)
	}
	s.setNodes(t, nodes[:2])
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.pulumi.must(t, "preview", "--expect-no-changes")

	check(t, dead[0].Kill(t.Context()))
	s.removeImages(t, s.node(t, "master1"))
	failed := s.pulumi.mustFail(t, "destroy", "--yes", "--skip-preview", "--continue-on-error")
	contains(t, "the failed destroy", failed.text(), "node-worker1-anchor", dead[0].Address)
	noTrace(t, failed.text())
	s.cleaned(t, s.node(t, "master1"))
	for _, r := range s.pulumi.state(t) {
		if strings.HasSuffix(r.URN, "::node-worker1-anchor") {
			s.pulumi.must(t, "state", "delete", "--yes", r.URN)
		}
	}
	s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	s.up = false

	for _, n := range dead {
		check(t, n.Start(t.Context()))
		if exe := containerdOf(t, n).exe; !strings.Contains(exe, "containerd-berth-") {
			t.Errorf("%s came back with %s", n.Name, exe)
		}
		run(t, n, "berth-remove")
		s.kube.must(t, "", "wait", "--for=condition=Ready", "node/"+n.Name, "--timeout=90s")
	}
	s.asBefore(t)
}

// cleaned fails the test unless a node is as before the first up.
func (s *suite) cleaned(t *testing.T, n *cluster.Node) {
	t.Helper()
	now, err := takeSnapshot(n.Root())
	check(t, err)
	if diff := s.clean[n.Name].diff(now); len(diff) > 0 {
		t.Errorf("%s is not as it was:\n%s", n.Name, strings.Join(diff, "\n"))
	}
	if left := traces(t, n); left != "" {
		t.Errorf("%s has traces of berth:\n%s", n.Name, left)
	}
	serves(t, n)
}

// forgotten fails the test where a node still knows a name.
func (s *suite) forgotten(t *testing.T, name string) {
	t.Helper()
	for _, n := range s.cluster.Nodes {
		for _, file := range []string{"etc/hosts", "etc/containerd/berth.ports"} {
			if text := readFile(t, filepath.Join(n.Root(), file)); strings.Contains(text, name) {
				t.Errorf("/%s of %s still has %s:\n%s", file, n.Name, name, text)
			}
		}
	}
}

// sameContainerds fails the test where one of the daemons was restarted.
func (s *suite) sameContainerds(t *testing.T, before map[string]daemon) {
	t.Helper()
	now := s.containerds(t)
	for name, was := range before {
		if now[name] != was {
			t.Errorf("containerd on %s was %+v and is %+v", name, was, now[name])
		}
	}
}

func (s *suite) registryPod(t *testing.T) string {
	t.Helper()
	return s.kube.must(t, "", "get", "pods", "--all-namespaces", "-l", "app=docker-registry", "-o", "name")
}

// nodeConfigs are the nodes as they stand in the suite's stack.
func (s *suite) nodeConfigs() []map[string]any {
	var list []map[string]any
	for _, n := range s.cluster.Nodes {
		list = append(list, map[string]any{
			"name": n.Name, "address": n.Address, "hostKey": n.HostKey, "containerdVersion": versions[n.Name],
		})
	}
	return list
}

func (s *suite) setNodes(t *testing.T, nodes []map[string]any) {
	t.Helper()
	text, err := json.Marshal(nodes)
	check(t, err)
	s.pulumi.set(t, "berth:nodes", string(text), false)
}
