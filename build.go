package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/config"
	"berth/components/containerd"
	"berth/components/node"
)

func target(n config.Node) containerd.Target {
	return containerd.Target{Version: n.ContainerdVersion, Arch: n.Arch}
}

// targets are the builds that the nodes need, in a fixed order: none where they keep their containerd.
func targets(cfg *config.Config) []containerd.Target {
	var list []containerd.Target
	if !mode(cfg).Patched() {
		return list
	}
	for _, n := range cfg.Nodes {
		list = append(list, target(n))
	}
	slices.SortFunc(list, func(a, b containerd.Target) int {
		return cmp.Or(strings.Compare(a.Version, b.Version), strings.Compare(a.Arch, b.Arch))
	})
	return slices.Compact(list)
}

func buildArgs(ctx *pulumi.Context, cfg *config.Config, nodes map[string]*node.Node) *containerd.BuildArgs {
	args := &containerd.BuildArgs{Targets: targets(cfg)}
	if len(args.Targets) == 0 {
		return args
	}
	on := cfg.Containerd.BuildOn
	for _, n := range cfg.ActiveNodes() {
		host := containerd.Host{Name: n.Name, Arch: n.Arch, SSH: connection(n), Stack: ctx.Stack(), After: anchor(nodes, n.Name)}
		switch on {
		case config.BuildOnEach:
			host.Targets, host.Own = []containerd.Target{target(n)}, true
		case n.Name:
			host.Targets = args.Targets
		default:
			continue
		}
		args.Hosts = append(args.Hosts, host)
	}
	// In one order, so that another one in the config is no change.
	slices.SortFunc(args.Hosts, func(a, b containerd.Host) int { return strings.Compare(a.Name, b.Name) })
	return args
}
