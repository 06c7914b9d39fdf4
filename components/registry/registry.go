// Package registry runs the OCI registry inside the cluster: its namespace, secrets, Deployment on the node that keeps the images,
// and the NodePort Service that every node pulls from.
package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/remote"
)

const (
	appName = "docker-registry"
	// OwnNamespace is the one namespace that berth creates and deletes; any other belongs to somebody and is used as it is.
	OwnNamespace = "berth-registry"
	// ContainerPort is what the registry listens on inside its pod.
	ContainerPort = 8443
	// servicePort is the port without a name: tools inside pods that use the Service need no port either.
	servicePort = 443
	// PullSecretName is the imagePullSecret in every namespace that gets one.
	PullSecretName = "berth-pull"
)

// Args describes the registry.
type Args struct {
	// Names are the registry's names in image references.
	Names []string
	// NodePort is where every node serves it, within the cluster's NodePort range.
	NodePort int
	// Namespace holds everything; it must exist unless it is OwnNamespace.
	Namespace string
	// Node is the Kubernetes node whose disk keeps the images.
	Node string
	// Connection reaches that node; used where Archive is given.
	Connection remote.Connection
	// After is what must be in the graph before that node is touched, and anything of the registry is in the cluster: its anchor.
	// Creation takes over objects that exist. Where the node refuses, since it belongs to another stack, the objects are that
	// stack's too, and a destroy of this one would delete them. Besides, whatever restarts API servers.
	After []pulumi.Resource
	// Owner is the token of that node ("stack/node").
	Owner string
	// Image is the registry's own image.
	Image string
	// Archive is an OCI or docker archive of Image on the operator's machine; empty pulls it as the cluster pulls today.
	Archive string
	// ImagesPath is the folder on the node that keeps the images; it survives the registry and berth.
	ImagesPath string
	// Username and Password open the registry. The password is a secret.
	Username, Password string
	// PullSecrets are namespaces that get the imagePullSecret.
	PullSecrets []string
	// Cert and Key are the server's certificate and key as PEM.
	Cert, Key pulumi.StringInput
}

// Registry is the running registry.
type Registry struct {
	pulumi.ResourceState

	// Namespace is where it runs; dependents in it wait for its creation.
	Namespace pulumi.StringOutput `pulumi:"namespace"`
	// Credentials is a digest of the credentials in force: it changes when they do and tells nothing of them.
	Credentials pulumi.StringOutput `pulumi:"credentials"`

	namespace *corev1.Namespace
	served    []pulumi.Resource
}

// Served is what must stand before somebody pulls: the Service and the pull secrets. Dependents name these instead of the component,
// which stands only for those of its children whose registration happens to have begun.
func (r *Registry) Served() []pulumi.Resource { return r.served }

// DeletedWith is the option for what lives in the registry's namespace: where that goes as a whole, its content needs no deletion of its own.
func (r *Registry) DeletedWith() []pulumi.ResourceOption {
	if r.namespace == nil {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.DeletedWith(r.namespace)}
}

// New creates the registry; it is ready when the registry answers over TLS and the NodePort is there.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Registry, error) {
	r := &Registry{}
	if err := ctx.RegisterComponentResource("berth:registry:Registry", name, r, opts...); err != nil {
		return nil, fmt.Errorf("registering registry %s: %w", name, err)
	}
	if err := r.create(ctx, name, args); err != nil {
		return nil, fmt.Errorf("describing registry %s: %w", name, err)
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"namespace": r.Namespace, "credentials": r.Credentials})
}

func (r *Registry) create(ctx *pulumi.Context, name string, args *Args) error {
	if err := r.createNamespace(ctx, name, args); err != nil {
		return err
	}
	imported, err := r.importImage(ctx, name, args)
	if err != nil {
		return err
	}
	secrets, err := r.createSecrets(ctx, name, args)
	if err != nil {
		return err
	}
	deployment, err := r.createDeployment(ctx, name, args, secrets, append(imported, args.After...))
	if err != nil {
		return err
	}
	if err := r.createService(ctx, name, args, deployment); err != nil {
		return err
	}
	// The pull secrets come after the Deployment: a new password reaches the pods that pull when the registry knows it.
	return r.createPullSecrets(ctx, name, args, deployment)
}

func (r *Registry) createNamespace(ctx *pulumi.Context, name string, args *Args) error {
	r.Namespace = pulumi.String(args.Namespace).ToStringOutput()
	if args.Namespace != OwnNamespace {
		return nil
	}
	ns, err := corev1.NewNamespace(ctx, name+"-namespace", &corev1.NamespaceArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name: pulumi.String(args.Namespace),
			// The images are on a hostPath, which the stricter levels forbid.
			Labels: pulumi.StringMap{"pod-security.kubernetes.io/enforce": pulumi.String("privileged")},
		},
	}, pulumi.Parent(r), pulumi.DependsOn(args.After))
	if err != nil {
		return err
	}
	r.namespace = ns
	r.Namespace = ns.Metadata.Name().Elem()
	return nil
}

// createService names the Service by its port, so that a change of the port adds the new one first and drops the old one last,
// when every node dials the new.
func (r *Registry) createService(ctx *pulumi.Context, name string, args *Args, deployment pulumi.Resource) error {
	service, err := corev1.NewService(ctx, name+"-service", &corev1.ServiceArgs{
		Metadata: r.metadata(fmt.Sprintf("%s-%d", appName, args.NodePort)),
		Spec: &corev1.ServiceSpecArgs{
			Type:     pulumi.String("NodePort"),
			Selector: labels(),
			Ports: corev1.ServicePortArray{&corev1.ServicePortArgs{
				Name:       pulumi.String("https"),
				Port:       pulumi.Int(servicePort),
				TargetPort: pulumi.Int(ContainerPort),
				NodePort:   pulumi.Int(args.NodePort),
			}},
		},
	}, pulumi.Parent(r), pulumi.DependsOn(append([]pulumi.Resource{deployment}, args.After...)))
	if err != nil {
		return err
	}
	r.served = append(r.served, service)
	return nil
}

func (r *Registry) metadata(name string) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: r.Namespace, Labels: labels()}
}

// Labels are those of the registry's pod, among others.
func Labels() map[string]string { return map[string]string{"app": appName} }

// Selector finds the registry's pods.
func (r *Registry) Selector() pulumi.StringMap { return labels() }

func labels() pulumi.StringMap { return pulumi.ToStringMap(Labels()) }

// digest is a short fingerprint of texts, for annotations and names; of a secret it tells nothing useful.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
