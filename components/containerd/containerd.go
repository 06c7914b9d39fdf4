package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/local"
)

// Build is one containerd build per architecture, made on the operator's machine.
type Build struct {
	pulumi.ResourceState

	// Version is the full version of what is built.
	Version string
	// Digests are the artifact's layers by architecture: what nodes fetch. They depend on version, patches, architecture and
	// toolchain alone, so that a preview knows them once they were built, whatever else changes.
	Digests pulumi.StringMapOutput `pulumi:"digests"`

	upstream      string
	architectures []string
}

// NewBuild builds containerd at an upstream version for the given architectures, or takes it from the cache.
func NewBuild(ctx *pulumi.Context, name, upstream string, architectures []string, opts ...pulumi.ResourceOption) (*Build, error) {
	b := &Build{Version: FullVersion(upstream), upstream: upstream, architectures: architectures}
	if err := ctx.RegisterComponentResource("berth:containerd:Build", name, b, opts...); err != nil {
		return nil, fmt.Errorf("registering build %s: %w", name, err)
	}
	digests := pulumi.StringMap{}
	for _, arch := range architectures {
		built, err := local.NewProgram(ctx, name+"-"+arch, &local.ProgramArgs{
			Package: "./components/containerd/cmd/build",
			Summary: fmt.Sprintf("build containerd %s linux/%s", b.Version, arch),
			Input:   pulumi.StringMap{"version": pulumi.String(upstream), "arch": pulumi.String(arch)},
		}, pulumi.Parent(b))
		if err != nil {
			return nil, fmt.Errorf("describing the build of containerd %s for %s: %w", b.Version, arch, err)
		}
		digests[arch] = built.Stdout
	}
	b.Digests = digests.ToStringMapOutput()
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{"digests": b.Digests})
}

// PublicationArgs says what goes into which registry.
type PublicationArgs struct {
	// Registry and SSH say how the registry is reached. The password and the key are secrets.
	Registry RegistryTarget
	SSH      SSHTarget
	// CA is what the registry's certificate is verified with, as PEM.
	CA pulumi.StringInput
	// After is what must be there first: the registry.
	After []pulumi.Resource
	// Build is what is published.
	Build *Build
	// Rollout is what asks for a new verification image when it changes; its digest becomes the image's tag.
	Rollout pulumi.StringArrayInput
}

// Publication is what nodes find in the registry.
type Publication struct {
	pulumi.ResourceState

	// VerifyImage is the reference of the verification image by plain name.
	VerifyImage pulumi.StringOutput `pulumi:"verifyImage"`
}

// NewPublication sees to it that the registry has the artifacts and the verification image: what is there already is not sent again,
// and what the cache lost is built again. Nothing is removed from the registry when the resource goes.
func NewPublication(ctx *pulumi.Context, name string, args *PublicationArgs, opts ...pulumi.ResourceOption) (*Publication, error) {
	p := &Publication{}
	if err := ctx.RegisterComponentResource("berth:containerd:Publication", name, p, opts...); err != nil {
		return nil, fmt.Errorf("registering publication %s: %w", name, err)
	}
	rollout := args.Rollout.ToStringArrayOutput().ApplyT(rolloutID).(pulumi.StringOutput)
	request := pulumi.All(args.CA, args.Build.Digests, rollout).ApplyT(func(v []any) PublishRequest {
		return args.request(v[0].(string), v[1].(map[string]string), v[2].(string))
	})
	_, err := local.NewProgram(ctx, name+"-push", &local.ProgramArgs{
		Package: "./components/containerd/cmd/publish",
		Summary: fmt.Sprintf("publish containerd %s to %s", args.Build.Version, args.Registry.Host),
		Input:   request,
		Secret:  true,
	}, pulumi.Parent(p), pulumi.DependsOn(args.After))
	if err != nil {
		return nil, fmt.Errorf("describing the publication of containerd %s: %w", args.Build.Version, err)
	}
	p.VerifyImage = pulumi.Sprintf("%s/%s:%s", args.Registry.Host, VerifyRepository, rollout)
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"verifyImage": p.VerifyImage})
}

func (a *PublicationArgs) request(ca string, digests map[string]string, rollout string) PublishRequest {
	request := PublishRequest{Registry: a.Registry, SSH: a.SSH, RolloutID: rollout}
	request.Registry.CAPEM = ca
	for _, arch := range a.Build.architectures {
		request.Artifacts = append(request.Artifacts, Artifact{Version: a.Build.upstream, Arch: arch, Digest: digests[arch]})
	}
	return request
}

func rolloutID(parts []string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
