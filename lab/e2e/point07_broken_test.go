package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/lab/cluster"
)

// lastWords is what the broken containerd says before it ends.
const lastWords = "containerd: this build cannot start: e2e broke it"

// brokenContainerd: an artifact whose containerd ends at once goes through the whole of up, from the operator's cache through the
// registry to a node of the first wave. There it fails, the node goes back, and no other node is touched.
func (s *suite) brokenContainerd(t *testing.T) {
	s.needUp(t)
	before := s.containerds(t)
	other := s.unusedVersion(t)

	broken := *s.pulumi
	broken.env = slices.Concat(broken.env, []string{"BERTH_CACHE=" + s.brokenCache(t, other)})
	key := fmt.Sprintf("berth:nodes[%d].containerdVersion", slices.IndexFunc(s.cluster.Nodes, func(n *cluster.Node) bool { return n.Name == "worker1" }))
	s.pulumi.set(t, key, other, false)
	r := broken.mustFail(t, "up", "--yes", "--skip-preview")
	contains(t, "the output of up", r.text(), lastWords, "berth.", before["worker1"].exe+" runs again")
	noTrace(t, r.text())

	var restarted []string
	for _, n := range s.cluster.Nodes {
		now := containerdOf(t, n)
		if now.exe != before[n.Name].exe {
			t.Errorf("%s ran %s and runs %s", n.Name, before[n.Name].exe, now.exe)
		}
		if now.pid != before[n.Name].pid {
			restarted = append(restarted, n.Name)
		}
		serves(t, n)
	}
	// The node goes back by itself, and nothing happens to the others.
	if !slices.Equal(restarted, []string{"worker1"}) {
		t.Errorf("containerd was restarted on %v, want worker1 alone", restarted)
	}
	contains(t, "the output of up", r.text(), "node-worker1-containerd")
	s.pulledOnEveryNode(t)

	s.pulumi.set(t, key, versions["worker1"], false)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	for _, n := range s.cluster.Nodes {
		if now := containerdOf(t, n); now.exe != before[n.Name].exe {
			t.Errorf("after a good up %s runs %s, want %s", n.Name, now.exe, before[n.Name].exe)
		}
	}
	s.pulledOnEveryNode(t)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// unusedVersion is a supported release of the latest line that no node runs: nodes refuse an earlier line than theirs.
func (s *suite) unusedVersion(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.project, "components/containerd/patches/*/line.json"))
	check(t, err)
	slices.Reverse(files)
	for _, file := range files {
		var line struct {
			Versions map[string]string `json:"versions"`
		}
		check(t, json.Unmarshal([]byte(readFile(t, file)), &line))
		for version := range line.Versions {
			if !slices.Contains(slices.Collect(maps.Values(versions)), version) {
				return version
			}
		}
	}
	t.Fatalf("no release beside %v in %q", versions, files)
	return ""
}

// brokenCache is an operator's cache that holds a broken build of a release, as if it had been built there.
func (s *suite) brokenCache(t *testing.T, version string) string {
	t.Helper()
	cache := t.TempDir()
	// The name of the entry has all in it that decides what is built. A build that is stopped as soon as it has said so tells it.
	request, err := json.Marshal(map[string]string{"version": version, "arch": "amd64"})
	check(t, err)
	cmd := exec.Command("go", "run", "./components/containerd/cmd/build")
	cmd.Dir, cmd.Stdin = s.project, bytes.NewReader(request)
	cmd.Env = slices.Concat(s.pulumi.env, []string{"BERTH_CACHE=" + cache})
	var output lockedBuffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(t, cmd.Start())
	var locks []string
	eventually(t, 3*time.Minute, func() string {
		locks, _ = filepath.Glob(filepath.Join(cache, "containerd", "*.lock"))
		if len(locks) != 1 {
			return "no build begins: " + output.String()
		}
		return ""
	})
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()

	program := filepath.Join(t.TempDir(), "broken")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program,
		"-ldflags", fmt.Sprintf("-X 'main.version=%s+berth.1' -X 'main.lastWords=%s'", version, lastWords), "./testdata/broken")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	binary := readFile(t, program)
	layer := tarGz(t, map[string]string{"bin/containerd": binary, "bin/ctr": binary})
	sum := sha256.Sum256(layer)
	entry := strings.TrimSuffix(locks[0], ".lock")
	check(t, os.RemoveAll(entry+".work"))
	check(t, os.WriteFile(entry, layer, 0o644))
	check(t, os.WriteFile(entry+".digest", []byte("sha256:"+hex.EncodeToString(sum[:])+"\n"), 0o644))
	return cache
}

func tarGz(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	for name, content := range files {
		check(t, tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, err := tw.Write([]byte(content))
		check(t, err)
	}
	check(t, tw.Close())
	check(t, zw.Close())
	return packed.Bytes()
}

// noTrace fails the test where a user would be shown a Go trace.
func noTrace(t *testing.T, text string) {
	t.Helper()
	for _, word := range []string{"goroutine ", "panic:", "runtime error", ".go:"} {
		if strings.Contains(text, word) {
			t.Errorf("a Go trace (%q) in the output:\n%s", word, text)
		}
	}
}
