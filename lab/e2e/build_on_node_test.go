package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/lab/cluster"
)

const (
	// nodeModules is where the nodes of this test find modules: they reach no module proxy.
	nodeModules = "/var/tmp/e2e/modules"
	// nodeBuilds is what builds keep on a node.
	nodeBuilds = "/root/.cache/berth-build/lab"
	builtLine  = "1.7.36"
)

// TestBuildOnNode has containerd built on worker1, for all, and then on each node, from an empty cache of the operator's machine, and
// compares it with what that machine builds.
func TestBuildOnNode(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	b := &builds{suite: newSuite(t, watchLeaks(t))}
	b.local = b.buildHere(t)
	b.set(t)
	t.Cleanup(func() {
		b.needDown(t)
		b.takeGo(t)
	})
	for _, part := range []struct {
		name  string
		check func(*testing.T)
	}{
		{"preview", b.preview},
		{"without-go", b.withoutGo},
		{"named-node", b.named},
		{"each", b.each},
		{"operator", b.operator},
		{"destroy", b.destroy},
	} {
		if !t.Run(part.name, part.check) {
			return
		}
	}
	for _, found := range b.leaks.found() {
		t.Error(found)
	}
}

type builds struct {
	*suite
	local string // the digest of what this machine builds
	cache string // the operator's cache, which knows nothing of it
}

// buildHere builds on this machine, with a cache of its own: the modules are here then, for the nodes to take.
func (b *builds) buildHere(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", "./components/containerd/cmd/build")
	cmd.Dir, cmd.Env = b.project, append(os.Environ(), "BERTH_CACHE="+t.TempDir())
	cmd.Stdin = strings.NewReader(`{"version": "` + builtLine + `", "arch": "amd64"}`)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building here: %v\n%s", err, said.String())
	}
	return strings.TrimSpace(string(out))
}

// set writes the stack: one line on all nodes.
func (b *builds) set(t *testing.T) {
	t.Helper()
	b.cache = filepath.Join(t.TempDir(), "cache")
	b.pulumi.env = slices.Concat(b.pulumi.env, []string{"BERTH_CACHE=" + b.cache, "GOPROXY=file://" + nodeModules, "GOSUMDB=off"})
	for _, node := range []string{"berth:nodes[1]", "berth:nodes[2]"} {
		b.pulumi.must(t, "config", "rm", "--path", node+".containerdVersion")
	}
	b.buildOn(t, "worker1")
}

func (b *builds) buildOn(t *testing.T, place string) {
	t.Helper()
	b.pulumi.set(t, "berth:containerd.buildOn", place, false)
}

// giveGo puts this machine's Go on a node, and the modules that it has.
func (b *builds) giveGo(t *testing.T, n *cluster.Node) {
	t.Helper()
	copied := func(from, to string) {
		target := filepath.Join(n.Root(), to)
		check(t, os.MkdirAll(filepath.Dir(target), 0o755))
		// Links where both are on one file system: nobody writes to either.
		out, err := exec.CommandContext(t.Context(), "sh", "-c",
			`rm -rf "$2"; cp -al "$1" "$2" 2>/dev/null || { rm -rf "$2"; cp -a "$1" "$2"; }`, "sh", from, target).CombinedOutput()
		if err != nil {
			t.Fatalf("copying %s to %s: %v\n%s", from, n.Name, err, out)
		}
	}
	copied(goEnv(t, "GOROOT"), "usr/local/go")
	copied(filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download"), strings.TrimPrefix(nodeModules, "/"))
}

func (b *builds) takeGo(t *testing.T) {
	t.Helper()
	for _, n := range b.cluster.Nodes {
		run(t, n, `rm -rf /usr/local/go /var/tmp/e2e`)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	check(t, err)
	return strings.TrimSpace(string(out))
}

// preview says where it is built, and dials no node for it.
func (b *builds) preview(t *testing.T) {
	contains(t, "the preview", b.pulumi.must(t, "preview", "--diff").text(),
		"prepare worker1 to build containerd", "build containerd "+builtLine+"+berth.1 linux/amd64 on worker1")
	b.sameFiles(t, b.clean)
}

// withoutGo: what the node lacks is said before anything is built, and nothing stays there.
func (b *builds) withoutGo(t *testing.T) {
	out := b.pulumi.mustFail(t, "up", "--yes", "--skip-preview").text()
	contains(t, "the output of up", out, "building on worker1: finding the go command on the machine that builds: install go1.", "in /usr/local/go")
	noTrace(t, out)
	if left := run(t, b.node(t, "worker1"), `ls -A /root/.cache 2>/dev/null || :`); left != "" {
		t.Errorf("left on worker1: %s", left)
	}
}

// named builds on worker1 alone, what this machine would have built, and every node runs it.
func (b *builds) named(t *testing.T) {
	b.giveGo(t, b.node(t, "worker1"))
	b.needUp(t)
	b.isBuilt(t, "worker1")
	for _, name := range []string{"master1", "worker2"} {
		run(t, b.node(t, name), `! test -e /root/.cache/berth-build`)
	}
	b.pulumi.must(t, "preview", "--expect-no-changes")
}

// isBuilt fails the test unless the cache has what a node made, and all nodes run it.
func (b *builds) isBuilt(t *testing.T, maker string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.cache, "containerd", "*.digest"))
	check(t, err)
	if len(files) != 1 {
		t.Fatalf("the operator's cache has %q", files)
	}
	if got := strings.TrimSpace(readFile(t, files[0])); got != b.local+" "+maker {
		t.Errorf("the operator's cache has %q, and this machine built %s", got, b.local)
	}
	for name, d := range b.containerds(t) {
		if d.exe != "/usr/local/bin/containerd-berth-"+builtLine+"+berth.1" {
			t.Errorf("%s runs %s", name, d.exe)
		}
		serves(t, b.node(t, name))
	}
}

