package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/lab/build"
	"berth/lab/rootfs"
)

// Up builds what is missing, brings the cluster up and writes its stack. A cluster that is there already is kept: machines that are
// off are started. What an earlier run left half done is removed first.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, o.Dir, o.Progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := refuseForeign(o.Dir); err != nil {
		return nil, err
	}
	b := &build.Builder{Source: filepath.Join(o.Project, "lab"), Cache: o.Cache, Progress: o.Progress, Verbose: o.Verbose}
	if err := b.HostPackages(ctx); err != nil {
		return nil, err
	}
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error { return b.Pulumi(partsCtx) })
	c := &Cluster{
		layout:  o.layout(),
		Project: o.Project, Dir: o.Dir, BinDir: b.BinDir(), PulumiHome: b.PulumiHome(),
		Kubeconfig:      filepath.Join(o.Dir, "kubeconfig"),
		SSHKey:          filepath.Join(o.Dir, "ssh/id_ed25519"),
		RegistryArchive: filepath.Join(o.Dir, "registry.tar"),
		NginxArchive:    filepath.Join(o.Dir, "nginx.tar"),
	}
	parts.Go(func() error {
		roots, err := buildRoots(partsCtx, b, suites(c.layout), o.Packages)
		if err != nil {
			return err
		}
		return c.ensure(partsCtx, b, roots)
	})
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.writeStack(ctx); err != nil {
		return nil, err
	}
	b.Say("%-14s written in %.0f s", "stack", time.Since(start).Seconds())
	return c, c.save()
}

// buildRoots builds all that the nodes consist of and returns the root filesystems they are copied from, by suite.
func buildRoots(ctx context.Context, b *build.Builder, suites []build.Suite, packages []string) (map[build.Suite]string, error) {
	parts, partsCtx := errgroup.WithContext(ctx)
	bases := map[build.Suite]string{}
	parts.Go(func() error {
		// Waits for the network while the others compile, one suite after the other.
		for _, suite := range suites {
			base, err := b.Base(partsCtx, suite, packages...)
			if err != nil {
				return err
			}
			bases[suite] = base
		}
		return nil
	})
	parts.Go(func() error {
		if err := b.Kube(partsCtx); err != nil {
			return err
		}
		return b.Registry(partsCtx)
	})
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	images, err := rootfs.Images(ctx, b, bases[build.Bookworm])
	if err != nil {
		return nil, err
	}
	roots := map[build.Suite]string{}
	for _, suite := range suites {
		if roots[suite], err = rootfs.Build(ctx, b, bases[suite], images); err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// ensure has the cluster running: the one that is there, or a new one.
func (c *Cluster) ensure(ctx context.Context, b *build.Builder, roots map[build.Suite]string) error {
	if old, err := read(c.Dir); err == nil && len(old.Nodes) == len(c.layout) {
		c.Nodes = old.Nodes
		c.resumed = true
		start := time.Now()
		if err := c.resume(ctx); err == nil {
			b.Say("%-14s runs (%.0f s)", "cluster", time.Since(start).Seconds())
			return nil
		}
		b.Say("the cluster of the last run does not come back: making a new one")
	}
	c.resumed = false
	if err := clean(ctx, c.Dir); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"machines", func(ctx context.Context) error { return c.createMachines(ctx, b, roots) }},
		{"control plane", c.initControlPlane},
		{"nodes", c.joinNodes},
	} {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("bringing up the %s: %w", step.name, err)
		}
		b.Say("%-14s up in %.0f s", step.name, time.Since(start).Seconds())
	}
	return c.save()
}

// resume starts the machines that are off and waits until the cluster works.
func (c *Cluster) resume(ctx context.Context) error {
	if err := raiseInotify(); err != nil {
		return err
	}
	if err := network.Up(ctx); err != nil {
		return err
	}
	if err := claim(c.Dir); err != nil {
		return err
	}
	started := time.Now()
	off := []string{}
	for _, n := range c.Nodes {
		if n.Running() {
			continue
		}
		off = append(off, n.Name)
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return c.waitReady(ctx, started, off...)
}
