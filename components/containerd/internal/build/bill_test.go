package build

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"berth/components/containerd/internal/layer"
	"berth/components/containerd/release"
)

// The program in the artifact is one of this module: what it is linked from is known.
func TestBill(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "publish")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/publish").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	artifact := pack(t, layer.File{Name: "bin/containerd", Mode: 0o755, Path: program})
	request := release.BuildRequest{Version: "1.7.36", Arch: "amd64"}
	text, err := Bill(request, artifact)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Bill(request, artifact); err != nil || !bytes.Equal(text, again) {
		t.Errorf("a second bill differs: %v", err)
	}
	var document cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&document); err != nil {
		t.Fatal(err)
	}
	subject := document.Metadata.Component
	if subject.Version != "1.7.36+berth.1" || (*subject.Pedigree.Ancestors)[0].PackageURL != "pkg:golang/github.com/containerd/containerd@v1.7.36" {
		t.Errorf("subject = %+v", subject)
	}
	line, err := release.LineOf("1.7.36")
	if err != nil {
		t.Fatal(err)
	}
	list, err := line.Patches()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range list {
		if got := (*subject.Pedigree.Patches)[i].Diff.Text.Content; got != string(p.Content) {
			t.Errorf("patch %s is not there as it is", p.Name)
		}
	}
	found := map[string]string{}
	for _, component := range *document.Components {
		found[component.Name] = component.PackageURL
	}
	for name, url := range map[string]string{
		"oras.land/oras-go/v2": "pkg:golang/oras.land/oras-go/v2@v2.",
		"stdlib":               "pkg:golang/stdlib@1.",
	} {
		if !strings.HasPrefix(found[name], url) {
			t.Errorf("%s is listed as %q", name, found[name])
		}
	}
}

func TestBillFails(t *testing.T) {
	t.Parallel()
	_, err := Bill(release.BuildRequest{Version: "1.7.36", Arch: "amd64"}, pack(t, layer.File{Name: "bin/ctr", Content: []byte("#!/bin/sh\n")}))
	if err == nil || !strings.Contains(err.Error(), "reading bin/ctr") {
		t.Errorf("a program that is not Go's: %v", err)
	}
}

func pack(t *testing.T, files ...layer.File) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "artifact.tar.gz")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := layer.Write(file, files); err != nil {
		t.Fatal(err)
	}
	return path
}
