package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"berth/lab/run"
)

// PulumiHome is the PULUMI_HOME that holds the plugins.
func (b *Builder) PulumiHome() string { return filepath.Join(b.Cache, "pulumi-home") }

// Pulumi puts pulumi into BinDir and its plugins into PulumiHome: what this machine has installed, or else builds of its own. The
// module that does so knows itself what is there already.
func (b *Builder) Pulumi(ctx context.Context) error {
	out := filepath.Join(b.Cache, "pulumi")
	_, err := run.Output(ctx, run.Command{
		// The machines can boot as soon as Kubernetes is built, and wait a good deal while they do: it goes first, and what it shares with
		// Pulumi's plugins is compiled when they come to it.
		Args: []string{"nice", "-n", "19", "go", "run", "./build", "--out", out, "--home", b.PulumiHome()},
		Dir:  filepath.Join(b.Source, "pulumi"), Env: goEnv, Log: b.Progress,
	})
	if err != nil {
		return fmt.Errorf("building pulumi: %w", err)
	}
	// A link, not a copy: pulumi looks for its language host beside the file that it really is.
	if err := link(filepath.Join(out, "bin/pulumi"), filepath.Join(b.BinDir(), "pulumi")); err != nil {
		return fmt.Errorf("building pulumi: %w", err)
	}
	return nil
}

// link makes name a symbolic link to target, whatever it was before.
func link(target, name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}
