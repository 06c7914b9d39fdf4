package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/local"
)

// secrets are what the Deployment mounts, with a checksum of all of it.
type secrets struct {
	tls, auth *corev1.Secret
	checksum  pulumi.StringOutput
}

func (r *Registry) createSecrets(ctx *pulumi.Context, name string, args *Args) (*secrets, error) {
	// bcrypt salts anew at every call; as a resource the hash is made once and kept until the password changes.
	htpasswd, err := local.NewProgram(ctx, name+"-htpasswd", &local.ProgramArgs{
		Package: "./components/registry/cmd/htpasswd",
		Summary: "hash the password of " + args.Username,
		Input:   pulumi.StringMap{"username": pulumi.String(args.Username), "password": pulumi.String(args.Password)},
		Secret:  true,
	}, pulumi.Parent(r))
	if err != nil {
		return nil, err
	}
	tlsSecret, err := r.newSecret(ctx, name+"-tls", appName+"-tls", "kubernetes.io/tls", pulumi.StringMap{
		"tls.crt": args.Cert, "tls.key": args.Key,
	}, args.After)
	if err != nil {
		return nil, err
	}
	// Uploads that a restart interrupts go on afterwards only where this secret is the same; it is derived, so that nothing more must be kept.
	httpSecret := args.Key.ToStringOutput().ApplyT(func(key string) string { return digest("http secret", key) }).(pulumi.StringOutput)
	auth, err := r.newSecret(ctx, name+"-auth", appName+"-auth", "Opaque", pulumi.StringMap{
		"htpasswd": htpasswd.Stdout, "httpSecret": pulumi.ToSecret(httpSecret).(pulumi.StringOutput),
	}, args.After)
	if err != nil {
		return nil, err
	}
	r.Credentials = pulumi.Unsecret(htpasswd.Stdout.ApplyT(func(line string) string {
		return digest(line)
	})).(pulumi.StringOutput)
	checksum := pulumi.All(args.Cert, args.Key, htpasswd.Stdout).ApplyT(func(v []any) string {
		return digest(v[0].(string), v[1].(string), v[2].(string))
	})
	return &secrets{tls: tlsSecret, auth: auth, checksum: pulumi.Unsecret(checksum).(pulumi.StringOutput)}, nil
}

// createPullSecrets gives the registry's namespace and the listed ones the credentials, for each name with and without the port.
func (r *Registry) createPullSecrets(ctx *pulumi.Context, name string, args *Args, deployment pulumi.Resource) error {
	config, err := dockerConfig(args)
	if err != nil {
		return err
	}
	namespaces := map[string]pulumi.StringInput{args.Namespace: r.Namespace}
	for _, namespace := range args.PullSecrets {
		if _, own := namespaces[namespace]; !own {
			namespaces[namespace] = pulumi.String(namespace)
		}
	}
	for namespace, input := range namespaces {
		secret, err := corev1.NewSecret(ctx, name+"-pull-"+namespace, &corev1.SecretArgs{
			Metadata:   &metav1.ObjectMetaArgs{Name: pulumi.String(PullSecretName), Namespace: input, Labels: labels()},
			Type:       pulumi.String("kubernetes.io/dockerconfigjson"),
			StringData: pulumi.ToSecret(pulumi.StringMap{".dockerconfigjson": pulumi.String(config)}).(pulumi.StringMapOutput),
		}, pulumi.Parent(r), pulumi.DependsOn(append([]pulumi.Resource{deployment}, args.After...)))
		if err != nil {
			return err
		}
		r.served = append(r.served, secret)
	}
	return nil
}

func dockerConfig(args *Args) (string, error) {
	login := map[string]string{
		"username": args.Username,
		"password": args.Password,
		"auth":     base64.StdEncoding.EncodeToString([]byte(args.Username + ":" + args.Password)),
	}
	auths := map[string]any{}
	for _, name := range args.Names {
		auths[name] = login
		auths[name+":"+strconv.Itoa(args.NodePort)] = login
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return "", fmt.Errorf("encoding the pull secret: %w", err)
	}
	return string(text), nil
}

func (r *Registry) newSecret(
	ctx *pulumi.Context, resource, name, kind string, data pulumi.StringMap, after []pulumi.Resource,
) (*corev1.Secret, error) {
	return corev1.NewSecret(ctx, resource, &corev1.SecretArgs{
		Metadata:   r.metadata(name),
		Type:       pulumi.String(kind),
		StringData: pulumi.ToSecret(data).(pulumi.StringMapOutput),
	}, pulumi.Parent(r), pulumi.DependsOn(after))
}
