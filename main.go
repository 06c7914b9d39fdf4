// Berth gives a registry inside a Kubernetes cluster a name without a port: on every node, `image: Yuan.com/nginx:v1` is pulled
// from the registry's NodePort over TLS. The program below is the graph of it.
package main

import (
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/access"
	"berth/components/certificate"
	"berth/components/config"
	"berth/components/containerd"
	"berth/components/node"
	"berth/components/registry"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error { return run(ctx, node.LookOverSSH) })
}

func run(ctx *pulumi.Context, look node.Look) error {
	cfg, err := config.Load(ctx, config.Rules{SupportedVersion: containerd.Supported})
	if err != nil {
		return err
	}
	findings := lookAtNodes(ctx, cfg, look)
	cluster, err := kubernetes.NewProvider(ctx, "cluster", clusterArgs(cfg))
	if err != nil {
		return err
	}
	identity, err := node.NewIdentity(ctx, "identity")
	if err != nil {
		return err
	}
	nodes, err := newNodes(ctx, cfg, identity)
	if err != nil {
		return err
	}
	cert, err := certificate.New(ctx, "certificate", certificateArgs(cfg, nodes))
	if err != nil {
		return err
	}
	servers, err := widenPortRanges(ctx, cfg, nodes, findings)
	if err != nil {
		return err
	}
	reg, err := registry.New(ctx, "registry", registryArgs(ctx, cfg, cert, nodes, servers), pulumi.Providers(cluster))
	if err != nil {
		return err
	}
	road, err := access.New(ctx, "access", accessArgs(ctx, cfg, reg, servers), pulumi.Providers(cluster))
	if err != nil {
		return err
	}
	build, err := containerd.NewBuild(ctx, "containerd", buildArgs(ctx, cfg, nodes))
	if err != nil {
		return err
	}
	warnOfEnding(ctx, cfg, build)
	publication, err := containerd.NewPublication(ctx, "publication", publicationArgs(cfg, cert, reg, build))
	if err != nil {
		return err
	}
	draining, err := newDraining(ctx, cfg)
	if err != nil {
		return err
	}
	verifier, err := newVerifier(ctx, cfg)
	if err != nil {
		return err
	}
	drift := findings()
	warn(ctx, nodes, drift)
	var before, proved []pulumi.Resource
	for _, wave := range rollout(ctx, cfg).Waves() {
		var verified []pulumi.Resource
		for _, name := range wave {
			args := provisionArgs(cfg, nodes[name], cert, reg, road, build, publication, cluster)
			args.Draining, args.Finding, args.Before = draining, drift[name], before
			args.Verification.Verifier, args.Verification.After = verifier, servers
			if err := nodes[name].Provision(ctx, args); err != nil {
				return err
			}
			verified = append(verified, nodes[name].Verified...)
		}
		before = verified
		proved = append(proved, verified...)
	}
	if err := publication.Prune(ctx, proved); err != nil {
		return err
	}
	export(ctx, cfg, nodes, cert)
	return nil
}
