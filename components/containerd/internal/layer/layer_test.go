package layer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"berth/components/containerd/internal/layer"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, bytes.Repeat([]byte("program "), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []layer.File{
		{Name: "bin/containerd", Mode: 0o755, Path: path},
		{Name: "bin/ctr", Mode: 0o555, Content: []byte("ctr")},
		{Name: "rollout", Mode: 0o444, Content: []byte("1\n")},
	}
	var first, second bytes.Buffer
	result, err := layer.Write(&first, files)
	if err != nil {
		t.Fatal(err)
	}
	// Neither the time nor the mode nor the owner of the file on disk may show.
	if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Write(&second, files); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same files differ")
	}
	// Change it only along with what changes the bytes, such as a new release of the compressor.
	if want := "sha256:8822de22eb1f4f18b8f6bd3a1e3b37e5d192c124445de492ec37265b35e990bd"; result.Digest != want {
		t.Errorf("digest = %s, want %s", result.Digest, want)
	}
	if got := sum(first.Bytes()); got != result.Digest || result.Size != int64(first.Len()) {
		t.Errorf("result says %s, %d; written: %s, %d", result.Digest, result.Size, got, first.Len())
	}

	plain, err := gzip.NewReader(&first)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	if got := sum(text); got != result.DiffID {
		t.Errorf("diff id = %s, the tar's is %s", result.DiffID, got)
	}
	var names []string
	archive := tar.NewReader(bytes.NewReader(text))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.ModTime.Unix() != 0 {
			t.Errorf("%s carries an owner or a time: %+v", header.Name, header)
		}
	}
	if want := []string{"bin/", "bin/containerd", "bin/ctr", "rollout"}; len(names) != len(want) || names[0] != want[0] || names[3] != want[3] {
		t.Errorf("names = %q, want %q", names, want)
	}
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(digest[:])
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	if _, err := layer.Write(io.Discard, []layer.File{{Name: "x", Path: "/does/not/exist"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}
