package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// kubernetesSDK is a module that the kubernetes plugin needs little of.
const kubernetesSDK = "github.com/pulumi/pulumi-kubernetes/sdk/v4"

// prepare compiles all parts at once, before the first of them is built: apart, each would end with most of the machine waiting for its
// largest packages.
func (b *builder) prepare(ctx context.Context) error {
	if len(b.together) == 0 {
		return nil
	}
	var err error
	if b.modfile, err = b.replaceSDK(ctx); err != nil {
		return fmt.Errorf("replacing %s: %w", kubernetesSDK, err)
	}
	args := append([]string{"list", "-export", "-f", ""}, b.flags()...)
	for _, p := range b.together {
		args = append(args, p.pkg)
	}
	b.together = nil
	return command(b.golang(ctx, args...))
}

// replaceSDK makes a copy of the SDK without its Go types for the kinds of Kubernetes, and a go.mod that names it in the SDK's place.
// It returns that go.mod.
func (b *builder) replaceSDK(ctx context.Context) (string, error) {
	from, err := b.moduleDir(ctx, kubernetesSDK)
	if err != nil {
		return "", err
	}
	out := filepath.Dir(b.bin)
	sdk, modfile := filepath.Join(out, "kubernetes-sdk"), filepath.Join(out, "go.mod")
	if err := os.RemoveAll(sdk); err != nil {
		return "", err
	}
	if err := os.CopyFS(sdk, os.DirFS(from)); err != nil {
		return "", err
	}
	for file, source := range map[string]string{
		filepath.Join(sdk, "go/kubernetes/yaml/v2/kinds.go"): "cmd/pulumi-resource-kubernetes/kinds/kinds.go",
		modfile:                      "go.mod",
		filepath.Join(out, "go.sum"): "go.sum",
	} {
		body, err := os.ReadFile(filepath.Join(b.module, source))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(file, body, 0o600); err != nil {
			return "", err
		}
	}
	return modfile, command(b.golang(ctx, "mod", "edit", "-replace="+kubernetesSDK+"="+sdk, modfile))
}

// moduleDir is where the sources of a module lie, after they were downloaded.
func (b *builder) moduleDir(ctx context.Context, path string) (string, error) {
	out, err := b.golang(ctx, "mod", "download", "-json", path).Output()
	if err != nil {
		return "", fmt.Errorf("looking for module %s: %w", path, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return "", fmt.Errorf("looking for module %s: %w", path, err)
	}
	return found.Dir, nil
}

// golang is a call of go in the module.
func (b *builder) golang(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.module
	return cmd
}

// flags are those of compilations.
func (b *builder) flags() []string {
	flags := []string{"-tags", "plugins"}
	if b.modfile != "" {
		flags = append(flags, "-modfile", b.modfile)
	}
	return flags
}
