package build

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"berth/components/containerd/release"
)

const (
	content       = "content"
	contentDigest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
)

func TestImport(t *testing.T) {
	t.Parallel()
	dir, request := t.TempDir(), release.BuildRequest{Version: "1.7.36", Arch: "arm64"}
	fetches := 0
	bring := func(text, digest string, err error) func(io.Writer) (string, error) {
		return func(w io.Writer) (string, error) {
			fetches++
			_, _ = io.WriteString(w, text)
			return digest, err
		}
	}
	cut := errors.New("cut")
	if _, err := Import(t.Context(), dir, io.Discard, request, "worker1", bring("con", "", cut)); !errors.Is(err, cut) ||
		!strings.HasPrefix(err.Error(), "building containerd 1.7.36+berth.1 for arm64: ") {
		t.Errorf("a cut connection: %v", err)
	}
	_, err := Import(t.Context(), dir, io.Discard, request, "worker1", bring("con", contentDigest, nil))
	if err == nil || !strings.Contains(err.Error(), "what came from worker1 has the digest sha256:") ||
		!strings.HasSuffix(err.Error(), "instead of "+contentDigest+", which it has there") {
		t.Errorf("half of it: %v", err)
	}
	got, err := Import(t.Context(), dir, io.Discard, request, "worker1", bring(content, contentDigest, nil))
	if err != nil || got.Digest != contentDigest || got.Maker != "worker1" {
		t.Fatalf("Import = %+v, %v", got, err)
	}
	if text, err := os.ReadFile(got.Path); err != nil || string(text) != content {
		t.Errorf("kept: %q, %v", text, err)
	}
	// What is there is not fetched again, and taken for an artifact of this machine's by whoever asks for one.
	again, err := Import(t.Context(), dir, io.Discard, request, "worker2", bring("other", "", nil))
	if err != nil || again != got || fetches != 3 {
		t.Errorf("Import = %+v, %v after %d fetches", again, err, fetches)
	}
	if local, err := Artifact(t.Context(), dir, io.Discard, request); err != nil || local != got {
		t.Errorf("Artifact = %+v, %v", local, err)
	}
	if _, err := Import(t.Context(), dir, io.Discard, release.BuildRequest{Version: "1.0", Arch: "386"}, "worker1", nil); err == nil {
		t.Error("an unknown version is no error")
	}
}
