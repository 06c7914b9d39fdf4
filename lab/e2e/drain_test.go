package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/lab/cluster"
)

// cordonMark is the annotation with which berth remembers a cordon of its own.
const cordonMark = `{.metadata.annotations.berth/cordoned}`

// TestDrain walks a stack that drains its nodes through its life: a rollout, ups that restart nothing, a cordon of somebody
// else, a budget that allows nothing, and runs that are killed in the middle of a drain.
func TestDrain(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	s := newSuite(t, watchLeaks(t))
	t.Cleanup(func() { s.removeWeb(t) })
	s.pulumi.set(t, "berth:drain.enabled", "true", false)
	s.pulumi.set(t, "berth:drain.timeout", "2m", false)
	s.pulumi.set(t, "berth:rollout.batch", "1", false)
	for _, step := range []struct {
		name  string
		check func(*suite, *testing.T)
	}{
		{"rollout", (*suite).drainedRollout},
		{"no-restart-no-drain", (*suite).drainsNothing},
		{"cordon-of-somebody-else", (*suite).othersCordonStays},
		{"budget-of-none", (*suite).drainIsBounded},
		{"killed-then-up", (*suite).killedDrainThenUp},
		{"another-mode", (*suite).drainedChangeOfMode},
		{"killed-then-destroy", (*suite).killedDrainThenDestroy},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.check(s, t) }) {
			return
		}
	}
}

// drainedRollout: the first up drains one node after the other, and no budget is ever violated.
func (s *suite) drainedRollout(t *testing.T) {
	s.createWeb(t)
	s.drainsEveryNode(t, func() { s.needUp(t) })
	for _, n := range s.cluster.Nodes {
		if d := containerdOf(t, n); d.exe == stockContainerd {
			t.Errorf("%s runs the stock containerd", n.Name)
		}
		serves(t, n)
	}
}

// drainsEveryNode has up drain one node after the other, both pods among what moves.
func (s *suite) drainsEveryNode(t *testing.T, up func()) {
	t.Helper()
	before := s.web(t)
	budget := s.watch(t, "pdb", "web", `{.status.currentHealthy} of {.status.desiredHealthy}{"\n"}`)
	nodes := s.watch(t, "nodes", "", `{.metadata.name} {.spec.unschedulable}{"\n"}`)
	up()
	for _, line := range budget() {
		if !strings.HasPrefix(line, "1 of 1") && !strings.HasPrefix(line, "2 of 1") {
			t.Errorf("the budget was violated: %s", line)
		}
	}
	cordoned, ever := map[string]bool{}, map[string]bool{}
	for _, line := range nodes() {
		name, is, _ := strings.Cut(line, " ")
		delete(cordoned, name)
		if is == "true" {
			cordoned[name], ever[name] = true, true
		}
		if len(cordoned) > 1 {
			t.Errorf("more than one node was cordoned at once: %v", cordoned)
		}
	}
	if len(ever) != len(s.cluster.Nodes) {
		t.Errorf("only %v were cordoned", slices.Sorted(maps.Keys(ever)))
	}
	s.nobodyIsCordoned(t)
	now := s.web(t)
	for uid := range before {
		if now[uid] != "" {
			t.Errorf("a pod of %s was never evicted", now[uid])
		}
	}
}

// drainedChangeOfMode: a mode that keeps the packaged containerd restarts it once, with the pods away, and then no more.
func (s *suite) drainedChangeOfMode(t *testing.T) {
	s.setMode(t, "mirror")
	s.pulumi.set(t, "berth:drain.timeout", "2m", false)
	s.drainsEveryNode(t, func() { s.pulumi.must(t, "up", "--yes", "--skip-preview") })
	for _, n := range s.cluster.Nodes {
		if d := containerdOf(t, n); d.exe != stockContainerd {
			t.Errorf("%s runs %s", n.Name, d.exe)
		}
		serves(t, n)
	}
	before, running := s.web(t), s.containerds(t)
	s.setPort(t, firstPort)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	if now := s.web(t); !maps.Equal(before, now) {
		t.Errorf("the pods were %v and are %v", before, now)
	}
	if now := s.containerds(t); !maps.Equal(running, now) {
		t.Errorf("containerd was %v and is %v", running, now)
	}
}

