package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModulesAreUpstreams compares the modules of which containerd and ctr are built with those that containerd's own
// releases are built of. Some releases carry that list in their module; the others have it in their repository alone.
func TestModulesAreUpstreams(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("downloads containerd")
	}
	compared := 0
	for version, line := range releases(t) {
		tool, dir := newTool(t), t.TempDir()
		stock, err := download(t.Context(), tool, line, version, dir)
		if err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadFile(filepath.Join(stock, "vendor", "modules.txt"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		vendored := map[string]bool{}
		for text := range strings.Lines(string(list)) {
			vendored[strings.TrimSpace(text)] = true
		}
		source := filepath.Join(dir, "source")
		if err := Source(t.Context(), tool, line, version, source); err != nil {
			t.Fatal(err)
		}
		output, err := tool.Run(t.Context(), source, "amd64", "list", "-mod=readonly", "-tags", tags, "-deps", "-f",
			`{{with .Module}}{{if not .Main}}# {{.Path}} {{.Version}}{{with .Replace}} => {{.Path}} {{.Version}}{{end}}{{end}}{{end}}`,
			"./cmd/containerd", "./cmd/ctr")
		if err != nil {
			t.Fatal(err)
		}
		modules := map[string]bool{}
		for text := range strings.Lines(string(output)) {
			modules[strings.TrimSpace(text)] = true
		}
		for module := range modules {
			if module != "" && !vendored[module] {
				t.Errorf("containerd %s is built with another %s than upstream's", version, strings.TrimPrefix(module, "# "))
			}
		}
		if len(modules) < 50 {
			t.Errorf("containerd %s: only %d modules were compared", version, len(modules))
		}
		compared++
		t.Logf("containerd %s: %d modules are upstream's", version, len(modules))
	}
	if compared == 0 {
		t.Error("no release carries the list of its modules any more")
	}
}
