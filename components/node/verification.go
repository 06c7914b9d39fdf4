package node

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/verification"
)

// pullDeadline bounds the pull that proves a node, in seconds: the Job ends there.
const pullDeadline = 90

// pullSecretVolume holds the credentials of the pull.
const pullSecretVolume = "pull-secret"

// Verifier has a kubelet pull.
type Verifier interface {
	// Verify applies a Job, which is given as JSON, and returns when its pod has pulled, with verification.PulledAnnotation on it. A Job
	// that did not pull it deletes again.
	Verify(ctx context.Context, job []byte) error
}

// VerificationArgs describes the pull that proves a node.
type VerificationArgs struct {
	// Verifier does it.
	Verifier Verifier
	// Namespace is where the Job runs; its imagePullSecret is PullSecret.
	Namespace  pulumi.StringInput
	PullSecret string
	// Images are references of one image by each plain name of the registry. Their tag changes with everything that a pull depends on
	// (certificate, port, credentials), and with the tag a layer that the node has not yet.
	Images []pulumi.StringInput
	// After is what the cluster must have gone through before it is asked for a Job, and through again only when the Job is gone.
	After []pulumi.Resource
	// Options carry the Kubernetes provider and, where the namespace goes too, DeletedWith.
	Options []pulumi.ResourceOption
}

// addVerification pulls through the kubelet by each plain name. It runs again whenever the node, the certificate, the port or the
// credentials changed.
//
// The pull is a hook that Pulumi calls in this program before it creates the Job: the Verifier applies the very object, and sees it pull.
// Pulumi then applies it once more under the same owner of fields, so that it stays, and takes it into the state with what was
// written on it. Its own wait would be for the Job's completion, which takes three seconds longer, and one by a hook behind the
// creation could not fail. So a Job that did not pull is in no state, and the next up makes another one.
func (n *Node) addVerification(ctx *pulumi.Context, args *VerificationArgs, containerd pulumi.Resource) (*batchv1.Job, error) {
	hook, err := ctx.RegisterResourceHook(n.name+"-verify", func(hook *pulumi.ResourceHookArgs) error {
		job, err := json.Marshal(hook.NewInputs.MapRepl(nil, revealed))
		if err != nil {
			return fmt.Errorf("encoding the Job: %w", err)
		}
		return args.Verifier.Verify(ctx.Context(), job)
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("describing the pull: %w", err)
	}
	opts := append([]pulumi.ResourceOption{
		pulumi.DependsOn(append([]pulumi.Resource{containerd}, args.After...)),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: "2m"}),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeCreate: []*pulumi.ResourceHook{hook}}),
	}, args.Options...)
	return batchv1.NewJob(ctx, n.name+"-verify", &batchv1.JobArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Namespace: args.Namespace,
			Annotations: pulumi.StringMap{
				"pulumi.com/skipAwait":         pulumi.String("true"),
				"pulumi.com/patchFieldManager": pulumi.String(verification.FieldManager),
				// A pod on a machine that died may never be reported gone: the Job does not wait for it.
				"pulumi.com/deletionPropagationPolicy": pulumi.String("background"),
			},
			Labels: verificationLabels(),
		},
		Spec: &batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(0),
			ActiveDeadlineSeconds: pulumi.Int(pullDeadline),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: verificationLabels()},
				Spec:     n.verificationPod(args),
			},
		},
	}, n.options(opts...)...)
}

// revealed takes a value out of its secrecy, for the API server.
func revealed(v resource.PropertyValue) (any, bool) {
	if v.IsSecret() {
		return v.SecretValue().Element.MapRepl(nil, revealed), true
	}
	return nil, false
}

func (n *Node) verificationPod(args *VerificationArgs) *corev1.PodSpecArgs {
	return &corev1.PodSpecArgs{
		// nodeName goes past cordons; what must be tolerated besides is tolerated.
		NodeName:                     pulumi.String(n.args.Name),
		Tolerations:                  corev1.TolerationArray{&corev1.TolerationArgs{Operator: pulumi.String("Exists")}},
		RestartPolicy:                pulumi.String("Never"),
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		ImagePullSecrets:             corev1.LocalObjectReferenceArray{&corev1.LocalObjectReferenceArgs{Name: pulumi.String(args.PullSecret)}},
		SecurityContext: &corev1.PodSecurityContextArgs{
			RunAsNonRoot:   pulumi.Bool(true),
			RunAsUser:      pulumi.Int(65534),
			SeccompProfile: &corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
		},
		Containers: n.verificationContainers(args.Images),
		// The kubelet waits for a volume's secret, but pulls without one that it has not got within a second, as on a busy cluster, and tries
		// again after ten. The container cannot read it.
		Volumes: corev1.VolumeArray{&corev1.VolumeArgs{
			Name:   pulumi.String(pullSecretVolume),
			Secret: &corev1.SecretVolumeSourceArgs{SecretName: pulumi.String(args.PullSecret), DefaultMode: pulumi.Int(0o400)},
		}},
	}
}

// verificationContainers are one for each reference. The kubelet resolves every one of them at the registry, by its name; the layers,
// which are the same, are fetched by whichever comes first.
func (n *Node) verificationContainers(images []pulumi.StringInput) corev1.ContainerArray {
	containers := make(corev1.ContainerArray, len(images))
	for i, image := range images {
		containers[i] = &corev1.ContainerArgs{
			Name:            pulumi.Sprintf("verify-%d", i),
			Image:           image,
			ImagePullPolicy: pulumi.String("Always"),
			Env: corev1.EnvVarArray{
				// What the node reported: another line asks for another pull.
				&corev1.EnvVarArgs{Name: pulumi.String("BERTH_NODE"), Value: n.Result},
				// Another machine under the node's name may report the same line.
				&corev1.EnvVarArgs{Name: pulumi.String("BERTH_MACHINE"), Value: pulumi.String(n.args.InternalIP + " " + n.args.Connection.HostKey)},
			},
			VolumeMounts: corev1.VolumeMountArray{&corev1.VolumeMountArgs{
				Name: pulumi.String(pullSecretVolume), MountPath: pulumi.String("/" + pullSecretVolume), ReadOnly: pulumi.Bool(true),
			}},
			SecurityContext: &corev1.SecurityContextArgs{
				AllowPrivilegeEscalation: pulumi.Bool(false),
				Capabilities:             &corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
			},
		}
	}
	return containers
}

func verificationLabels() pulumi.StringMap {
	return pulumi.StringMap{"app": pulumi.String("berth-verify")}
}
