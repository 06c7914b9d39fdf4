package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/access"
	"berth/components/certificate"
	"berth/components/config"
	"berth/components/containerd"
	"berth/components/node"
	"berth/components/registry"
	"berth/components/remote"
	"berth/components/verification"
	"berth/internal/kubeapi"
)

// What each component gets: from the config, and from the components before it.

func clusterArgs(cfg *config.Config) *kubernetes.ProviderArgs {
	args := &kubernetes.ProviderArgs{
		Kubeconfig: pulumi.ToSecret(pulumi.String(cfg.Kubernetes.Kubeconfig)).(pulumi.StringOutput),
		// Without it a new address of the API server counts as a new cluster: everything would be deleted and made anew.
		ClusterIdentifier: pulumi.String(cfg.Kubernetes.ClusterIdentifier),
		// A changed Secret is updated in place; otherwise it is gone for a moment, and pulls with it.
		EnableSecretMutable:    pulumi.Bool(true),
		EnableConfigMapMutable: pulumi.Bool(true),
		// The Job of a verification is there already when Pulumi creates it.
		EnableServerSideApply: pulumi.Bool(true),
	}
	if cfg.Kubernetes.Context != "" {
		args.Context = pulumi.String(cfg.Kubernetes.Context)
	}
	return args
}

func newVerifier(ctx *pulumi.Context, cfg *config.Config) (*verification.Verifier, error) {
	cluster := kubeapi.Cluster{Kubeconfig: cfg.Kubernetes.Kubeconfig, Context: cfg.Kubernetes.Context}
	return verification.New(cluster, verification.Options{
		Tell: func(name, text string) {
			// Where the message cannot be shown, the pull goes on.
			_ = ctx.Log.Warn(name+": "+text, nil)
		},
	})
}

func connection(n config.Node) remote.Connection {
	c := remote.Connection{
		Host: n.Address, Port: n.Port, User: n.User, HostKey: n.HostKey, PrivateKey: n.PrivateKey, Password: n.Password,
	}
	if b := n.Bastion; b != nil {
		c.Bastion = &remote.Connection{
			Host: b.Address, Port: b.Port, User: b.User, HostKey: b.HostKey, PrivateKey: b.PrivateKey, Password: b.Password,
		}
	}
	return c
}

func owner(ctx *pulumi.Context, nodeName string) string {
	return ctx.Stack() + "/" + nodeName
}

func newNodes(ctx *pulumi.Context, cfg *config.Config, identity pulumi.StringInput) (map[string]*node.Node, error) {
	nodes := make(map[string]*node.Node, len(cfg.Nodes))
	for _, n := range cfg.Nodes {
		created, err := node.New(ctx, &node.Args{
			Name:          n.Name,
			Arch:          n.Arch,
			Owner:         owner(ctx, n.Name),
			Identity:      identity,
			Connection:    connection(n),
			InternalIP:    n.InternalIP,
			HostsIP:       cfg.HostsIP(n),
			RegistryHost:  cfg.Registry.Host,
			RegistryNames: cfg.Registry.Names(),
			NodePort:      cfg.Registry.NodePort,
			NodePorts:     nodePorts(cfg),
			Trust:         cfg.Certificate.Trust,
			Access:        cfg.Access.Mode,
			LeadsTo:       leadsTo(cfg),
			ServedAt:      servedAt(cfg, n),
			APIServer:     mode(cfg) == access.PortRange && n.ControlPlane,
			Version:       version(cfg, n),
			// In one order, so that another one in the config is no change.
			Fixes:         slices.Sorted(slices.Values(fixes(cfg, n))),
			MinorUpgrade:  cfg.Containerd.AllowMinorUpgrade,
			ReloadWithGPU: n.ReloadWithGPU,
			Retired:       n.Retired,
		})
		if err != nil {
			return nil, err
		}
		nodes[n.Name] = created
	}
	return nodes, nil
}

// version is the containerd that a node gets, if any.
func version(cfg *config.Config, n config.Node) string {
	if !mode(cfg).Patched() {
		return ""
	}
	return containerd.FullVersion(n.ContainerdVersion)
}

func fixes(cfg *config.Config, n config.Node) []string {
	if !mode(cfg).Patched() {
		return nil
	}
	return slices.Concat(containerd.Fixes(n.ContainerdVersion), cfg.Containerd.AcceptCVE)
}

// anchor is what must be in the graph before a node is touched. No component hands its own dependencies to its children,
// so each gets it as an argument.
func anchor(nodes map[string]*node.Node, name string) []pulumi.Resource {
	if n, ok := nodes[name]; ok {
		return []pulumi.Resource{n.Anchor()}
	}
	return nil
}

// lookAtNodes starts to compare the nodes in service with what was installed on them, while the graph is described.
func lookAtNodes(ctx *pulumi.Context, cfg *config.Config, look node.Look) func() map[string]node.Finding {
	if !cfg.Drift.Check {
		look = node.LookNowhere
	}
	var targets []node.Target
	for _, n := range cfg.ActiveNodes() {
		targets = append(targets, node.Target{Name: n.Name, Owner: owner(ctx, n.Name), Connection: connection(n)})
	}
	return sync.OnceValue(look(ctx.Context(), targets))
}

// warn tells what the look found, each at its node.
func warn(ctx *pulumi.Context, nodes map[string]*node.Node, drift map[string]node.Finding) {
	for _, name := range slices.Sorted(maps.Keys(drift)) {
		if text := drift[name].Warning(); text != "" {
			// Where the message cannot be shown, the plan shows the repair all the same.
			_ = ctx.Log.Warn(name+": "+text, &pulumi.LogArgs{Resource: nodes[name]})
		}
	}
}

