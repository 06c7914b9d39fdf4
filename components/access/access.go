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

// NamePort is what containerd dials for a name without a port.
const NamePort = 443

// Mode is one of the ways from the name to the registry.
type Mode string

const (
	// Patch has nodes run a containerd that dials the NodePort for the registry's name.
	Patch Mode = "patch"
	// Mirror leads the packaged containerd to the NodePort by an entry of certs.d.
	Mirror Mode = "mirror"
	// ClusterIP leads the name to a fixed address of the cluster that serves port 443.
	ClusterIP Mode = "cluster-ip"
	// PortRange has every node serve the registry on port 443 itself, which the API servers must take for a NodePort.
	PortRange Mode = "port-range"
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
	case PortRange:
		return "not recommended: the API server of each control-plane node is restarted with a --service-node-port-range down to 443, " +
			"and any Service may then take a port that a node itself listens on; " + packaged + ", which dials port 443 of its own node; " +
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
	// After is what must be there first: the registry, and for mode PortRange the API servers that take NamePort.
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
	var err error
	switch args.Mode {
	case ClusterIP:
		err = a.serveAddress(ctx, name, args)
	case PortRange:
		err = a.serveNamePort(ctx, name, args)
	case Patch, Mirror:
	}
	if err != nil {
		return nil, fmt.Errorf("describing the Service of access %s: %w", name, err)
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{"mode": pulumi.String(args.Mode)})
}

// serveAddress names the Service by its address, which cannot be changed: another one is added first, and the old one dropped last.
func (a *Access) serveAddress(ctx *pulumi.Context, name string, args *Args) error {
	spelt := strings.NewReplacer(".", "-", ":", "-").Replace(args.ClusterIP)
	port := func(name string, number int) *corev1.ServicePortArgs {
		return &corev1.ServicePortArgs{Name: pulumi.String(name), Port: pulumi.Int(number), TargetPort: pulumi.Int(args.TargetPort)}
	}
	return a.createService(ctx, name+"-service-"+spelt, "docker-registry-ip-"+spelt, args, &corev1.ServiceSpecArgs{
		Type:      pulumi.String("ClusterIP"),
		ClusterIP: pulumi.String(args.ClusterIP),
		Selector:  args.Selector,
		Ports:     corev1.ServicePortArray{port("https", NamePort), port("https-nodeport", args.NodePort)},
	})
}

// serveNamePort adds a Service to the registry's own, whose NodePort stays for pushes, and for nodes that still take another mode's road.
func (a *Access) serveNamePort(ctx *pulumi.Context, name string, args *Args) error {
	return a.createService(ctx, fmt.Sprintf("%s-service-%d", name, NamePort), fmt.Sprintf("docker-registry-%d", NamePort), args,
		&corev1.ServiceSpecArgs{
			Type:     pulumi.String("NodePort"),
			Selector: args.Selector,
			Ports: corev1.ServicePortArray{&corev1.ServicePortArgs{
				Name:       pulumi.String("https"),
				Port:       pulumi.Int(NamePort),
				TargetPort: pulumi.Int(args.TargetPort),
				NodePort:   pulumi.Int(NamePort),
			}},
		})
}

func (a *Access) createService(ctx *pulumi.Context, resource, name string, args *Args, spec *corev1.ServiceSpecArgs) error {
	opts := append([]pulumi.ResourceOption{pulumi.Parent(a), pulumi.DependsOn(args.After)}, args.Options...)
	service, err := corev1.NewService(ctx, resource, &corev1.ServiceArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: args.Namespace, Labels: args.Selector},
		Spec:     spec,
	}, opts...)
	if err != nil {
		return err
	}
	a.served = append(a.served, service)
	return nil
}
