package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/release"
)

const request = `{"version": "1.7.36", "arch": "amd64", "settings": {"GOPROXY": "https://proxy.example"}}`

// keepEnvironment puts back what settle sets.
func keepEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPATH", "GOTMPDIR", "XDG_CONFIG_HOME", "GOENV", "GOPROXY"} {
		t.Setenv(name, os.Getenv(name))
	}
}

// folderWith is a folder that has the artifact in its cache, so that nothing needs to be built, and the artifact's digest.
func folderWith(t *testing.T, artifact string) (string, string) {
	t.Helper()
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(artifact))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	_, err := build.Import(t.Context(), dir, io.Discard, release.BuildRequest{Version: "1.7.36", Arch: "amd64"}, "",
		func(w io.Writer) (string, error) {
			_, err := io.WriteString(w, artifact)
			return digest, err
		})
	require.NoError(t, err)
	return dir, digest
}

// holding is the request on a stdin that stays open.
func holding(t *testing.T) io.Reader {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	return io.MultiReader(strings.NewReader(request+"\n"), reader)
}

//nolint:paralleltest // sets the environment
func TestRun(t *testing.T) {
	keepEnvironment(t)
	dir, digest := folderWith(t, "the artifact")
	left := filepath.Join(dir, "tmp", "go-build123")
	require.NoError(t, os.MkdirAll(left, 0o700))
	for verb, want := range map[string]string{"build": digest + "\n", "send": "the artifact", "check": ""} {
		var stdout, stderr bytes.Buffer
		require.NoError(t, run(t.Context(), dir, verb, holding(t), &stdout, &stderr), stderr.String())
		assert.Equal(t, want, stdout.String())
	}
	assert.NoDirExists(t, left, "what a killed build left is gone")
	assert.Equal(t, "https://proxy.example", os.Getenv("GOPROXY"), "modules come from where the operator says")
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPATH", "GOTMPDIR", "XDG_CONFIG_HOME"} {
		assert.True(t, strings.HasPrefix(os.Getenv(name), dir+"/"), "%s lies in the folder", name)
	}
	require.ErrorContains(t, run(t.Context(), dir, "dance", holding(t), io.Discard, io.Discard), `unknown verb "dance"`)
}

func TestSettings(t *testing.T) {
	keepEnvironment(t)
	t.Setenv("XDG_CONFIG_HOME", "/home/ops/.config")
	t.Setenv("GOENV", "")
	require.NoError(t, settle(t.TempDir(), nil))
	assert.Equal(t, "/home/ops/.config/go/env", os.Getenv("GOENV"), "what the node's user set with go env -w counts")
	t.Setenv("GOENV", "/etc/goenv")
	require.NoError(t, settle(t.TempDir(), nil))
	assert.Equal(t, "/etc/goenv", os.Getenv("GOENV"))
}

// TestABuildEndsWithItsOperator: one that waits does not go on to build for somebody who is gone.
//
//nolint:paralleltest // sets the environment
func TestABuildEndsWithItsOperator(t *testing.T) {
	keepEnvironment(t)
	dir, _ := folderWith(t, "the artifact")
	unlock, err := build.Lock(t.Context(), filepath.Join(dir, "lock"), io.Discard, "")
	require.NoError(t, err)
	defer unlock()
	reader, writer := io.Pipe()
	stdin := io.MultiReader(strings.NewReader(request+"\n"), reader)
	var said bytes.Buffer
	log := io.MultiWriter(&said, closing{writer})
	require.ErrorIs(t, run(t.Context(), dir, "build", stdin, io.Discard, log), errHungUp)
	assert.Equal(t, "another build runs here; waiting for it\n", said.String())
}

// closing hangs up as soon as it is told something.
type closing struct{ io.Closer }

func (c closing) Write(p []byte) (int, error) { return len(p), c.Close() }
