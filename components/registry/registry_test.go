package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/remote"
	"berth/internal/graphtest"
)

const hash = "Yuan:$2a$10$abcdefghijklmnopqrstuv"

func create(t *testing.T, edit func(*Args)) *graphtest.Graph {
	t.Helper()
	args := Args{
		Names: []string{"Yuan.com"}, NodePort: 30443, Namespace: OwnNamespace, Node: "master1", Owner: "test/master1",
		Connection: remote.Connection{Host: "10.0.0.11", Port: 22, User: "root", HostKey: "ssh-ed25519 AAAA", PrivateKey: "key"},
		Image:      "docker.io/library/registry:3.1.2", ImagesPath: "/var/lib/berth-registry",
		Username: "Yuan", Password: "Abcd123456", PullSecrets: []string{"default"},
		Cert: pulumi.String("cert"), Key: pulumi.ToSecret(pulumi.String("key")).(pulumi.StringOutput),
	}
	edit(&args)
	g, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
		anchor, err := remote.NewCommand(ctx, "anchor", &remote.CommandArgs{Connection: args.Connection, Run: "preflight"})
		if err != nil {
			return err
		}
		args.After = []pulumi.Resource{anchor}
		_, err = New(ctx, "registry", &args)
		return err
	}, nil, func(r graphtest.Resource) resource.PropertyMap {
		if r.Type == "command:local:Command" {
			return resource.PropertyMap{"stdout": resource.NewStringProperty(hash)}
		}
		return nil
	})
	require.NoError(t, err)
	return g
}

func checksum(g *graphtest.Graph) string {
	return g.Get("registry-deployment").Input("spec", "template", "metadata", "annotations", "berth/checksum").StringValue()
}

func TestOnlyOwnNamespaceIsCreated(t *testing.T) {
	t.Parallel()
	assert.Len(t, create(t, func(*Args) {}).OfType("kubernetes:core/v1:Namespace"), 1)
	theirs := create(t, func(a *Args) { a.Namespace = "default" })
	assert.Empty(t, theirs.OfType("kubernetes:core/v1:Namespace"), "a namespace of somebody else would go with the next destroy")
	assert.Equal(t, "default", theirs.Get("registry-deployment").Input("metadata", "namespace").StringValue())
}

func TestCertificateRollsThePod(t *testing.T) {
	t.Parallel()
	before := create(t, func(*Args) {})
	renewed := create(t, func(a *Args) { a.Cert = pulumi.String("renewed") })
	moved := create(t, func(a *Args) { a.NodePort = 30444 })
	assert.NotEqual(t, checksum(before), checksum(renewed))
	assert.Equal(t, checksum(before), checksum(moved), "another port leaves the registry running")
	assert.Equal(t, "Recreate", before.Get("registry-deployment").Input("spec", "strategy", "type").StringValue())
}

func TestPullSecretOpensEveryName(t *testing.T) {
	t.Parallel()
	g := create(t, func(a *Args) { a.Names = []string{"images.example.com", "Yuan.com"} })
	for _, namespace := range []string{OwnNamespace, "default"} {
		secret := g.Get("registry-pull-" + namespace)
		assert.True(t, secret.DependsOn("registry-deployment"), "a new password reaches the pods that pull when the registry knows it")
		var config struct {
			Auths map[string]struct{ Username, Password string }
		}
		text := secret.Input("stringData", ".dockerconfigjson").StringValue()
		require.NoError(t, json.Unmarshal([]byte(text), &config))
		assert.Len(t, config.Auths, 4)
		for _, name := range []string{"Yuan.com", "Yuan.com:30443", "images.example.com", "images.example.com:30443"} {
			assert.Equal(t, "Yuan", config.Auths[name].Username)
			assert.Equal(t, "Abcd123456", config.Auths[name].Password)
		}
	}
}

func TestImagesAreWhereTheRegistryWritesThem(t *testing.T) {
	t.Parallel()
	pod := create(t, func(*Args) {}).Get("registry-deployment").Input("spec", "template", "spec").ObjectValue()
	mounts := pod["containers"].ArrayValue()[0].ObjectValue()["volumeMounts"].ArrayValue()
	assert.Equal(t, "/var/lib/registry", mounts[0].ObjectValue()["mountPath"].StringValue())
	assert.Contains(t, config, "rootdirectory: "+dataPath)
	assert.Contains(t, config, "certificate: "+certsPath+"/tls.crt")
	assert.Contains(t, config, "path: "+authPath+"/htpasswd")
}

func TestArchiveIsImportedBeforeTheDeployment(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "registry.tar")
	require.NoError(t, os.WriteFile(archive, []byte("an archive"), 0o600))
	g := create(t, func(a *Args) { a.Archive = archive })
	assert.True(t, g.Get("registry-image-import").DependsOn("registry-image-upload"))
	assert.True(t, g.Get("registry-deployment").DependsOn("registry-image-import"))
	assert.Len(t, create(t, func(*Args) {}).OfType("command:remote:Command"), 1, "without an archive the cluster pulls as it does")
}

// Another stack that the node refuses must not take over this one's objects, to delete them with its own destroy.
func TestNothingIsInTheClusterBeforeTheAnchor(t *testing.T) {
	t.Parallel()
	for _, namespace := range []string{OwnNamespace, "default"} {
		g := create(t, func(a *Args) { a.Namespace = namespace })
		objects := 0
		for _, r := range g.All() {
			if strings.HasPrefix(r.Type, "kubernetes:") {
				objects++
				assert.True(t, r.DependsOn("anchor") || r.DependsOn("registry-deployment"), "%s in %s", r.Name, namespace)
			}
		}
		assert.Greater(t, objects, 4)
	}
}
