package access

import (
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/local"
)

// KubeadmArgs is what it takes to have kubeadm know of the range of NodePorts.
type KubeadmArgs struct {
	// Kubeconfig is the content of a kubeconfig, a secret, and Context the name of a context in it.
	Kubeconfig, Context string
	// Stack is who writes: what another stack has written is left alone.
	Stack string
	// After are the API servers, which have the range before kubeadm knows of it, and lose it after kubeadm has forgotten it.
	After []pulumi.Resource
}

// TellKubeadm writes the range that mode PortRange needs where kubeadm takes it from when it writes the API servers' manifests anew, and
// has that taken back at the end. A destroy runs no program of the graph, so what it needs is in the state.
func TellKubeadm(ctx *pulumi.Context, name string, args *KubeadmArgs, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	program, err := local.NewProgram(ctx, name, &local.ProgramArgs{
		Package: "./components/kubeadm/cmd/portrange",
		Summary: fmt.Sprintf("widen the range of NodePorts to %d in ConfigMap kubeadm-config", NamePort),
		Delete:  "restore the range of NodePorts in ConfigMap kubeadm-config",
		Input: pulumi.StringMap{
			"kubeconfig": pulumi.String(args.Kubeconfig), "context": pulumi.String(args.Context), "stack": pulumi.String(args.Stack),
			"port": pulumi.String(strconv.Itoa(NamePort)),
		},
		Secret: true,
	}, append(opts, pulumi.DependsOn(args.After))...)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", name, err)
	}
	return program, nil
}