// warnOfEnding tells, at the build, of lines for which no more fixes are to be had.
func warnOfEnding(ctx *pulumi.Context, cfg *config.Config, build *containerd.Build) {
	said := map[string]bool{"": true}
	for _, t := range targets(cfg) {
		if text := containerd.Ending(t.Version, time.Now()); !said[text] {
			said[text] = true
			// Where the message cannot be shown, nothing depends on it.
			_ = ctx.Log.Warn(text, &pulumi.LogArgs{Resource: build})
		}
	}
}

func certificateArgs(cfg *config.Config, nodes map[string]*node.Node) *certificate.Args {
	return &certificate.Args{
		CA:           cfg.Certificate.CA,
		CACert:       cfg.Certificate.CACert,
		CAKey:        cfg.Certificate.CAKey,
		Algorithm:    cfg.Certificate.Algorithm,
		RSABits:      cfg.Certificate.RSABits,
		ValidityDays: cfg.Certificate.ValidityDays,
		DNSNames:     cfg.DNSNames(),
		IPAddresses:  cfg.IPAddresses(),
		Signer:       connection(cfg.SigningNode()),
		After:        anchor(nodes, cfg.Certificate.SigningNode),
		Generation:   cfg.Certificate.Generation,
	}
}

func registryArgs(
	ctx *pulumi.Context, cfg *config.Config, cert *certificate.Certificate, nodes map[string]*node.Node, servers []pulumi.Resource,
) *registry.Args {
	return &registry.Args{
		Names:       cfg.Registry.Names(),
		NodePort:    cfg.Registry.NodePort,
		Namespace:   cfg.Registry.Namespace,
		Node:        cfg.Registry.Node,
		Connection:  connection(cfg.RegistryNode()),
		After:       slices.Concat(anchor(nodes, cfg.Registry.Node), servers),
		Owner:       owner(ctx, cfg.Registry.Node),
		Image:       cfg.Registry.Image,
		Archive:     cfg.Registry.ImageArchive,
		ImagesPath:  cfg.Registry.ImagesPath,
		Username:    cfg.Registry.Username,
		Password:    cfg.Registry.Password,
		PullSecrets: cfg.Registry.PullSecrets,
		Cert:        cert.Cert,
		Key:         cert.Key,
	}
}

func publicationArgs(
	cfg *config.Config, cert *certificate.Certificate, reg *registry.Registry, build *containerd.Build,
) *containerd.PublicationArgs {
	gate := cfg.RegistryNode()
	// Another road to the registry is proved by another image.
	road := strings.Join(build.Versions(), " ")
	if !mode(cfg).Patched() {
		road = cfg.Access.Mode + " " + clusterIP(cfg)
	}
	return &containerd.PublicationArgs{
		Registry: containerd.RegistryTarget{
			Host:     cfg.Registry.Host,
			NodePort: cfg.Registry.NodePort,
			Username: cfg.Registry.Username,
			Password: cfg.Registry.Password,
			Address:  gate.InternalIP,
		},
		SSH:     connection(gate),
		CA:      cert.CA,
		After:   reg.Served(),
		Build:   build,
		Aliases: slices.Sorted(slices.Values(cfg.Registry.Aliases)),
		Rollout: pulumi.StringArray{
			pulumi.String(road), cert.Cert, reg.Credentials, pulumi.Sprintf("%d", cfg.Registry.NodePort),
		},
	}
}

// rollout says in the preview which nodes are switched after which.
func rollout(ctx *pulumi.Context, cfg *config.Config) node.Rollout {
	r := node.Rollout{Canary: cfg.Rollout.Canary, Batch: cfg.Rollout.Batch, Last: cfg.Registry.Node}
	for _, n := range cfg.Nodes {
		r.Names = append(r.Names, n.Name)
		if n.ControlPlane {
			r.ControlPlane = append(r.ControlPlane, n.Name)
		}
	}
	if waves := r.Waves(); len(waves) > 1 {
		// Where the message cannot be shown, the order holds all the same.
		_ = ctx.Log.Info("containerd is switched in this order: "+r.String(), nil)
	}
	return r
}

func provisionArgs(
	cfg *config.Config, n *node.Node, cert *certificate.Certificate, reg *registry.Registry, road *access.Access,
	build *containerd.Build, publication *containerd.Publication, cluster pulumi.ProviderResource,
) *node.ProvisionArgs {
	described, _ := cfg.Node(n.Name())
	return &node.ProvisionArgs{
		CA:        cert.CA,
		Digest:    build.Digest(target(described)),
		Artifact:  containerd.ArtifactRepository,
		Username:  cfg.Registry.Username,
		Password:  cfg.Registry.Password,
		Served:    slices.Concat(reg.Served(), road.Served()),
		Published: publication.Pushed,
		Verification: &node.VerificationArgs{
			Namespace:  reg.Namespace,
			PullSecret: registry.PullSecretName,
			Images:     publication.VerifyImages,
			Options:    append(reg.DeletedWith(), pulumi.Provider(cluster)),
		},
	}
}

// export is the recap: what an operator wants to read when an up is over.
func export(ctx *pulumi.Context, cfg *config.Config, nodes map[string]*node.Node, cert *certificate.Certificate) {
	ctx.Export("registry", pulumi.String(cfg.Registry.Host))
	ctx.Export("push", pulumi.String(fmt.Sprintf("%s:%d", cfg.Registry.Host, cfg.Registry.NodePort)))
	ctx.Export("certificateNotAfter", cert.NotAfter)
	ctx.Export("ca", cert.CA)
	results := pulumi.StringMap{}
	for name, n := range nodes {
		results[name] = n.Recap
	}
	ctx.Export("nodes", results)
}
