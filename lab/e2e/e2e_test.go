// Package e2e holds the end-to-end test: real machines, a real cluster and the real Pulumi program, from the problem to the teardown.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/lab/cluster"
)

// The lab's stack is the seed case: these values stand in its config.
const (
	stackName    = "lab"
	registryHost = "Yuan.com"
	// aliasHost is a name that no stack begins with.
	aliasHost    = "images.example.internal"
	registryUser = "Yuan"
	imagesPath   = "/home/docker-registry/images"
	pullSecret   = "berth-pull"
	firstPort    = 30443
	secondPort   = 30444
	// Passwords that nobody else could have put into a process list.
	firstPassword  = "Abcd123456"
	secondPassword = "Efgh654321-e2"
)

// versions is the containerd of each node: three lines in one cluster. master1 has the one of the lab's stack.
var versions = map[string]string{"master1": "1.7.36", "worker1": "1.6.38", "worker2": "2.2.9"}

// TestEndToEnd walks through what berth promises, one subtest a point. The points build on each other, but each brings the stack to
// the state that it needs, so that one can be run alone.
func TestEndToEnd(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	s := newSuite(t, watchLeaks(t))
	for _, point := range []struct { //nolint:paralleltest // the points build on each other
		name  string
		check func(*suite, *testing.T)
	}{
		{"01-problem", (*suite).problem},
		{"02-preview", (*suite).preview},
		{"03-up", (*suite).firstUp},
		{"04-no-change", (*suite).noChange},
		{"05-users-day", (*suite).usersDay},
		{"06-port-and-password", (*suite).portAndPassword},
		{"07-broken-containerd", (*suite).brokenContainerd},
		{"07-drift", (*suite).drift},
		{"08-destroy", (*suite).destroy},
		{"09-bad-config", (*suite).badConfig},
		{"10-secrets", (*suite).noSecrets},
	} {
		t.Run(point.name, func(t *testing.T) { point.check(s, t) })
	}
}

// suite is what the points share.
type suite struct {
	cluster *cluster.Cluster
	project string // the project's folder
	pulumi  *pulumiCLI
	kube    *kubectl
	leaks   *leaks

	clean   map[string]snapshot // every node before the first up
	units   map[string]string   // containerd's unit on every node
	objects map[string]bool     // the cluster before the first up
	kubeadm string              // what kubeadm remembered of it, where a test looks at that

	up        bool // the stack stands, as far as the test knows
	failed    bool // the last up of needUp failed: the points that need it do not try again
	port      int
	password  string
	archive   string // nginx:v1 as an OCI archive
	temporary string // a folder that lives as long as the whole test
	checkout  string // a second checkout of the project, made when it is needed
}

func newSuite(t *testing.T, l *leaks) *suite {
	t.Helper()
	c := startLab(t)
	s := &suite{cluster: c, project: c.Project, port: firstPort, password: firstPassword, archive: c.NginxArchive, temporary: t.TempDir()}
	env := append(os.Environ(), c.Env()...)
	s.leaks = l
	// The test changes a copy of the stack's config: the lab's own stays as the lab wrote it.
	config := filepath.Join(s.temporary, "Pulumi.lab.yaml")
	written, err := os.ReadFile(filepath.Join(c.Project, "stacks", "Pulumi.lab.yaml"))
	check(t, err)
	check(t, os.WriteFile(config, written, 0o600))
	s.pulumi = &pulumiCLI{dir: c.Project, config: config, stack: stackName, env: env, leaks: s.leaks}
	s.kube = &kubectl{env: env}
	for i, n := range c.Nodes {
		if n.Name != "master1" {
			s.pulumi.set(t, fmt.Sprintf("berth:nodes[%d].containerdVersion", i), versions[n.Name], false)
		}
	}
	s.removeTraces(t)
	t.Cleanup(func() { s.removeTraces(t) })
	s.clean, s.units = s.snapshots(t), map[string]string{}
	for _, n := range c.Nodes {
		s.units[n.Name] = unit(t, n)
	}
	s.objects = s.kube.objects(t)
	return s
}

