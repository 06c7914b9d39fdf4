package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/lab/cluster"
)

// upstreams are the nodes that run containerd as upstream has it in the place of their package's, and which. No Debian that the lab has
// packages a 2.x: with worker1 and worker2, which keep the 1.6 and 1.7 of theirs, the cluster has three lines also where nothing is patched.
var upstreams = map[string]string{"master1": "2.2.9"}

// patchedLines are what such a cluster is patched to: no node to an earlier line than it has.
var patchedLines = map[string]string{"master1": "2.2.9", "worker1": "1.6.38", "worker2": "1.7.36"}

// upstreamDir is where it lies on the node.
const upstreamDir = "/var/lib/e2e-upstream"

// upstreamPrograms are what the package brings besides the shim, which the lines share.
var upstreamPrograms = []string{"containerd", "ctr"}

// packageUpstreams has nodes run upstream's containerd from the paths of their packages until the test ends. The packages' own files stay
// as they are below.
func packageUpstreams(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		if version := upstreams[n.Name]; version != "" {
			packageUpstream(t, n, version, buildUpstream(t, c, version))
		}
	}
}

// packageUpstream takes the programs from the folder dir.
func packageUpstream(t *testing.T, n *cluster.Node, version, dir string) {
	t.Helper()
	check(t, os.MkdirAll(n.Root()+upstreamDir, 0o755))
	for _, program := range upstreamPrograms {
		check(t, exec.CommandContext(t.Context(), "cp", "--reflink=auto", filepath.Join(dir, program), n.Root()+upstreamDir).Run())
	}
	const restart = `systemctl restart containerd && timeout 30 sh -c 'until crictl info >/dev/null 2>&1; do sleep 0.2; done'`
	t.Cleanup(func() {
		run(t, n, "systemctl stop containerd && umount /usr/bin/containerd /usr/bin/ctr && rm -r "+upstreamDir+" && "+restart)
	})
	run(t, n, "for p in containerd ctr; do mount --bind "+upstreamDir+"/$p /usr/bin/$p; done; "+restart)
	if got := run(t, n, stockContainerd+" --version | cut -d' ' -f3"); strings.TrimPrefix(got, "v") != version {
		t.Fatalf("%s has containerd %s in the place of its package's", n.Name, got)
	}
}

// buildUpstream returns a folder of the lab's cache with the programs, built before or now: from the module that berth builds from and with
// the same settings, without a patch.
func buildUpstream(t *testing.T, c *cluster.Cluster, version string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(c.BinDir), "upstream", version)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	name := "github.com/containerd/containerd"
	if !strings.HasPrefix(version, "1.") {
		name += "/v2"
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Stderr = t.TempDir(), os.Stderr
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOAMD64=v1")
		return cmd
	}
	out, err := command("mod", "download", "-json", name+"@v"+version).Output()
	check(t, err)
	var module struct{ Dir string }
	check(t, json.Unmarshal(out, &module))
	check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	work, err := os.MkdirTemp(filepath.Dir(dir), "work") //nolint:usetesting // it is renamed, and so on the cache's filesystem
	check(t, err)
	defer func() { _ = os.RemoveAll(work) }()
	args := []string{
		"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", "urfave_cli_no_docs osusergo netgo static_build",
		"-ldflags", "-s -w -X " + name + "/version.Version=" + version, "-o", work + string(filepath.Separator),
	}
	for _, program := range upstreamPrograms {
		args = append(args, "./cmd/"+program)
	}
	build := command(args...)
	build.Dir = module.Dir
	check(t, build.Run())
	check(t, os.Chmod(work, 0o755))
	// Half of it must not pass for all.
	check(t, os.Rename(work, dir))
	return dir
}
