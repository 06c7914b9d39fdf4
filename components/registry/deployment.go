package registry

import (
	_ "embed"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// config is the registry's own: the images of 3.x ship one that logs debug and opens another port.
//
//go:embed config.yml
var config string

const (
	configPath = "/etc/berth"
	certsPath  = "/certs"
	authPath   = "/auth"
	// dataPath is the root of the storage driver in config.yml; what is written elsewhere dies with the pod.
	dataPath = "/var/lib/registry"
)

func (r *Registry) createDeployment(
	ctx *pulumi.Context, name string, args *Args, secrets *secrets, after []pulumi.Resource,
) (*appsv1.Deployment, error) {
	configMap, err := corev1.NewConfigMap(ctx, name+"-config", &corev1.ConfigMapArgs{
		Metadata: r.metadata(appName + "-config"),
		Data:     pulumi.StringMap{"config.yml": pulumi.String(config)},
	}, pulumi.Parent(r), pulumi.DependsOn(args.After))
	if err != nil {
		return nil, err
	}
	return appsv1.NewDeployment(ctx, name+"-deployment", &appsv1.DeploymentArgs{
		Metadata: r.metadata(appName),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Selector: &metav1.LabelSelectorArgs{MatchLabels: labels()},
			// One writer at a time on the images' folder.
			Strategy: &appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")},
			// Long enough to pull the image over a slow line, short enough to say that something is wrong.
			ProgressDeadlineSeconds: pulumi.Int(180),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{
					Labels: labels(),
					Annotations: pulumi.StringMap{
						// The registry reads its certificate once: a change of any of it rolls the pod.
						"berth/checksum": pulumi.Sprintf("%s-%s", secrets.checksum, digest(config)),
					},
				},
				Spec: r.podSpec(args, configMap, secrets),
			},
		},
	}, pulumi.Parent(r), pulumi.DependsOn(after), pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "5m", Update: "5m", Delete: "3m"}))
}

func (r *Registry) podSpec(args *Args, configMap *corev1.ConfigMap, secrets *secrets) *corev1.PodSpecArgs {
	return &corev1.PodSpecArgs{
		NodeSelector:                 pulumi.StringMap{"kubernetes.io/hostname": pulumi.String(args.Node)},
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		// The registry's node may be a control-plane node.
		Tolerations: corev1.TolerationArray{&corev1.TolerationArgs{
			Key:      pulumi.String("node-role.kubernetes.io/control-plane"),
			Operator: pulumi.String("Exists"),
			Effect:   pulumi.String("NoSchedule"),
		}},
		Containers: corev1.ContainerArray{container(args)},
		Volumes: corev1.VolumeArray{
			&corev1.VolumeArgs{Name: pulumi.String("images"), HostPath: &corev1.HostPathVolumeSourceArgs{
				Path: pulumi.String(args.ImagesPath), Type: pulumi.String("DirectoryOrCreate"),
			}},
			&corev1.VolumeArgs{Name: pulumi.String("config"), ConfigMap: &corev1.ConfigMapVolumeSourceArgs{
				Name: configMap.Metadata.Name(),
			}},
			secretVolume("certs", secrets.tls),
			secretVolume("auth", secrets.auth),
		},
	}
}

func container(args *Args) *corev1.ContainerArgs {
	return &corev1.ContainerArgs{
		Name:            pulumi.String("registry"),
		Image:           pulumi.String(args.Image),
		ImagePullPolicy: pulumi.String("IfNotPresent"),
		Command:         pulumi.ToStringArray([]string{"registry", "serve", configPath + "/config.yml"}),
		Env: corev1.EnvVarArray{
			&corev1.EnvVarArgs{Name: pulumi.String("OTEL_TRACES_EXPORTER"), Value: pulumi.String("none")},
			&corev1.EnvVarArgs{Name: pulumi.String("REGISTRY_HTTP_SECRET"), ValueFrom: &corev1.EnvVarSourceArgs{
				SecretKeyRef: &corev1.SecretKeySelectorArgs{Name: pulumi.String(appName + "-auth"), Key: pulumi.String("httpSecret")},
			}},
		},
		Ports: corev1.ContainerPortArray{&corev1.ContainerPortArgs{ContainerPort: pulumi.Int(ContainerPort)}},
		// "/" answers without credentials on every release; "/v2/" asks for them.
		ReadinessProbe: &corev1.ProbeArgs{
			HttpGet: &corev1.HTTPGetActionArgs{
				Path: pulumi.String("/"), Port: pulumi.Int(ContainerPort), Scheme: pulumi.String("HTTPS"),
			},
			PeriodSeconds: pulumi.Int(2),
		},
		LivenessProbe: &corev1.ProbeArgs{
			TcpSocket:           &corev1.TCPSocketActionArgs{Port: pulumi.Int(ContainerPort)},
			InitialDelaySeconds: pulumi.Int(10),
		},
		// No limit on CPU: every request verifies a bcrypt hash, and a throttled registry fails pulls.
		Resources: &corev1.ResourceRequirementsArgs{
			Requests: pulumi.ToStringMap(map[string]string{"cpu": "100m", "memory": "64Mi"}),
			Limits:   pulumi.ToStringMap(map[string]string{"memory": "512Mi"}),
		},
		SecurityContext: &corev1.SecurityContextArgs{
			AllowPrivilegeEscalation: pulumi.Bool(false),
			ReadOnlyRootFilesystem:   pulumi.Bool(true),
			Capabilities:             &corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
		},
		VolumeMounts: corev1.VolumeMountArray{
			mount("images", dataPath, false),
			mount("config", configPath, true),
			mount("certs", certsPath, true),
			mount("auth", authPath, true),
		},
	}
}

func mount(name, path string, readOnly bool) *corev1.VolumeMountArgs {
	return &corev1.VolumeMountArgs{
		Name: pulumi.String(name), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(readOnly),
	}
}

func secretVolume(name string, secret *corev1.Secret) *corev1.VolumeArgs {
	return &corev1.VolumeArgs{Name: pulumi.String(name), Secret: &corev1.SecretVolumeSourceArgs{SecretName: secret.Metadata.Name()}}
}
