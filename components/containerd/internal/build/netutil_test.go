package build

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/components/containerd/release"
)

// TestNetutilIsNoWayToAPort shows why no patch touches the table of ports in apimachinery's netutil ("https": "443"),
// which looks like the place for it. It is linked into containerd, but only the streaming of exec, attach and
// port-forward imports it: what talks to registries does not have it among its dependencies, so no pull can notice a
// change of it.
func TestNetutilIsNoWayToAPort(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("downloads containerd")
	}
	const (
		version = "1.7.36"
		netutil = "k8s.io/apimachinery/third_party/forked/golang/netutil"
		spdy    = "k8s.io/apimachinery/pkg/util/httpstream/spdy"
	)
	line, err := release.LineOf(version)
	if err != nil {
		t.Fatal(err)
	}
	tool, dir := newTool(t), filepath.Join(t.TempDir(), "source")
	if err := Source(t.Context(), tool, line, version, dir); err != nil {
		t.Fatal(err)
	}
	output, err := tool.Run(t.Context(), dir, "amd64", "list", "-mod=readonly", "-tags", tags, "-deps",
		"-f", `{{.ImportPath}} {{join .Imports " "}}`, "./cmd/containerd", "./cmd/ctr")
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for text := range strings.Lines(string(output)) {
		fields := strings.Fields(text)
		imports[fields[0]] = fields[1:]
	}

	// The patch would be compiled in, so that "it is not even built" is not the reason.
	if !dependencies(imports, line.Module+"/cmd/containerd")[netutil] {
		t.Error("containerd does not depend on netutil at all")
	}
	var importers []string
	for name, imported := range imports {
		if slices.Contains(imported, netutil) {
			importers = append(importers, name)
		}
	}
	if !slices.Equal(importers, []string{spdy}) {
		t.Errorf("netutil is imported by %q, want %s alone", importers, spdy)
	}
	for _, name := range []string{
		"remotes/docker", "remotes/docker/config", "pkg/transfer/registry", "pkg/transfer/local", "pkg/portmap", "cmd/ctr/commands/images",
	} {
		if imports[line.Module+"/"+name] == nil {
			t.Errorf("%s is no part of containerd or ctr", name)
		}
		if dependencies(imports, line.Module+"/"+name)[netutil] {
			t.Errorf("%s depends on netutil", name)
		}
	}
	// The CRI plugins pull and stream in one package: without the streaming they do not have it either.
	streaming := []string{line.Module + "/pkg/cri/streaming", "k8s.io/client-go/tools/remotecommand"}
	for _, name := range []string{"pkg/cri/server", "pkg/cri/sbserver"} {
		if !dependencies(imports, line.Module+"/"+name)[netutil] {
			t.Errorf("%s does not depend on netutil", name)
		}
		if dependencies(imports, line.Module+"/"+name, streaming...)[netutil] {
			t.Errorf("%s depends on netutil for something other than streaming", name)
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name), "image_pull.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range streaming {
			if strings.Contains(string(text), imported) {
				t.Errorf("%s/image_pull.go imports %s", name, imported)
			}
		}
	}
}

// dependencies are the packages to which a package leads, itself included, by ways that do not go through those in without.
func dependencies(imports map[string][]string, from string, without ...string) map[string]bool {
	seen, queue := map[string]bool{}, []string{from}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if !seen[name] && !slices.Contains(without, name) {
			seen[name] = true
			queue = append(queue, imports[name]...)
		}
	}
	return seen
}