// drainsNothing: what restarts no containerd moves no pod.
func (s *suite) drainsNothing(t *testing.T) {
	before, running := s.web(t), s.containerds(t)
	nodes := s.watch(t, "nodes", "", `{.metadata.name} {.spec.unschedulable}{"\n"}`)
	recap := s.pulumi.must(t, "stack", "output", "nodes").stdout
	contains(t, "the recap", recap, "containerd=1.7.", "restarts=1", "port=30443", "changed=ca,hosts,port", "pulled=")
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
	if now := s.pulumi.must(t, "stack", "output", "nodes").stdout; now != recap {
		t.Errorf("an up without a change changed the recap:\n%s\n%s", recap, now)
	}
	s.setPort(t, secondPort)
	s.setPassword(t, secondPassword)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	contains(t, "the recap", s.pulumi.must(t, "stack", "output", "nodes").stdout, "restarts=1", "port=30444", "changed=port")
	if now := s.web(t); !maps.Equal(before, now) {
		t.Errorf("the pods were %v and are %v", before, now)
	}
	if now := s.containerds(t); !maps.Equal(running, now) {
		t.Errorf("containerd was %v and is %v", running, now)
	}
	if seen := strings.Join(nodes(), "\n"); strings.Contains(seen, "true") {
		t.Errorf("a node was cordoned:\n%s", seen)
	}
	// How nodes are drained is no part of any resource.
	s.pulumi.set(t, "berth:drain.timeout", "3m", false)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// othersCordonStays: a repair that restarts containerd on a node that an operator had cordoned leaves it so.
func (s *suite) othersCordonStays(t *testing.T) {
	n := s.node(t, "worker2")
	s.kube.must(t, "", "cordon", n.Name)
	loseDropIn(t, n)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	if d := containerdOf(t, n); d.exe == stockContainerd {
		t.Errorf("%s was not repaired", n.Name)
	}
	if got := s.cordon(t, n.Name); got != "true" {
		t.Errorf("%s was cordoned, and now it is %q", n.Name, got)
	}
	s.kube.must(t, "", "uncordon", n.Name)
}

// drainIsBounded: where a budget allows no disruption, the node stays as it was, is used again, and no other node is touched.
func (s *suite) drainIsBounded(t *testing.T) {
	host := s.hostOfWeb(t)
	s.setBudget(t, 2)
	s.pulumi.set(t, "berth:drain.timeout", "10s", false)
	loseDropIn(t, host)
	loseDropIn(t, s.node(t, "master1"))
	before := s.web(t)
	started := time.Now()
	r := s.pulumi.mustFail(t, "up", "--yes", "--skip-preview")
	if took := time.Since(started); took > 3*time.Minute {
		t.Errorf("the drain of 10 s took %s", took)
	}
	contains(t, "the output of up", r.text(), "draining node "+host.Name+": not within 10s: default/web-",
		"Cannot evict pod as it would violate the pod's disruption budget", "The disruption budget web needs 2 healthy pods and has 2 currently")
	noTrace(t, r.text())
	for _, n := range []*cluster.Node{host, s.node(t, "master1")} {
		if d := containerdOf(t, n); d.exe != stockContainerd {
			t.Errorf("%s was switched to %s", n.Name, d.exe)
		}
	}
	s.nobodyIsCordoned(t)
	if now := s.web(t); !maps.Equal(before, now) {
		t.Errorf("the pods were %v and are %v", before, now)
	}
}

// killedDrainThenUp: what a killed run left cordoned is told by a preview and healed by an up.
func (s *suite) killedDrainThenUp(t *testing.T) {
	registry := s.registryPods(t)
	host := s.killInDrain(t)
	contains(t, "the preview", s.pulumi.must(t, "preview").text(), host.Name+" has been left cordoned by an interrupted run")
	s.setBudget(t, 1)
	r := s.pulumi.must(t, "up", "--yes", "--skip-preview")
	contains(t, "the output of up", r.text(), host.Name+" had been left cordoned by an interrupted run and is uncordoned")
	s.nobodyIsCordoned(t)
	for _, n := range s.cluster.Nodes {
		if d := containerdOf(t, n); d.exe == stockContainerd {
			t.Errorf("%s runs the stock containerd", n.Name)
		}
	}
	if now := s.registryPods(t); now != registry {
		t.Errorf("the registry's pod was %q and is %q", registry, now)
	}
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// registryPods are the uids of the registry's pods, of which there is one.
func (s *suite) registryPods(t *testing.T) string {
	t.Helper()
	return s.kube.must(t, "", "get", "pods", "-n", "default", "-l", "app=docker-registry", "-o", "jsonpath={.items[*].metadata.uid}")
}

// killedDrainThenDestroy: a destroy heals as well, though it runs no program.
func (s *suite) killedDrainThenDestroy(t *testing.T) {
	run(t, s.hostOfWeb(t), "sed -i '/^# BEGIN berth$/,/^# END berth$/d' /etc/containerd/config.toml")
	s.setBudget(t, 2)
	s.killInDrain(t)
	s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	s.up = false
	s.nobodyIsCordoned(t)
	s.removeWeb(t)
	s.asBefore(t)
}

// killInDrain starts an up whose drain cannot end, kills all of it, and returns the node that it left cordoned.
func (s *suite) killInDrain(t *testing.T) *cluster.Node {
	t.Helper()
	host := s.hostOfWeb(t)
	s.pulumi.set(t, "berth:drain.timeout", "5m", false)
	up := s.pulumi.start(t, "up", "--yes", "--skip-preview")
	eventually(t, 2*time.Minute, func() string {
		if s.cordon(t, host.Name) == "true" {
			return ""
		}
		return "no drain of " + host.Name + " is seen:\n" + up.output.String()
	})
	family := descendants(up.cmd.Process.Pid)
	_ = up.cmd.Process.Kill()
	kill(family)
	<-up.done
	s.pulumi.cancel(t)
	if got := s.cordon(t, host.Name); got != "true" {
		t.Fatalf("cordon of %s is %q: nothing is tested", host.Name, got)
	}
	if d := containerdOf(t, host); d.exe != stockContainerd {
		t.Fatalf("%s was switched: nothing is tested", host.Name)
	}
	return host
}

// loseDropIn makes a node run the stock containerd, as the loss of berth's drop-in would.
func loseDropIn(t *testing.T, n *cluster.Node) {
	t.Helper()
	run(t, n, `rm /etc/systemd/system/containerd.service.d/zz-berth.conf && systemctl daemon-reload && systemctl restart containerd &&
		timeout 30 sh -c 'until crictl info >/dev/null 2>&1; do sleep 0.2; done'`)
	serves(t, n)
}

// createWeb makes two pods that move, with a budget that lets one of them go at a time.
func (s *suite) createWeb(t *testing.T) {
	t.Helper()
	s.kube.must(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {web: e2e}}
  template:
    metadata: {labels: {web: e2e}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {web: e2e}}}
      containers:
        - {name: main, image: %s, imagePullPolicy: Never, command: [sleep, "1000000"]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {web: e2e}}}
`, busyboxImage), "apply", "-f", "-")
	s.kube.must(t, "", "rollout", "status", "deployment/web", "-n", "default", "--timeout=90s")
	eventually(t, time.Minute, func() string {
		if got := s.kube.must(t, "", "get", "pdb", "web", "-n", "default", "-o", "jsonpath={.status.currentHealthy}"); got != "2" {
			return "the budget counts " + got
		}
		return ""
	})
}

func (s *suite) removeWeb(t *testing.T) {
	t.Helper()
	s.kube.must(t, "", "delete", "deployment/web", "pdb/web", "-n", "default", "--ignore-not-found")
	s.kube.must(t, "", "delete", "pods", "-n", "default", "-l", "web=e2e", "--grace-period=0", "--force", "--ignore-not-found")
	for _, n := range s.cluster.Nodes {
		s.kube.must(t, "", "uncordon", n.Name)
	}
}

// setBudget says how many of the two pods must be there, and waits until the cluster knows it.
func (s *suite) setBudget(t *testing.T, least int) {
	t.Helper()
	s.kube.must(t, "", "patch", "pdb", "web", "-n", "default", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"minAvailable":%d}}`, least))
	eventually(t, time.Minute, func() string {
		got := s.kube.must(t, "", "get", "pdb", "web", "-n", "default", "-o", "jsonpath={.status.disruptionsAllowed}")
		if want := strconv.Itoa(2 - least); got != want {
			return "the budget allows " + got + " disruptions, want " + want
		}
		return ""
	})
}