// each has every node build, which changes nothing on any of them but what builds keep. What worker1 compiled the others need not
// compile again: they link.
func (b *builds) each(t *testing.T) {
	running := b.containerds(t)
	for _, name := range []string{"master1", "worker2"} {
		n := b.node(t, name)
		b.giveGo(t, n)
		check(t, os.MkdirAll(filepath.Join(n.Root(), nodeBuilds), 0o700))
		out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(b.node(t, "worker1").Root(), nodeBuilds, "go-build"),
			filepath.Join(n.Root(), nodeBuilds)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	b.buildOn(t, "each")
	b.touchesNoNode(t)
	b.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	b.isBuilt(t, "worker1")
	for _, n := range b.cluster.Nodes {
		contains(t, "what "+n.Name+" built", run(t, n, `cat `+nodeBuilds+`/containerd/*.digest`), b.local)
	}
	b.isRunning(t, running)
	b.pulumi.must(t, "preview", "--expect-no-changes")
}

// operator takes from the nodes what builds kept there, and nothing else.
func (b *builds) operator(t *testing.T) {
	running := b.containerds(t)
	b.buildOn(t, "operator")
	b.touchesNoNode(t)
	b.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	b.isRunning(t, running)
	for _, n := range b.cluster.Nodes {
		if left := run(t, n, `ls -A /root/.cache 2>/dev/null || :; find /root /tmp -name 'go*'`); left != "" {
			t.Errorf("left on %s: %s", n.Name, left)
		}
	}
	b.pulumi.must(t, "preview", "--expect-no-changes")
}

// touchesNoNode fails the test where the plan has more than builds and what is published.
func (b *builds) touchesNoNode(t *testing.T) {
	t.Helper()
	for _, change := range b.pulumi.plan(t).changes() {
		if !strings.Contains(change, "-on-") && !strings.HasSuffix(change, "::publication-push") {
			t.Errorf("planned: %s", change)
		}
	}
}

func (b *builds) isRunning(t *testing.T, before map[string]daemon) {
	t.Helper()
	for name, now := range b.containerds(t) {
		if now != before[name] {
			t.Errorf("containerd of %s was touched: %+v, now %+v", name, before[name], now)
		}
	}
}

// destroy leaves the nodes as they were, also where one of them builds.
func (b *builds) destroy(t *testing.T) {
	b.buildOn(t, "worker1")
	b.pulumi.must(t, "up", "--yes", "--skip-preview")
	// The input of the last run is what a deletion has, logins included.
	b.leaks.output("stack export", b.pulumi.export(t))
	b.needDown(t)
	b.takeGo(t)
	b.asBefore(t)
}
