package main

import (
	"context"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/config"
	"berth/components/drain"
	"berth/components/node"
	"berth/components/registry"
)

// healLimit bounds the look for nodes that an interrupted run left cordoned.
const healLimit = 30 * time.Second

// newDraining prepares to drain nodes, where the config asks for it.
func newDraining(ctx *pulumi.Context, cfg *config.Config) (node.Draining, error) {
	if !cfg.Drain.Enabled {
		return node.Draining{}, nil
	}
	cluster := drain.Cluster{Kubeconfig: cfg.Kubernetes.Kubeconfig, Context: cfg.Kubernetes.Context}
	timeout, grace := cfg.Drain.Limits()
	drainer, err := drain.New(cluster, drain.Options{
		Timeout:            timeout,
		GracePeriod:        grace,
		Force:              cfg.Drain.Force,
		DeleteEmptyDirData: cfg.Drain.DeleteEmptyDirData,
		// The registry's pod is tied to its node, so an eviction would only end it, and all pulls with it.
		SpareNamespace: cfg.Registry.Namespace,
		Spare:          registry.Labels(),
		Tell: func(name, text string) {
			// Where the message cannot be shown, the drain goes on.
			_ = ctx.Log.Info(name+": "+text, nil)
		},
	})
	if err != nil {
		return node.Draining{}, err
	}
	heal(ctx, drainer)
	cordons, err := node.NewCordons(ctx, "cordons", &node.CordonsArgs{
		Kubeconfig: cluster.Kubeconfig, Context: cluster.Context, Stack: ctx.Stack(),
	})
	return node.Draining{Drainer: drainer, Cordons: cordons}, err
}

// heal uncordons what an interrupted run left cordoned, before this one begins; a preview only tells of it. Like the look at the
// nodes it never fails the program: what cannot be reached now is healed by a later run.
func heal(ctx *pulumi.Context, drainer *drain.Drainer) {
	limited, cancel := context.WithTimeout(ctx.Context(), healLimit)
	defer cancel()
	look, done := drainer.Heal, " had been left cordoned by an interrupted run and is uncordoned"
	if ctx.DryRun() {
		look, done = drainer.Leftovers, " has been left cordoned by an interrupted run: up uncordons it"
	}
	names, err := look(limited, ctx.Stack())
	if len(names) > 0 {
		_ = ctx.Log.Warn(strings.Join(names, ", ")+done, nil)
	}
	if err != nil {
		_ = ctx.Log.Warn(err.Error(), nil)
	}
}