// web returns the nodes of the two pods, by uid.
func (s *suite) web(t *testing.T) map[string]string {
	t.Helper()
	s.kube.must(t, "", "rollout", "status", "deployment/web", "-n", "default", "--timeout=90s")
	pods := map[string]string{}
	eventually(t, time.Minute, func() string {
		clear(pods)
		for _, line := range lines(s.kube.must(t, "", "get", "pods", "-n", "default", "-l", "web=e2e", "-o",
			`jsonpath={range .items[*]}{.metadata.uid} {.spec.nodeName} {.metadata.deletionTimestamp}{"\n"}{end}`)) {
			f := strings.Fields(line)
			pods[f[0]] = strings.Join(f[1:], " ending since ")
		}
		if len(pods) != 2 {
			return fmt.Sprintf("the pods are %v", pods)
		}
		return ""
	})
	return pods
}

// hostOfWeb is a node on which one of the pods runs.
func (s *suite) hostOfWeb(t *testing.T) *cluster.Node {
	t.Helper()
	return s.node(t, slices.Sorted(maps.Values(s.web(t)))[0])
}

// cordon says whether a node is cordoned: "true" or "".
func (s *suite) cordon(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(s.kube.must(t, "", "get", "node", name, "-o", "jsonpath={.spec.unschedulable}"))
}

func (s *suite) nobodyIsCordoned(t *testing.T) {
	t.Helper()
	for _, n := range s.cluster.Nodes {
		mark := s.kube.must(t, "", "get", "node", n.Name, "-o", "jsonpath="+cordonMark)
		if is := s.cordon(t, n.Name); is != "" || mark != "" {
			t.Errorf("%s is cordoned: %q %q", n.Name, is, mark)
		}
	}
}

// watch collects each state of an object, or of all objects of a kind, until the function that it returns is called.
func (s *suite) watch(t *testing.T, kind, name, path string) func() []string {
	t.Helper()
	args := []string{"get", kind, "-n", "default", "--watch", "-o", "jsonpath=" + path}
	if name != "" {
		args = slices.Insert(args, 2, name)
	}
	cmd := exec.CommandContext(t.Context(), "kubectl", args...)
	if file := lookPath("kubectl", s.kube.env); file != "" {
		cmd.Path, cmd.Err = file, nil
	}
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.kube.env, &out, &out
	check(t, cmd.Start())
	return func() []string {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		seen := lines(out.String())
		if len(seen) == 0 {
			t.Errorf("the watch of %s saw nothing", kind)
		}
		return seen
	}
}
