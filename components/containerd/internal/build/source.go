package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/internal/patch"
	"berth/components/containerd/patches"
	"berth/components/containerd/portmap"
)

// portmapDir is where portmap.go lives in containerd's tree.
const portmapDir = "pkg/portmap"

// Source writes the patched source tree of a release into the folder dir, which must not exist.
func Source(ctx context.Context, tool *gotool.Tool, line patches.Line, version, dir string) error {
	upstream, err := download(ctx, tool, line, version, filepath.Dir(dir))
	if err != nil {
		return err
	}
	if err := copyTree(dir, upstream); err != nil {
		return fmt.Errorf("copying the source of containerd %s: %w", version, err)
	}
	list, err := line.Patches()
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := patch.Apply(dir, p.Name, p.Content); err != nil {
			return fmt.Errorf("patching containerd %s: %w", version, err)
		}
	}
	target := filepath.Join(dir, filepath.FromSlash(portmapDir))
	if err := os.MkdirAll(target, 0o750); err != nil {
		return fmt.Errorf("patching containerd %s: %w", version, err)
	}
	if err := os.WriteFile(filepath.Join(target, "portmap.go"), portmap.Source, 0o644); err != nil {
		return fmt.Errorf("patching containerd %s: %w", version, err)
	}
	return nil
}

// download fetches containerd's module, checked against the pinned checksum, and returns its folder in the module
// cache. work is a folder for temporary files.
func download(ctx context.Context, tool *gotool.Tool, line patches.Line, version, work string) (string, error) {
	// A module of its own, so that one above the cache folder has no say.
	module := filepath.Join(work, "download")
	if err := os.MkdirAll(module, 0o750); err != nil {
		return "", fmt.Errorf("downloading containerd %s: %w", version, err)
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte("module download\n"), 0o644); err != nil {
		return "", fmt.Errorf("downloading containerd %s: %w", version, err)
	}
	name := line.Module + "@v" + version
	output, runErr := tool.Run(ctx, module, "", "mod", "download", "-json", name)
	var got struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(output, &got); err != nil && runErr == nil {
		return "", fmt.Errorf("downloading containerd %s: reading go's answer: %w", version, err)
	}
	if got.Error != "" {
		return "", fmt.Errorf("downloading containerd %s: set GOPROXY to a module proxy that serves %s: %s",
			version, name, gotool.Redact(got.Error))
	}
	if runErr != nil {
		return "", fmt.Errorf("downloading containerd %s: %w", version, runErr)
	}
	if want := line.Versions[version]; got.Sum != want {
		return "", fmt.Errorf("downloading containerd %s: the module has the checksum %s instead of %s; "+
			"find out who changed it (GOPROXY, or the module cache)", version, got.Sum, want)
	}
	return got.Dir, nil
}

// copyTree copies the regular files below from, which are read-only in the module cache, to writable ones below to.
func copyTree(to, from string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }()
	source := os.DirFS(from)
	return fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// Some releases carry a vendor/modules.txt without the modules, which the go command would believe.
			if name == "vendor" {
				return fs.SkipDir
			}
			return target.MkdirAll(name, 0o750)
		}
		if !entry.Type().IsRegular() {
			return errors.New("unexpected kind of file: " + name)
		}
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return target.WriteFile(name, content, 0o644)
	})
}
