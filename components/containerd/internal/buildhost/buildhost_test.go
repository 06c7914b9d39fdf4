package buildhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/containerd/release"
	"berth/internal/sshtest"
)

// shells are what /bin/sh is on nodes.
var shells = map[string][]string{"dash": {"dash"}, "busybox": {"busybox", "sh"}}

// fakeNode is a node whose folder is in a home of its own. What its program builds is the file artifact beside it.
type fakeNode struct {
	*sshtest.Server
	host   release.Host
	home   string
	folder string
	// cut lets that many bytes of stdin arrive, where it is not 0.
	cut int64
	// ended gets what each command was that ran to its end.
	ended chan string
}

func newNode(t *testing.T, name string, shell []string) *fakeNode {
	t.Helper()
	n := &fakeNode{home: t.TempDir(), ended: make(chan string, 100)}
	n.folder = filepath.Join(n.home, folder, "prod")
	n.Server = sshtest.New(t, func(command string, session io.ReadWriter, stderr io.Writer) uint32 {
		defer func() { n.ended <- command }()
		text, ok := strings.CutPrefix(command, "/bin/sh -c '")
		if !ok || strings.Count(text, "'") != 1 {
			t.Errorf("not a command for any login shell: %s", command)
		}
		cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], "-c", strings.TrimSuffix(text, "'"))...)
		cmd.Env = []string{"HOME=" + n.home, "PATH=" + os.Getenv("PATH")}
		cmd.Stdout, cmd.Stderr = session, stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Error(err)
			return 1
		}
		go func() {
			in := io.Reader(session)
			if n.cut > 0 {
				in = io.LimitReader(session, n.cut)
			}
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
		if err := cmd.Run(); err != nil {
			return uint32(cmd.ProcessState.ExitCode())
		}
		return 0
	})
	n.host = release.Host{Name: name, Arch: "amd64", SSH: n.Target(), Stack: "prod"}
	return n
}

// program stands for the carried one.
const program = `#!/bin/sh
cd "$(dirname "$0")" || exit
read -r request
echo "$1 $request" >>requests
echo "at work" >&2
case $1 in
check) [ ! -e ../refuses ] || { printf "error: no Go here:\n  install it\n" >&2; exit 1; } ;;
build) if [ -e ../hangs ]; then cat >/dev/null; : >../hung-up; exit 1; fi; echo "sha256:$(sha256sum <artifact | cut -d " " -f 1)" ;;
send) if [ -e ../damages ]; then echo damaged; else cat artifact; fi ;;
esac
`

func carry() carrier {
	return carrier{func(context.Context, string, io.Writer, string) ([]byte, error) { return []byte(program), nil }}
}

// has puts a file into the node's folder, or beside it.
func (n *fakeNode) has(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(n.folder, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

// asked are the verbs that the node's program was run with.
func (n *fakeNode) asked(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.folder, "requests"))
	require.NoError(t, err)
	var verbs []string
	for line := range strings.Lines(string(text)) {
		verb, request, _ := strings.Cut(line, " ")
		var got release.HostRequest
		require.NoError(t, json.Unmarshal([]byte(request), &got))
		if verb != "check" {
			assert.Equal(t, "1.7.36 amd64", got.Version+" "+got.Arch)
		}
		verbs = append(verbs, verb)
	}
	return strings.Join(verbs, " ")
}

