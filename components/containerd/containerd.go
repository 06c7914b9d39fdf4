package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/local"
	"berth/components/remote"
)

// Target is one thing to build.
type Target struct {
	// Version is the upstream release, and Arch the processor architecture in Go's terms.
	Version, Arch string
}

const buildPackage = "./components/containerd/cmd/build"

func (t Target) name(build string) string { return build + "-" + t.Version + "-" + t.Arch }

func (t Target) summary() string {
	return fmt.Sprintf("build containerd %s linux/%s", FullVersion(t.Version), t.Arch)
}

// BuildArgs says what is built, and where.
type BuildArgs struct {
	// Targets are the builds that nodes need, each once and in a fixed order. Without any nothing is built.
	Targets []Target
	// Hosts are the nodes that build; what none of them builds, the operator's machine builds.
	Hosts []Host
}

// Build is a containerd build for each release and architecture that nodes need.
type Build struct {
	pulumi.ResourceState

	args    *BuildArgs
	digests map[Target]pulumi.StringOutput
}

// NewBuild builds containerd for the targets, or takes it from the cache.
func NewBuild(ctx *pulumi.Context, name string, args *BuildArgs, opts ...pulumi.ResourceOption) (*Build, error) {
	b := &Build{args: args, digests: make(map[Target]pulumi.StringOutput, len(args.Targets))}
	if err := ctx.RegisterComponentResource("berth:containerd:Build", name, b, opts...); err != nil {
		return nil, fmt.Errorf("registering build %s: %w", name, err)
	}
	brought, err := b.buildOnHosts(ctx, name)
	if err != nil {
		return nil, err
	}
	outputs := pulumi.Map{}
	for _, target := range args.Targets {
		// What nodes built is in the cache by now. It is no input: where something is built, and how one logs in there, changes no digest,
		// and so nothing on any node.
		built, err := local.NewProgram(ctx, target.name(name), &local.ProgramArgs{
			Package: buildPackage,
			Summary: target.summary(),
			Input:   pulumi.StringMap{"version": pulumi.String(target.Version), "arch": pulumi.String(target.Arch)},
		}, pulumi.Parent(b), pulumi.DependsOn(brought[target]))
		if err != nil {
			return nil, fmt.Errorf("describing %q: %w", target.summary(), err)
		}
		b.digests[target] = built.Stdout
		outputs[target.Version+" "+target.Arch] = built.Stdout
	}
	return b, ctx.RegisterResourceOutputs(b, outputs)
}

// Digest is the artifact's layer: what a node fetches. It depends on version, patches, architecture and toolchain alone, so that a
// preview knows it once it was built, whatever else changes.
func (b *Build) Digest(target Target) pulumi.StringOutput { return b.digests[target] }

// Versions are the full versions that are built, each once, in the order of the targets.
func (b *Build) Versions() []string {
	var list []string
	for _, target := range b.args.Targets {
		list = append(list, FullVersion(target.Version))
	}
	return slices.Compact(list)
}

// PublicationArgs says what goes into which registry.
type PublicationArgs struct {
	// Registry and SSH say how the registry is reached. Passwords and keys are secrets.
	Registry RegistryTarget
	SSH      remote.Connection
	// CA is what the registry's certificate is verified with, as PEM.
	CA pulumi.StringInput
	// After is what must be there first: the registry.
	After []pulumi.Resource
	// Build is what is published beside the verification image; it may be of no target.
	Build *Build
	// Aliases are further names of the registry.
	Aliases []string
	// Rollout is what asks for a new verification image when it changes; its digest becomes the image's tag.
	Rollout pulumi.StringArrayInput
}

// Publication is what nodes find in the registry.
type Publication struct {
	pulumi.ResourceState

	// VerifyImages are the references of the verification image by plain name: by the registry's own, then by each alias.
	VerifyImages []pulumi.StringInput
	// Pushed has put everything into the registry.
	Pushed pulumi.Resource

	name string
	args *PublicationArgs
}

// NewPublication sees to it that the registry has the artifacts and the verification image: what is there already is not sent again,
// and what the cache lost is built again. Nothing is removed from the registry when the resource goes; [Publication.Prune] does that.
func NewPublication(ctx *pulumi.Context, name string, args *PublicationArgs, opts ...pulumi.ResourceOption) (*Publication, error) {
	p := &Publication{name: name, args: args}
	if err := ctx.RegisterComponentResource("berth:containerd:Publication", name, p, opts...); err != nil {
		return nil, fmt.Errorf("registering publication %s: %w", name, err)
	}
	rollout := args.Rollout.ToStringArrayOutput().ApplyT(rolloutID).(pulumi.StringOutput)
	versions := strings.Join(args.Build.Versions(), ", ")
	summary := fmt.Sprintf("publish containerd %s to %s", versions, args.Registry.Host)
	if versions == "" {
		summary = "publish the verification image to " + args.Registry.Host
	}
	push, err := local.NewProgram(ctx, name+"-push", &local.ProgramArgs{
		Package: "./components/containerd/cmd/publish",
		Summary: summary,
		Input:   args.request(rollout, false),
		Secret:  true,
	}, pulumi.Parent(p), pulumi.DependsOn(args.After))
	if err != nil {
		return nil, fmt.Errorf("describing %q: %w", summary, err)
	}
	p.Pushed = push
	for _, host := range append([]string{args.Registry.Host}, args.Aliases...) {
		p.VerifyImages = append(p.VerifyImages, pulumi.Sprintf("%s/%s:%s", host, VerifyRepository, rollout))
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"verifyImages": pulumi.StringArray(p.VerifyImages)})
}

// Prune removes older builds from the registry, once nothing points to them any more: all nodes, proved, come before it. A rollout that
// stopped half way prunes nothing. The newest of the older ones stays for each release line.
func (p *Publication) Prune(ctx *pulumi.Context, proved []pulumi.Resource) error {
	if len(p.args.Build.args.Targets) == 0 {
		return nil
	}
	summary := "remove older builds of containerd from " + p.args.Registry.Host
	_, err := local.NewProgram(ctx, p.name+"-prune", &local.ProgramArgs{
		Package: "./components/containerd/cmd/publish",
		Summary: summary,
		Input:   p.args.request(pulumi.String(""), true),
		Secret:  true,
	}, pulumi.Parent(p), pulumi.DependsOn(append(slices.Clone(proved), p.Pushed)))
	if err != nil {
		return fmt.Errorf("describing %q: %w", summary, err)
	}
	return nil
}

// request is what the publish command reads.
func (a *PublicationArgs) request(rollout pulumi.StringInput, prune bool) pulumi.Output {
	inputs := []any{a.CA, rollout}
	for _, target := range a.Build.args.Targets {
		inputs = append(inputs, a.Build.digests[target])
	}
	return pulumi.All(inputs...).ApplyT(func(v []any) PublishRequest {
		request := PublishRequest{Registry: a.Registry, SSH: a.SSH, RolloutID: v[1].(string), Prune: prune}
		request.Registry.CAPEM = v[0].(string)
		for i, target := range a.Build.args.Targets {
			artifact := Artifact{Version: target.Version, Arch: target.Arch, Digest: v[2+i].(string)}
			if !prune { // which builds nothing
				artifact.On = a.Build.hostOf(target)
			}
			request.Artifacts = append(request.Artifacts, artifact)
		}
		return request
	})
}

func rolloutID(parts []string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
