// Package access is how a node comes from the registry's name, which has no port, to the registry: the modes, and what each of them
// needs in the cluster.
package access

import (
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// namePort is what containerd dials for a name without a port.
const namePort = 443

// Mode is one of the ways from the name to the registry.
type Mode string

const (
	// Patch has nodes run a containerd that dials the NodePort for the registry's name.
	Patch Mode = "patch"
	// Mirror leads the packaged containerd to the NodePort by an entry of certs.d.
	Mirror Mode = "mirror"
	// ClusterIP leads the name to a fixed address of the cluster that serves port 443.
	ClusterIP Mode = "cluster-ip"
)

// Patched says whether nodes run a containerd of berth's; in other modes they keep that of their package.
func (m Mode) Patched() bool { return m == Patch }

// OnNodes tells what the mode changes on a node, for whoever reads a preview.
func (m Mode) OnNodes() string {
	const packaged = "nodes run the containerd of their package"
	switch m {
	case Mirror:
		return packaged + ", which an entry in certs.d leads to the NodePort; it is restarted where config_path is missing, or a patched one runs"
	case ClusterIP:
		return packaged + ", and /etc/hosts leads the name to an address of the cluster; " +
			"it is restarted where it does not know the CA, or a patched one runs"
	case Patch:
	}
	return "nodes run a patched containerd, which dials the NodePort for the registry's name; it is restarted in waves"
}

// Args describes what a mode gets from the registry.
type Args struct {
	Mode Mode
	// ClusterIP is the address of the Service, for mode ClusterIP.
	ClusterIP string
	// NodePort is where every node serves the registry. The address serves it, too: who comes to it by another mode's road, while nodes
	// change from one to the other, is not turned away.
	NodePort int
	// Namespace is where the registry runs. Selector finds its pods, which listen on TargetPort.
	Namespace  pulumi.StringInput
	Selector   pulumi.StringMap
	TargetPort int
	// After is what must be there first: the registry.
	After []pulumi.Resource
	// Options are for what lives in the registry's namespace.
	Options []pulumi.ResourceOption
}

// Access is what a mode has in the cluster.
type Access struct {
	pulumi.ResourceState

	served []pulumi.Resource
}

// Served is what must stand before a node takes the mode's road; empty where the registry's own Service is all.
func (a *Access) Served() []pulumi.Resource { return a.served }

// New puts the mode's part in the cluster into the graph. When the mode changes, Pulumi takes the old one's part away after all nodes have
// left it.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Access, error) {
	a := &Access{}
	if err := ctx.RegisterComponentResource("berth:access:Access", name, a, opts...); err != nil {
		return nil, fmt.Errorf("registering access %s: %w", name, err)
	}
	if args.Mode == ClusterIP {
		if err := a.createService(ctx, name, args); err != nil {
			return nil, fmt.Errorf("describing the Service of access %s: %w", name, err)
		}
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{"mode": pulumi.String(args.Mode)})
}

// createService names the Service by its address, which cannot be changed: another one is added first, and the old one dropped last.
func (a *Access) createService(ctx *pulumi.Context, name string, args *Args) error {
	spelt := strings.NewReplacer(".", "-", ":", "-").Replace(args.ClusterIP)
	opts := append([]pulumi.ResourceOption{pulumi.Parent(a), pulumi.DependsOn(args.After)}, args.Options...)
	port := func(name string, number int) *corev1.ServicePortArgs {
		return &corev1.ServicePortArgs{Name: pulumi.String(name), Port: pulumi.Int(number), TargetPort: pulumi.Int(args.TargetPort)}
	}
	service, err := corev1.NewService(ctx, name+"-service-"+spelt, &corev1.ServiceArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name: pulumi.String("docker-registry-ip-" + spelt), Namespace: args.Namespace, Labels: args.Selector,
		},
		Spec: &corev1.ServiceSpecArgs{
			Type:      pulumi.String("ClusterIP"),
			ClusterIP: pulumi.String(args.ClusterIP),
			Selector:  args.Selector,
			Ports:     corev1.ServicePortArray{port("https", namePort), port("https-nodeport", args.NodePort)},
		},
	}, opts...)
	if err != nil {
		return err
	}
	a.served = append(a.served, service)
	return nil
}