// startLab returns the lab that runs, or starts one.
func startLab(t *testing.T) *cluster.Cluster {
	t.Helper()
	dir := os.Getenv("BERTH_LAB")
	if dir == "" {
		dir = "../.state"
	}
	c, err := cluster.Load(dir)
	if err == nil {
		return c
	}
	t.Logf("starting the lab: %v", err)
	c, err = cluster.Up(t.Context(), cluster.Options{Dir: dir, Progress: os.Stderr})
	check(t, err)
	return c
}

// removeTraces brings lab and stack to where nobody used berth yet, whatever an earlier run left.
func (s *suite) removeTraces(t *testing.T) {
	t.Helper()
	s.kube.must(t, "", "delete", "pods", "--all-namespaces", "-l", "e2e", "--grace-period=0", "--force", "--ignore-not-found")
	if s.pulumi.resources(t) > 0 {
		s.pulumi.cancel(t)
		s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	}
	s.up = false
	for _, n := range s.cluster.Nodes {
		run(t, n, `sed -i '/# e2e$/d' /etc/hosts; rm -rf /var/tmp/e2e /home/docker-registry`)
		s.removeImages(t, n)
		if left := traces(t, n); left != "" {
			t.Fatalf("%s still has traces of berth; make it anew with lab down and lab up:\n%s", n.Name, left)
		}
	}
}

// needUp has the stack stand, with nginx:v1 in its registry.
func (s *suite) needUp(t *testing.T) {
	t.Helper()
	if s.up {
		return
	}
	if s.failed {
		t.Fatal("this needs the stack, and up failed before")
	}
	s.failed = true
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	s.push(t, s.archive, "nginx:v1")
	s.up, s.failed = true, false
}

// needDown has nothing of the stack left.
func (s *suite) needDown(t *testing.T) {
	t.Helper()
	if s.pulumi.resources(t) > 0 {
		s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	}
	s.up = false
}

func (s *suite) setPort(t *testing.T, port int) {
	t.Helper()
	s.pulumi.set(t, "berth:registry.nodePort", strconv.Itoa(port), false)
	s.port = port
}

func (s *suite) setPassword(t *testing.T, password string) {
	t.Helper()
	s.pulumi.set(t, "berth:registry.password", password, true)
	s.password = password
}

func (s *suite) node(t *testing.T, name string) *cluster.Node {
	t.Helper()
	for _, n := range s.cluster.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("the lab has no node %s", name)
	return nil
}

// run runs a shell text as root on a node.
func run(t *testing.T, n *cluster.Node, sh string) string {
	t.Helper()
	// Not cancelled with the test: what cleans up runs afterwards.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	out, err := n.Run(ctx, sh)
	if err != nil {
		t.Fatalf("on %s: %v\n%s", n.Name, err, out)
	}
	return strings.TrimSpace(out)
}

// fails runs a shell text that has to fail and returns what it said.
func fails(t *testing.T, n *cluster.Node, sh string) string {
	t.Helper()
	// Not cancelled with the test: what cleans up runs afterwards.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	out, err := n.Run(ctx, sh)
	if err == nil {
		t.Fatalf("on %s this had to fail: %s\n%s", n.Name, sh, out)
	}
	return out + err.Error()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contains fails the test for every word that text lacks.
func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, text)
		}
	}
}

// eventually repeats ask until it returns "" and fails with its last words at the limit.
func eventually(t *testing.T, limit time.Duration, ask func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		problem := ask()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, problem)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func lines(text string) []string {
	var all []string
	for line := range bytes.Lines([]byte(text)) {
		if l := strings.TrimSpace(string(line)); l != "" {
			all = append(all, l)
		}
	}
	return all
}
