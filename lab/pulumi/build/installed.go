package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// installed returns the pulumi on PATH that came with a Go language host of its own, "" where there is none. What this
// program built earlier does not count, wherever it lies.
func installed(bin string) string {
	path, err := exec.LookPath("pulumi")
	if err != nil {
		return ""
	}
	if path, err = filepath.EvalSymlinks(path); err != nil || filepath.Dir(path) == bin {
		return ""
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(filepath.Join(dir, ".pulumi."+stampFile)); err == nil {
		return ""
	}
	if info, err := os.Stat(filepath.Join(dir, "pulumi-language-go")); err != nil || info.Mode()&0o100 == 0 {
		return ""
	}
	return path
}

// link makes bin/pulumi a link to the installed one; that finds its language host beside its own file.
func (b *builder) link() error {
	for _, p := range binaries {
		for _, name := range []string{p.name, "." + p.name + "." + stampFile} {
			if err := os.Remove(filepath.Join(b.bin, name)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	if err := os.Symlink(b.installed, filepath.Join(b.bin, "pulumi")); err != nil {
		return fmt.Errorf("linking the installed pulumi: %w", err)
	}
	_, _ = fmt.Fprintf(b.progress, "pulumi and pulumi-language-go: the installed ones in %s\n", filepath.Dir(b.installed))
	return nil
}

// fetch installs a published plugin, which a machine without access to Pulumi's downloads cannot.
func (b *builder) fetch(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return b.pulumi(ctx, "plugin", "install", "resource", p.name, p.version, "--reinstall")
}

func (b *builder) pulumi(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "pulumi"), args...)
	cmd.Env = append(os.Environ(), "PULUMI_HOME="+b.home, "PULUMI_SKIP_UPDATE_CHECK=true")
	return command(cmd)
}
