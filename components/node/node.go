// Package node makes a Kubernetes node pull by the registry's plain name: an anchor that knows how to undo everything,
// the trust and name base, the patched containerd, and a real pull by the kubelet as the proof.
package node

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	berthremote "berth/components/remote"
	"berth/scripts"
)

// Args describes one node; all of it but Identity is known when planning.
type Args struct {
	// Name is the node's name in Kubernetes, and its identity in the graph.
	Name string
	// Arch is its processor architecture in Go's terms.
	Arch string
	// Owner is the token that the node remembers ("stack/node"): no other stack may touch it then.
	Owner string
	// Identity is that of the state (see NewIdentity): no other state may touch the node, whatever the name of its stack.
	Identity pulumi.StringInput
	// Connection reaches the node.
	Connection berthremote.Connection
	// InternalIP is the node's address inside the cluster, where its own NodePort answers.
	InternalIP string
	// HostsIP is what the registry's name resolves to on the node; empty leaves /etc/hosts alone.
	HostsIP string
	// RegistryHost is the name by which containerd is fetched, RegistryNames are all by which images are pulled, and NodePort is
	// where the registry is served; NodePorts are all ports of the node that Services of the registry take.
	RegistryHost  string
	RegistryNames []string
	NodePort      int
	NodePorts     []int
	// Trust is "os" for the machine's trust store or "containerd" for containerd alone.
	Trust string
	// Access is the mode by which the node comes from the registry's name to the registry, and LeadsTo says for people where that is.
	// ServedAt is an address that serves the registry on port 443, to which the name is to lead; empty where the mode needs none.
	Access, LeadsTo, ServedAt string
	// APIServer says that the mode needs an API server on this node that runs as kubeadm has it.
	APIServer bool
	// Version is the full version of the containerd to come ("1.7.36+berth.1"); empty where the node keeps the containerd of its package.
	Version string
	// Fixes are the CVEs that are fixed in it, or accepted although they are not; the word unknown accepts a packaged containerd
	// whose fixes nothing tells.
	Fixes []string
	// MinorUpgrade says that Version may be of a later line than the node's package.
	MinorUpgrade bool
	// ReloadWithGPU says that systemd may be reloaded on a node with GPUs, which takes them from its pods.
	ReloadWithGPU bool
	// Retired says that the machine is gone: nothing dials it any more, and dropping the node from the config forgets it.
	Retired bool
}

// Node is one node under berth.
type Node struct {
	pulumi.ResourceState

	// Result is the line that the node reports: containerd's version, its digest and how often berth restarted it.
	Result pulumi.StringOutput
	// Recap is a line for people: Result, what the base step made and changed last, and how long the pull took.
	Recap pulumi.StringOutput
	// Verified is the Job that pulled by plain name, for the wave behind this node to wait for. A retired node has none.
	Verified []pulumi.Resource

	name   string
	args   *Args
	anchor *remote.Command
}

// New puts the node's anchor into the graph. It depends on no more than the identity and comes before all that changes the node, so that even a
// first up that fails half way leaves a state whose destroy cleans the node, and a destroy cleans all nodes at once.
// Creation and update only look; deletion removes. A wrong new key therefore fails the look and never replaces a good one in the state.
func New(ctx *pulumi.Context, args *Args, opts ...pulumi.ResourceOption) (*Node, error) {
	n := &Node{name: "node-" + args.Name, args: args}
	if err := ctx.RegisterComponentResource("berth:node:Node", n.name, n, opts...); err != nil {
		return nil, fmt.Errorf("registering node %s: %w", args.Name, err)
	}
	apiServer := ""
	if args.APIServer {
		apiServer = "yes"
	}
	stdin := args.Identity.ToStringOutput().ApplyT(func(identity string) (string, error) {
		return scripts.Stdin(scripts.Anchor, []scripts.Var{
			{Name: "OWNER", Value: args.Owner},
			{Name: "IDENTITY", Value: identity},
			{Name: "NODE_PORTS", Value: strings.Trim(fmt.Sprint(args.NodePorts), "[]")},
			{Name: "NODE_IP", Value: args.InternalIP},
			{Name: "ARCH", Value: args.Arch},
			{Name: "VERSION", Value: args.Version},
			{Name: "API", Value: apiServer},
			{Name: "ALLOW", Value: args.allow()},
		})
	}).(pulumi.StringOutput)
	var err error
	n.anchor, err = berthremote.NewCommand(ctx, n.name+"-anchor", &berthremote.CommandArgs{
		Connection: args.Connection,
		Run:        "preflight",
		Delete:     "remove",
		Stdin:      stdin,
	}, n.options()...)
	if err != nil {
		return nil, fmt.Errorf("describing the anchor of node %s: %w", args.Name, err)
	}
	// No outputs: Pulumi would write the whole state once more for each node when they are known, and the stack has the recap.
	if err := ctx.RegisterResourceOutputs(n, pulumi.Map{}); err != nil {
		return nil, fmt.Errorf("registering node %s: %w", args.Name, err)
	}
	return n, nil
}

// allow is what the preflight lets pass, in words that it knows. The CVEs are cut short, since the state keeps them for every node.
func (a *Args) allow() string {
	var words []string
	for _, id := range a.Fixes {
		words = append(words, strings.TrimPrefix(id, "CVE-20"))
	}
	if a.MinorUpgrade {
		words = append(words, "minor")
	}
	if a.Version == "" {
		// The packaged containerd is restarted without a reload.
		return strings.Join(append(words, "gpu"), " ")
	}
	return strings.Join(append(words, a.allowGPU()...), " ")
}

func (a *Args) allowGPU() []string {
	if a.ReloadWithGPU {
		return []string{"gpu"}
	}
	return nil
}

// Anchor is what everything that changes the node depends on.
func (n *Node) Anchor() pulumi.Resource { return n.anchor }

// Name is the node's name in Kubernetes.
func (n *Node) Name() string { return n.args.Name }

// options are common to all resources of the node. A retired one is kept in the state as it stands and forgotten without a dial.
func (n *Node) options(more ...pulumi.ResourceOption) []pulumi.ResourceOption {
	opts := append([]pulumi.ResourceOption{pulumi.Parent(n)}, more...)
	if n.args.Retired {
		opts = append(opts, pulumi.RetainOnDelete(true), pulumi.IgnoreChanges([]string{"*"}))
	}
	return opts
}
