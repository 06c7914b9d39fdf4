package build

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/components/containerd/release"
)

// TestSourceFromAFolder does what a site without internet does: the module comes from a copy of a module cache's downloads, and
// nobody is asked for checksums, since berth pins containerd's, and containerd's go.sum pins the rest.
func TestSourceFromAFolder(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads containerd")
	}
	line, err := release.LineOf("1.7.36")
	if err != nil {
		t.Fatal(err)
	}
	connected := t.TempDir()
	t.Setenv("GOMODCACHE", connected)
	if _, err := download(t.Context(), newTool(t), line, "1.7.36", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	site := t.TempDir()
	t.Cleanup(func() {
		// The go command leaves its cache read-only.
		ctx := context.WithoutCancel(t.Context())
		if output, err := exec.CommandContext(ctx, "chmod", "-R", "u+w", connected, site).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	t.Setenv("GOMODCACHE", site)
	t.Setenv("GOPROXY", "file://"+filepath.Join(connected, "cache", "download"))
	t.Setenv("GOSUMDB", "off")
	if err := Source(t.Context(), newTool(t), line, "1.7.36", filepath.Join(t.TempDir(), "source")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "file://"+t.TempDir())
	other, err := release.LineOf("1.6.38")
	if err != nil {
		t.Fatal(err)
	}
	err = Source(t.Context(), newTool(t), other, "1.6.38", filepath.Join(t.TempDir(), "source"))
	if err == nil || !strings.Contains(err.Error(), "set GOPROXY to a module proxy that serves github.com/containerd/containerd@v1.6.38") {
		t.Errorf("a folder without the module: %v", err)
	}
}