func (n *fakeNode) request() release.BuildRequest {
	return release.BuildRequest{Version: "1.7.36", Arch: "amd64", On: &n.host}
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestANodeBuilds(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, c, cache := newNode(t, "worker1", shell), carry(), t.TempDir()
			n.has(t, "artifact", "the artifact")
			var log bytes.Buffer
			got, err := c.artifact(t.Context(), cache, &log, n.request())
			require.NoError(t, err)
			assert.Equal(t, digestOf("the artifact"), got.Digest)
			assert.Equal(t, "worker1", got.Maker)
			text, err := os.ReadFile(got.Path)
			require.NoError(t, err)
			assert.Equal(t, "the artifact", string(text))
			assert.Equal(t, "build send", n.asked(t))
			assert.Contains(t, log.String(), "bringing the build program to worker1")
			assert.Contains(t, log.String(), "at work\n", "what the node says is seen while it builds")

			again, err := c.artifact(t.Context(), cache, io.Discard, n.request())
			require.NoError(t, err)
			assert.Equal(t, got, again)
			assert.Equal(t, 1, n.Logins(), "what is in the cache needs no node")

			log.Reset()
			_, err = c.artifact(t.Context(), t.TempDir(), &log, n.request())
			require.NoError(t, err)
			assert.NotContains(t, log.String(), "bringing", "the program is there already")
		})
	}
}

func TestEachNodeBuilds(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	for i, name := range []string{"worker1", "worker2", "worker3"} {
		n := newNode(t, name, shells["dash"])
		n.host.Own = true
		n.has(t, "artifact", "the artifact")
		want := []string{"build send", "build", "build"}[i]
		if name == "worker3" {
			n.has(t, "artifact", "another")
		}
		got, err := carry().artifact(t.Context(), cache, io.Discard, n.request())
		assert.Equal(t, want, n.asked(t), "%s builds in any case, and sends what nobody sent", name)
		if name != "worker3" {
			require.NoError(t, err)
			assert.Equal(t, digestOf("the artifact"), got.Digest)
			continue
		}
		require.ErrorContains(t, err, "worker3 built containerd 1.7.36+berth.1 for amd64 as "+digestOf("another")+
			", and worker1 built it as "+digestOf("the artifact"))
	}
}

func TestWhatIsSentIsChecked(t *testing.T) {
	t.Parallel()
	n, cache := newNode(t, "worker1", shells["dash"]), t.TempDir()
	n.has(t, "artifact", "the artifact")
	n.has(t, "../damages", "")
	_, err := carry().artifact(t.Context(), cache, io.Discard, n.request())
	require.ErrorContains(t, err, "what came from worker1 has the digest "+digestOf("damaged\n")+" instead of "+digestOf("the artifact"))
	require.NoError(t, os.Remove(filepath.Join(n.home, folder, "damages")))
	got, err := carry().artifact(t.Context(), cache, io.Discard, n.request())
	require.NoError(t, err, "the next run")
	assert.Equal(t, digestOf("the artifact"), got.Digest)
}

func TestAConnectionCutInTheUpload(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "worker1", shell)
			n.has(t, "artifact", "the artifact")
			n.cut = 20
			_, err := carry().artifact(t.Context(), t.TempDir(), io.Discard, n.request())
			require.ErrorContains(t, err, "bringing the build program to ~/.cache/berth-build on worker1: ")
			require.ErrorContains(t, err, "it did not arrive whole")
			left, err := filepath.Glob(filepath.Join(n.folder, "nodebuild*"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestABuildEndsWithItsOperator(t *testing.T) {
	t.Parallel()
	n := newNode(t, "worker1", shells["dash"])
	n.has(t, "../hangs", "")
	ctx, cancel := context.WithCancel(t.Context())
	log := &noticing{text: "at work", do: cancel}
	_, err := carry().artifact(ctx, t.TempDir(), log, n.request())
	require.ErrorIs(t, err, context.Canceled)
	for command := range n.ended {
		if strings.HasSuffix(command, "build'") {
			break
		}
	}
	assert.FileExists(t, filepath.Join(n.home, folder, "hung-up"), "the program's stdin ends")
}

// noticing does something when a text comes.
type noticing struct {
	text string
	do   func()
}

func (n *noticing) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(n.text)) {
		n.do()
	}
	return len(p), nil
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "worker1", shell)
			require.NoError(t, carry().prepare(t.Context(), "", io.Discard, n.host))
			assert.Equal(t, "check", n.asked(t))

			n.has(t, "../refuses", "")
			err := carry().prepare(t.Context(), "", io.Discard, n.host)
			require.EqualError(t, err, "building on worker1: no Go here:\n  install it")
			assert.NoDirExists(t, n.folder, "a node that cannot build keeps nothing")
		})
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "worker1", shell)
			n.has(t, "mod/example.com@v1/file", "as go leaves it")
			require.NoError(t, os.Chmod(filepath.Join(n.folder, "mod/example.com@v1"), 0o500))
			require.NoError(t, Remove(t.Context(), io.Discard, n.host))
			entries, err := os.ReadDir(n.home)
			require.NoError(t, err)
			assert.Empty(t, entries, "the folders above go, too, where nothing else is in them")
			require.NoError(t, Remove(t.Context(), io.Discard, n.host), "a second time")

			n.has(t, "../dev/file", "another stack's")
			n.has(t, "file", "ours")
			require.NoError(t, Remove(t.Context(), io.Discard, n.host))
			assert.NoDirExists(t, n.folder)
			assert.FileExists(t, filepath.Join(n.home, folder, "dev/file"))
		})
	}
}

