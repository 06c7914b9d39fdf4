package build

import (
	"context"
	"fmt"
	"path/filepath"

	"berth/lab/run"
)

// PulumiHome is the PULUMI_HOME that holds the plugins.
func (b *Builder) PulumiHome() string { return filepath.Join(b.Cache, "pulumi-home") }

// Pulumi puts pulumi into BinDir and its plugins into PulumiHome: what this machine has installed, or else builds of its own. The
// module that does so knows itself what is there already.
func (b *Builder) Pulumi(ctx context.Context) error {
	_, err := run.Output(ctx, run.Command{
		Args: []string{"go", "run", "./build", "--out", b.Cache, "--home", b.PulumiHome()},
		Dir:  filepath.Join(b.Source, "pulumi"), Env: []string{"GOWORK=off"}, Log: b.Progress,
	})
	if err != nil {
		return fmt.Errorf("building pulumi: %w", err)
	}
	return nil
}
