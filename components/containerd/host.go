package containerd

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/containerd/release"
	"berth/components/local"
	"berth/components/remote"
)

// Host is a node that builds.
type Host struct {
	// Name is the node's in Kubernetes, and Arch its architecture in Go's terms.
	Name, Arch string
	// SSH reaches the node. Its keys and passwords are secrets.
	SSH remote.Connection
	// Stack names the folder of the builds there.
	Stack string
	// Targets are what it builds: all that its own architecture or another needs.
	Targets []Target
	// Own has it build what another has built already, too, and compares the digests.
	Own bool
	// After is what must be there first: the look at the node.
	After []pulumi.Resource
}

func (h Host) request() release.Host {
	return release.Host{Name: h.Name, Arch: h.Arch, SSH: h.SSH, Stack: h.Stack, Own: h.Own}
}

// buildOnHosts has nodes build their targets, and returns for each target what sees to it that the cache of the operator's machine has it.
// Nothing takes data from these: what they say changes with the login.
func (b *Build) buildOnHosts(ctx *pulumi.Context, name string) (map[Target][]pulumi.Resource, error) {
	brought := map[Target][]pulumi.Resource{}
	for _, host := range b.args.Hosts {
		suffix := "-on-" + host.Name
		// It is in the state before anything is built there, and removes what builds left.
		place, err := local.NewProgram(ctx, name+suffix, &local.ProgramArgs{
			Package:  "./components/containerd/cmd/buildhost",
			Summary:  "prepare " + host.Name + " to build containerd",
			Delete:   "remove what building containerd left on " + host.Name,
			Input:    pulumi.Any(host.request()),
			Secret:   true,
			Progress: true,
		}, pulumi.Parent(b), pulumi.DependsOn(host.After))
		if err != nil {
			return nil, fmt.Errorf("describing the builds on %s: %w", host.Name, err)
		}
		for _, target := range host.Targets {
			on := host.request()
			built, err := local.NewProgram(ctx, target.name(name)+suffix, &local.ProgramArgs{
				Package:  buildPackage,
				Summary:  target.summary() + " on " + host.Name,
				Input:    pulumi.Any(release.BuildRequest{Version: target.Version, Arch: target.Arch, On: &on}),
				Secret:   true,
				Progress: true,
			}, pulumi.Parent(b), pulumi.DependsOn([]pulumi.Resource{place}))
			if err != nil {
				return nil, fmt.Errorf("describing %q on %s: %w", target.summary(), host.Name, err)
			}
			brought[target] = append(brought[target], built)
		}
	}
	return brought, nil
}

// hostOf is the node that builds what registry and cache have lost; nil is the operator's machine.
func (b *Build) hostOf(target Target) *release.Host {
	i := slices.IndexFunc(b.args.Hosts, func(h Host) bool { return slices.Contains(h.Targets, target) })
	if i < 0 {
		return nil
	}
	host := b.args.Hosts[i].request()
	host.Own = false
	return &host
}