// TestRemoveFromADeadNode: a destroy of the rest is not held up by a cache on a machine that is gone.
func TestRemoveFromADeadNode(t *testing.T) {
	t.Parallel()
	n := newNode(t, "worker1", shells["dash"])
	n.host.SSH.Port = 1
	var log bytes.Buffer
	require.NoError(t, Remove(t.Context(), &log, n.host))
	assert.Contains(t, log.String(), "what builds left in ~/.cache/berth-build on worker1 stays there: connecting to 127.0.0.1:1 by SSH: ")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*testing.T, *fakeNode)
		want   string
	}{
		"dead": {func(_ *testing.T, n *fakeNode) { n.host.SSH.Port = 1 }, "by SSH: "},
		"wrong host key": {func(t *testing.T, n *fakeNode) {
			t.Helper()
			n.host.SSH.HostKey = sshtest.PublicLine(t, sshtest.NewKey(t))
		}, "host key mismatch"},
		"no folder": {func(_ *testing.T, n *fakeNode) { n.host.Stack = "../prod" }, `"../prod" cannot be that of a folder`},
		"a quote":   {func(_ *testing.T, n *fakeNode) { n.host.Stack = "a'b" }, `"a'b" cannot be that of a folder`},
		"a file in the way": {func(t *testing.T, n *fakeNode) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(n.home, ".cache"), nil, 0o600))
		}, "bringing the build program to ~/.cache/berth-build on worker1: running a command by SSH: Process exited with status "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "worker1", shells["dash"])
			test.change(t, n)
			_, err := carry().artifact(t.Context(), t.TempDir(), io.Discard, n.request())
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "PRIVATE KEY")
		})
	}
}

func TestShellLines(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"have": have, "put": fmt.Sprintf(put, "0"), "start": fmt.Sprintf(start, "build"), "remove": remove} {
		cmd := exec.CommandContext(t.Context(), "shellcheck", "-s", "sh", "-")
		cmd.Stdin = strings.NewReader("d=$HOME\n" + text + "\n")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// TestCompile makes the real program and has it say what it wants.
func TestCompile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles")
	}
	cache := t.TempDir()
	one, err := compile(t.Context(), cache, io.Discard, "amd64")
	require.NoError(t, err)
	other, err := compile(t.Context(), t.TempDir(), io.Discard, "amd64")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(one, other), "the same program, which a node has already")
	cmd := exec.CommandContext(t.Context(), filepath.Join(cache, "nodebuild", "amd64"), "build")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "error: reading the request: EOF\n", string(out))
	_, err = compile(t.Context(), cache, io.Discard, "386")
	require.ErrorContains(t, err, `"386" is not supported`)
}
