package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/lab/image"
)

func sample(t *testing.T) image.Image {
	t.Helper()
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("#!"), 0o600); err != nil {
		t.Fatal(err)
	}
	return image.Image{
		Names:        []string{"registry.k8s.io/a:v1", "registry.k8s.io/b:v2"},
		Architecture: "amd64",
		Files: []image.File{
			{Path: "/usr/local/bin/program", Source: source},
			{Path: "/bin/sh", Link: "/usr/local/bin/program"},
			{Path: "/etc/config.yml", Content: "a: 1\n", Mode: 0o600},
			{Path: "/tmp/", Mode: 0o1777},
		},
		Config: v1.ImageConfig{Cmd: []string{"program"}},
	}
}

func TestWriteIsAValidLayout(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := image.Write(name, sample(t)); err != nil {
		t.Fatal(err)
	}
	entries := readTar(t, mustRead(t, name))

	var index v1.Index
	unmarshal(t, entries["index.json"], &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("index has %d manifests, want one for each name", len(index.Manifests))
	}
	for i, want := range []string{"registry.k8s.io/a:v1", "registry.k8s.io/b:v2"} {
		if got := index.Manifests[i].Annotations["io.containerd.image.name"]; got != want {
			t.Errorf("manifest %d is named %q, want %q", i, got, want)
		}
	}
	if got := index.Manifests[1].Annotations[v1.AnnotationRefName]; got != "v2" {
		t.Errorf("reference name is %q, want v2", got)
	}

	var manifest v1.Manifest
	unmarshal(t, blob(t, entries, index.Manifests[0]), &manifest)
	var config v1.Image
	unmarshal(t, blob(t, entries, manifest.Config), &config)
	if config.OS != "linux" || config.Architecture != "amd64" || !slices.Equal(config.Config.Cmd, []string{"program"}) {
		t.Errorf("config is %+v", config)
	}
	zr, err := gzip.NewReader(bytes.NewReader(blob(t, entries, manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(layer); got != config.RootFS.DiffIDs[0] {
		t.Errorf("layer has diff id %s, config says %s", got, config.RootFS.DiffIDs[0])
	}
}

func TestWriteAddsFoldersBeforeFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := image.Write(name, sample(t)); err != nil {
		t.Fatal(err)
	}
	entries := readTar(t, mustRead(t, name))
	var index v1.Index
	unmarshal(t, entries["index.json"], &index)
	var manifest v1.Manifest
	unmarshal(t, blob(t, entries, index.Manifests[0]), &manifest)
	zr, err := gzip.NewReader(bytes.NewReader(blob(t, entries, manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		name string
		mode int64
		kind byte
	}
	var got []entry
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Mode, h.Typeflag})
	}
	want := []entry{
		{"bin/", 0o755, tar.TypeDir},
		{"bin/sh", 0o777, tar.TypeSymlink},
		{"etc/", 0o755, tar.TypeDir},
		{"etc/config.yml", 0o600, tar.TypeReg},
		{"tmp/", 0o1777, tar.TypeDir},
		{"usr/", 0o755, tar.TypeDir},
		{"usr/local/", 0o755, tar.TypeDir},
		{"usr/local/bin/", 0o755, tar.TypeDir},
		{"usr/local/bin/program", 0o755, tar.TypeReg},
	}
	if !slices.Equal(got, want) {
		t.Errorf("layer holds\n%v, want\n%v", got, want)
	}
}

func TestWriteIsReproducible(t *testing.T) {
	t.Parallel()
	dir, img := t.TempDir(), sample(t)
	for _, name := range []string{"a.tar", "b.tar"} {
		if err := image.Write(filepath.Join(dir, name), img); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(mustRead(t, filepath.Join(dir, "a.tar")), mustRead(t, filepath.Join(dir, "b.tar"))) {
		t.Error("the same image written twice differs")
	}
}

func TestWriteLeavesNothingWhenAFileIsMissing(t *testing.T) {
	t.Parallel()
	dir, img := t.TempDir(), sample(t)
	img.Files = append(img.Files, image.File{Path: "/x", Source: filepath.Join(dir, "missing")})
	if err := image.Write(filepath.Join(dir, "image.tar"), img); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want one that says the file does not exist", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func blob(t *testing.T, entries map[string][]byte, d v1.Descriptor) []byte {
	t.Helper()
	data, ok := entries["blobs/sha256/"+d.Digest.Encoded()]
	if !ok {
		t.Fatalf("no blob %s", d.Digest)
	}
	if digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
		t.Errorf("blob %s is not what its descriptor says", d.Digest)
	}
	return data
}

func readTar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	entries := map[string][]byte{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unmarshal(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
