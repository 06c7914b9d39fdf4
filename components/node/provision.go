package node

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	berthremote "berth/components/remote"
	"berth/scripts"
)

// ProvisionArgs is what a node gets from the other components.
type ProvisionArgs struct {
	// CA is the certificate to trust, as PEM.
	CA pulumi.StringInput
	// Digest is the layer to fetch from the registry ("sha256:…"), and Artifact the repository that holds it.
	Digest   pulumi.StringInput
	Artifact string
	// Username and Password open the registry. The password is a secret.
	Username, Password string
	// Finding is what a look at the node found.
	Finding Finding
	// Served is what must stand before a node sends pulls to the registry.
	Served []pulumi.Resource
	// Published is what must be in the registry before a node fetches.
	Published pulumi.Resource
	// Before are the verifications of the wave in front: containerd is switched only when they passed.
	Before []pulumi.Resource
	// Draining is how the pods leave the node before its containerd is restarted.
	Draining Draining
	// Verification describes the pull that proves the node.
	Verification *VerificationArgs
}

// Provision adds the node's steps behind its anchor. The switch of containerd alone waits for other nodes.
func (n *Node) Provision(ctx *pulumi.Context, args *ProvisionArgs) error {
	base, err := n.addBase(ctx, args)
	if err != nil {
		return fmt.Errorf("describing the base of node %s: %w", n.args.Name, err)
	}
	containerd, err := n.addContainerd(ctx, args, base)
	if err != nil {
		return fmt.Errorf("describing containerd of node %s: %w", n.args.Name, err)
	}
	// The line holds no secret; the command's output is treated as one where its input holds the password.
	n.Result = pulumi.Unsecret(containerd.Stdout).(pulumi.StringOutput)
	n.Recap = pulumi.String("retired").ToStringOutput()
	if !n.args.Retired {
		job, err := n.addVerification(ctx, args.Verification, containerd)
		if err != nil {
			return fmt.Errorf("describing the verification of node %s: %w", n.args.Name, err)
		}
		n.Verified = []pulumi.Resource{job}
		n.Recap = recap(base.Stdout, n.Result, job)
	}
	return nil
}

func (n *Node) addBase(ctx *pulumi.Context, args *ProvisionArgs) (*remote.Command, error) {
	names := strings.Join(n.args.RegistryNames, " ")
	stdin := n.render(args, scripts.Base, nil, func(v values) []scripts.Var {
		return []scripts.Var{
			{Name: "IDENTITY", Value: v.identity},
			{Name: "NAMES", Value: names},
			{Name: "HOSTS_IP", Value: n.args.HostsIP},
			{Name: "CA_PEM", Value: v.ca},
			{Name: "TRUST", Value: n.args.Trust},
			{Name: "MODE", Value: n.args.Access},
		}
	})
	return berthremote.NewCommand(ctx, n.name+"-base", &berthremote.CommandArgs{
		Connection: n.args.Connection,
		Run:        fmt.Sprintf("apply base %s port %d trust %s", names, n.args.NodePort, n.args.Trust),
		Repair:     args.Finding.repair(stepBase),
		Stdin:      stdin,
	}, n.options(pulumi.DependsOn(append([]pulumi.Resource{n.anchor}, args.Served...)))...)
}

// addContainerd is the one step that restarts containerd, so it knows everything that asks for a restart, the trusted CA included. It is
// one resource in all modes of access: what ran on the node last is in its state, also when a change of the mode stopped half way.
func (n *Node) addContainerd(ctx *pulumi.Context, args *ProvisionArgs, base pulumi.Resource) (*remote.Command, error) {
	step := &berthremote.CommandArgs{Connection: n.args.Connection, Repair: args.Finding.repair(stepContainerd)}
	if n.args.Version == "" {
		n.keepContainerd(step, args)
	} else {
		n.patchContainerd(step, args)
	}
	draining, err := n.drained(ctx, args.Draining)
	if err != nil {
		return nil, err
	}
	after := append([]pulumi.Resource{n.anchor, base, args.Published}, args.Before...)
	return berthremote.NewCommand(ctx, n.name+"-containerd", step, n.options(append(draining, pulumi.DependsOn(after))...)...)
}

// brings says for people what the containerd step brings the node.
func (n *Node) brings() string {
	if n.args.Version == "" {
		return fmt.Sprintf("containerd of the package, mode %s to %s", n.args.Access, n.args.LeadsTo)
	}
	return "containerd " + n.args.Version
}

func (n *Node) patchContainerd(step *berthremote.CommandArgs, args *ProvisionArgs) {
	stdin := n.render(args, scripts.Containerd, args.Digest, func(v values) []scripts.Var {
		return []scripts.Var{
			{Name: "REGISTRY_HOST", Value: n.args.RegistryHost},
			{Name: "VERSION", Value: n.args.Version},
			{Name: "DIGEST", Value: v.digest},
			{Name: "ARTIFACT", Value: args.Artifact},
			{Name: "NODE_IP", Value: n.args.InternalIP},
			{Name: "PULL_USER", Value: args.Username},
			{Name: "PULL_PASSWORD", Value: args.Password},
			{Name: "CA_PEM", Value: v.ca},
			{Name: "TRUST", Value: n.args.Trust},
			{Name: "ALLOW", Value: strings.Join(n.args.allowGPU(), "")},
		}
	})
	step.Run = "apply " + n.brings()
	step.Stdin = pulumi.ToSecret(stdin).(pulumi.StringOutput)
	step.Secret = true
}

// keepContainerd leads the packaged containerd to the registry.
func (n *Node) keepContainerd(step *berthremote.CommandArgs, args *ProvisionArgs) {
	step.Run = "apply " + n.brings()
	step.Stdin = args.CA.ToStringOutput().ApplyT(func(ca string) (string, error) {
		return scripts.Stdin(scripts.Access, []scripts.Var{
			{Name: "OWNER", Value: n.args.Owner},
			{Name: "MODE", Value: n.args.Access},
			{Name: "NAMES", Value: strings.Join(n.args.RegistryNames, " ")},
			{Name: "NODE_PORT", Value: strconv.Itoa(n.args.NodePort)},
			{Name: "ADDRESS", Value: n.args.ServedAt},
			{Name: "CA_PEM", Value: ca},
			{Name: "TRUST", Value: n.args.Trust},
			{Name: "ALLOW", Value: strings.Join(n.args.allowGPU(), "")},
		})
	}).(pulumi.StringOutput)
}

// values are inputs of a script that come from other resources.
type values struct{ ca, digest, identity string }

// render makes a step's stdin once the values of other resources are known.
func (n *Node) render(args *ProvisionArgs, script scripts.Script, digest pulumi.StringInput, vars func(values) []scripts.Var) pulumi.StringOutput {
	if digest == nil {
		digest = pulumi.String("")
	}
	return pulumi.All(args.CA, digest, n.args.Identity).ApplyT(func(v []any) (string, error) {
		common := []scripts.Var{
			{Name: "OWNER", Value: n.args.Owner},
			{Name: "NODE_PORT", Value: strconv.Itoa(n.args.NodePort)},
		}
		return scripts.Stdin(script, append(common, vars(values{ca: v[0].(string), digest: v[1].(string), identity: v[2].(string)})...))
	}).(pulumi.StringOutput)
}
