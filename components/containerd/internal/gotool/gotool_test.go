package gotool_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/release"
)

//nolint:paralleltest // sets the environment
func TestSettings(t *testing.T) {
	for name, value := range map[string]string{
		"GOFLAGS": "-tags=other", "GOAMD64": "v3", "GOEXPERIMENT": "jsonv2", "GODEBUG": "panicnil=1",
		"GOOS": "windows", "GOARCH": "386", "CGO_ENABLED": "1", "GOWORK": "/somewhere/go.work",
		"GOPROXY": "https://proxy.example", "GONOSUMDB": "example.com", "GOPRIVATE": "private.example",
	} {
		t.Setenv(name, value)
	}
	tool, err := gotool.New(t.Context(), release.Toolchain, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	output, err := tool.Run(t.Context(), t.TempDir(), "arm64", "env", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(output, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"GOFLAGS": "", "GOEXPERIMENT": "", "GODEBUG": "", "GOOS": "linux", "GOARCH": "arm64", "CGO_ENABLED": "0",
		"GOVERSION": release.Toolchain, "GOWORK": "off",
		"GOPROXY": "https://proxy.example", "GONOSUMDB": "example.com", "GOPRIVATE": "private.example",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestSources(t *testing.T) {
	tool, err := gotool.New(t.Context(), release.Toolchain, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "https://user:secret@proxy.example")
	t.Setenv("GONOSUMDB", "example.com")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOAUTH", "off")
	got, err := tool.Sources(t.Context())
	if err != nil || got["GOPROXY"] != "https://user:secret@proxy.example" || got["GONOSUMDB"] != "example.com" {
		t.Errorf("Sources = %q, %v", got, err)
	}
	for name := range got {
		if name == "GOAMD64" || name == "GOAUTH" || name == "GOMODCACHE" {
			t.Errorf("%s is no other machine's business", name)
		}
	}
}

// TestGoIsTooOld: Debian 12 has Go 1.19, which would build with itself whatever the toolchain is to be.
func TestGoIsTooOld(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho '{\"GOVERSION\": \"go1.19.8\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	_, err := gotool.New(t.Context(), release.Toolchain, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "go")+" is go1.19.8, which cannot fetch "+release.Toolchain) {
		t.Errorf("err = %v", err)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	tool, err := gotool.New(t.Context(), release.Toolchain, &log)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tool.Run(t.Context(), t.TempDir(), "", "build", "./nothing")
	if err == nil || !strings.Contains(err.Error(), "running go build with "+release.Toolchain) ||
		!strings.Contains(err.Error(), "go.mod file not found") {
		t.Errorf("err = %v, want go's own words", err)
	}
	if !strings.Contains(log.String(), "go.mod file not found") {
		t.Errorf("log = %q", log.String())
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	if got := gotool.Redact("reading https://user:secret@proxy.example/x: 403"); got != "reading https://proxy.example/x: 403" {
		t.Errorf("Redact = %q", got)
	}
}
