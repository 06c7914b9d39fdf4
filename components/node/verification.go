package node

import (
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// pullDeadline bounds the pull that proves a node, in seconds. A Job ends there; a bare Pod that cannot pull is waited for without end.
const pullDeadline = 90

// pullSecretVolume holds the credentials of the pull.
const pullSecretVolume = "pull-secret"

// VerificationArgs describes the pull that proves a node.
type VerificationArgs struct {
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
// credentials changed, and a Job that failed is replaced by the next up.
func (n *Node) addVerification(ctx *pulumi.Context, args *VerificationArgs, containerd pulumi.Resource) (*batchv1.Job, error) {
	opts := append([]pulumi.ResourceOption{
		pulumi.DependsOn(append([]pulumi.Resource{containerd}, args.After...)),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "3m", Update: "3m", Delete: "2m"}),
	}, args.Options...)
	job, err := batchv1.NewJob(ctx, n.name+"-verify", &batchv1.JobArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Namespace: args.Namespace,
			Annotations: pulumi.StringMap{
				"pulumi.com/replaceUnready": pulumi.String("true"),
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
	if err != nil {
		return nil, err
	}
	return job, nil
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
