package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// destroy puts the nodes back, whole after a whole up, and after one that was killed too.
func (s *suite) destroy(t *testing.T) {
	t.Run("after-up", func(t *testing.T) { s.destroyAfterUp(t) })
	t.Run("after-kill", func(t *testing.T) { s.destroyAfterKill(t, false) })
	t.Run("after-kill-of-all", func(t *testing.T) { s.destroyAfterKill(t, true) })
}

func (s *suite) destroyAfterUp(t *testing.T) {
	s.needUp(t)
	for _, n := range s.cluster.Nodes {
		s.removeImages(t, n)
	}
	// Somebody else adds a line to a file that berth changed too.
	n := s.node(t, "worker1")
	addHosts(t, n, "192.0.2.7 somebody.else")
	s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	s.up = false

	hosts := readFile(t, filepath.Join(n.Root(), "etc/hosts"))
	if !strings.HasSuffix(hosts, "192.0.2.7 somebody.else # e2e\n") {
		t.Errorf("the line of somebody else is gone from /etc/hosts of %s:\n%s", n.Name, hosts)
	}
	dropHosts(t, n)
	s.asBefore(t)
	images, err := os.ReadDir(filepath.Join(s.node(t, "master1").Root(), imagesPath))
	if err != nil || len(images) == 0 {
		t.Errorf("the images in %s on master1 are gone (%v)", imagesPath, err)
	}
	// And so it is written, where users read what destroy does.
	contains(t, "the README", readFile(t, filepath.Join(s.project, "README.md")), "destroy", "imagesPath")
}

// asBefore fails the test unless nodes and cluster are as before the first up.
func (s *suite) asBefore(t *testing.T) {
	t.Helper()
	s.sameFiles(t, s.clean)
	for _, n := range s.cluster.Nodes {
		if left := traces(t, n); left != "" {
			t.Errorf("%s has traces of berth:\n%s", n.Name, left)
		}
		if now := unit(t, n); now != s.units[n.Name] {
			t.Errorf("containerd's unit on %s was\n%s\nand is\n%s", n.Name, s.units[n.Name], now)
		}
		serves(t, n)
	}
	eventually(t, time.Minute, func() string {
		now := s.kube.objects(t)
		var differ []string
		for name := range now {
			if !s.objects[name] {
				differ = append(differ, "new: "+name)
			}
		}
		for name := range s.objects {
			if !now[name] {
				differ = append(differ, "gone: "+name)
			}
		}
		slices.Sort(differ)
		return strings.Join(differ, "\n")
	})
	if n := s.pulumi.resources(t); n > 0 {
		t.Errorf("destroy left %d resources in the state", n)
	}
}

// destroyAfterKill kills pulumi (all that it started, if all is set) while a step runs on a node, and destroys while that step is
// still at work.
func (s *suite) destroyAfterKill(t *testing.T, all bool) {
	s.needDown(t)
	up := s.pulumi.start(t, "up", "--yes", "--skip-preview")
	s.up = true
	// A step of the largest kind: it fetches, installs and restarts.
	var step []int
	deadline := time.Now().Add(5 * time.Minute)
	for step = steps("apply containerd"); len(step) == 0; step = steps("apply containerd") {
		select {
		case err := <-up.done:
			t.Fatalf("up ended (%v) and no step was seen:\n%s", err, up.output.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no step runs on any node:\n%s", up.output.String())
		}
	}
	family := descendants(up.cmd.Process.Pid)
	_ = up.cmd.Process.Kill()
	if all {
		kill(family)
	}
	<-up.done
	// The test ends what the killed pulumi left on this machine; on the nodes nothing is helped along.
	defer kill(family)

	s.pulumi.cancel(t)
	if len(steps("apply containerd")) == 0 {
		t.Error("the step was over before destroy began: nothing was tested")
	}
	s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	s.up = false
	// Pulumi keeps a note of what it was doing, until it is told otherwise.
	s.pulumi.must(t, "refresh", "--yes", "--skip-preview", "--clear-pending-creates")
	if state := s.pulumi.export(t); strings.Contains(state, "pending_operations") {
		t.Errorf("the state still has pending operations:\n%s", state)
	}
	// Nothing may come after the destroy.
	eventually(t, time.Minute, func() string {
		if left := steps("apply"); len(left) > 0 {
			return "steps still run: " + strings.Join(commandLines(left), "\n")
		}
		return ""
	})
	s.asBefore(t)
}

func kill(family map[int]string) {
	for pid, since := range family {
		if startOf(pid) == since {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// startOf tells a process from a later one with its number.
func startOf(pid int) string {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 20 {
		return ""
	}
	return f[19]
}

// steps returns the processes of the machines that run a step of berth with these words.
func steps(words string) []int {
	var all []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.HasPrefix(strings.ReplaceAll(string(line), "\x00", " "), "/bin/sh -s -- "+words) {
			all = append(all, pid)
		}
	}
	return all
}

func commandLines(pids []int) []string {
	all := map[string]bool{}
	for _, pid := range pids {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		all[strings.ReplaceAll(string(line), "\x00", " ")] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// descendants returns the processes that a process started, and those that they started, with the time of their start.
func descendants(pid int) map[int]string {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, err := strconv.Atoi(parentOf(e.Name())); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := map[int]string{}
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		all[queue[0]] = startOf(queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}
