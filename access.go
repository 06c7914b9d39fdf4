package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/access"
	"berth/components/config"
	"berth/components/node"
	"berth/components/registry"
)

// What the mode of access means for the other components.

func mode(cfg *config.Config) access.Mode { return access.Mode(cfg.Access.Mode) }

// clusterIP is the address that the name leads to, in the mode that has one.
func clusterIP(cfg *config.Config) string {
	if mode(cfg) != access.ClusterIP {
		return ""
	}
	return cfg.Access.ClusterIP
}

// nodePorts are the ports that Services of the registry take on every node.
func nodePorts(cfg *config.Config) []int {
	ports := []int{cfg.Registry.NodePort}
	if mode(cfg) == access.PortRange {
		ports = append(ports, access.NamePort)
	}
	return ports
}

// servedAt is the address at which a node finds the registry on the port of a name without one. Where nodes have no hosts entry it
// is empty: DNS leads them.
func servedAt(cfg *config.Config, n config.Node) string {
	if mode(cfg) == access.PortRange {
		return cfg.HostsIP(n)
	}
	return clusterIP(cfg)
}

// leadsTo says for people where the mode leads the name.
func leadsTo(cfg *config.Config) string {
	switch mode(cfg) {
	case access.ClusterIP:
		return cfg.Access.ClusterIP
	case access.PortRange:
		return fmt.Sprintf("port %d", access.NamePort)
	case access.Patch, access.Mirror:
	}
	return fmt.Sprintf("port %d", cfg.Registry.NodePort)
}

// accessArgs says in the preview, too, what the mode does on nodes, where that is not the patched containerd that the rollout tells of.
func accessArgs(ctx *pulumi.Context, cfg *config.Config, reg *registry.Registry, servers []pulumi.Resource) *access.Args {
	if !mode(cfg).Patched() {
		// Where the message cannot be shown, the mode is the same.
		_ = ctx.Log.Info(fmt.Sprintf("access mode %s: %s", mode(cfg), mode(cfg).OnNodes()), nil)
	}
	return &access.Args{
		Mode:       mode(cfg),
		ClusterIP:  clusterIP(cfg),
		NodePort:   cfg.Registry.NodePort,
		Namespace:  reg.Namespace,
		Selector:   reg.Selector(),
		TargetPort: registry.ContainerPort,
		After:      slices.Concat(reg.Served(), servers),
		Options:    reg.DeletedWith(),
	}
}

// widenPortRanges has one API server after the other take NodePorts from 443 on, where the mode of access needs that. A cluster with one
// of them does not answer meanwhile. So everything in the cluster comes after what is returned, and, with a dependency of its own,
// goes before it: the engine orders deletions by dependencies among what is deleted alone. What kubeadm knows of it is one such thing.
func widenPortRanges(
	ctx *pulumi.Context, cfg *config.Config, nodes map[string]*node.Node, findings func() map[string]node.Finding,
) ([]pulumi.Resource, error) {
	if mode(cfg) != access.PortRange {
		return nil, nil
	}
	// In the order of names, so that another one in the config is no change.
	sorted := slices.SortedFunc(slices.Values(cfg.Nodes), func(a, b config.Node) int { return strings.Compare(a.Name, b.Name) })
	servers := slices.DeleteFunc(slices.Clone(sorted), func(n config.Node) bool { return !n.ControlPlane })
	var anchors, widened []pulumi.Resource
	for _, n := range sorted {
		anchors = append(anchors, nodes[n.Name].Anchor())
	}
	drift := findings()
	for _, n := range servers {
		step, err := nodes[n.Name].WidenPortRange(ctx, &node.PortRangeArgs{
			Servers: len(servers), Finding: drift[n.Name], After: slices.Concat(anchors, widened),
		})
		if err != nil {
			return nil, err
		}
		widened = append(widened, step)
	}
	_, err := access.TellKubeadm(ctx, "kubeadm-port-range", &access.KubeadmArgs{
		Kubeconfig: cfg.Kubernetes.Kubeconfig, Context: cfg.Kubernetes.Context, Stack: ctx.Stack(), After: widened,
	})
	return widened, err
}
