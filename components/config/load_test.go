package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var rules = Rules{SupportedVersion: func(version string) error {
	if version != "1.7.36" {
		return errors.New("containerd version \"" + version + "\" is not supported; choose one of 1.7.36")
	}
	return nil
}}

func TestBadStacks(t *testing.T) {
	t.Parallel()
	w := newWords(t)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			cfg, err := parse(t.Context(), stackFile(t, file, w), workshop(t, nil), rules)
			require.Error(t, err)
			assert.Nil(t, cfg)
			for _, secret := range w.secrets() {
				assert.NotContains(t, err.Error(), secret)
			}
			assert.NotContains(t, err.Error(), "top-secret")
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func TestGoodStacks(t *testing.T) {
	t.Parallel()
	w := newWords(t)
	files, err := filepath.Glob("testdata/good/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			cfg, err := parse(t.Context(), stackFile(t, file, w), workshop(t, nil), rules)
			require.NoError(t, err)
			text, err := yaml.Marshal(cfg)
			require.NoError(t, err)
			shown := string(text)
			for name, value := range w {
				for _, form := range []string{value, strings.TrimSpace(value), indent(value, 8), indent(value, 12), indent(value, 16), indent(value, 20)} {
					if len(form) >= 8 {
						shown = strings.ReplaceAll(shown, form, "$"+name)
					}
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", shown)
		})
	}
}

// indent is a text as YAML shows it in a block that far from the left.
func indent(text string, by int) string {
	return strings.TrimSpace(strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", by)))
}

type noResources struct{}

func (noResources) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}

func (noResources) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// TestLoad goes through the SDK as the program does, with a key that only the engine's own list shows.
func TestLoad(t *testing.T) {
	w := newWords(t)
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(kubeconfigText), 0o600))
	t.Setenv("KUBECONFIG", file)
	t.Setenv("SSH_AUTH_SOCK", "")
	given := map[string]string{}
	for key, value := range stackFile(t, "testdata/good/smallest.yaml", w) {
		given["berth:"+key] = value
	}
	delete(given, "berth:kubernetes")
	load := func() (*Config, error) {
		var cfg *Config
		var loadErr error
		require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
			cfg, loadErr = Load(ctx, rules)
			return nil
		}, pulumi.WithMocks("berth", "dev", noResources{}), func(info *pulumi.RunInfo) { info.Config = given }))
		return cfg, loadErr
	}
	cfg, err := load()
	require.NoError(t, err)
	assert.Equal(t, "Yuan.com", cfg.Registry.Host)
	assert.Equal(t, "admin@lab", cfg.Kubernetes.Context)
	assert.Equal(t, "berth/dev", cfg.Kubernetes.ClusterIdentifier)

	t.Setenv(pulumi.EnvConfig, `{"berth:regstry": "{}", "berth:registry.host": "Yuan.com", "kubernetes:context": "not ours"}`)
	_, err = load()
	require.EqualError(t, err, `2 mistakes in stacks/Pulumi.dev.yaml:
  berth:"registry.host": unknown key; a nested value needs --path: pulumi config rm "berth:registry.host", then `+
		`pulumi config set --path "berth:registry.host"
  berth:regstry: unknown key; did you mean registry?`)
}

func TestMethods(t *testing.T) {
	t.Parallel()
	cfg := &Config{
		Registry:    Registry{Host: "Yuan.com", Node: "b", HostsEntry: true},
		Certificate: Certificate{DNSNames: []string{"yuan.com", "other.org"}, IPAddresses: []string{"10.0.0.2", "::ffff:10.0.0.9", "fd00:0::1"}, SigningNode: "a"},
		Nodes:       []Node{{Name: "a", InternalIP: "10.0.0.1", Retired: true}, {Name: "b", InternalIP: "10.0.0.2"}},
	}
	n, ok := cfg.Node("a")
	assert.True(t, ok)
	assert.Equal(t, "10.0.0.1", n.InternalIP)
	_, ok = cfg.Node("c")
	assert.False(t, ok)
	assert.Equal(t, []Node{cfg.Nodes[1]}, cfg.ActiveNodes())
	assert.Len(t, cfg.Nodes, 2)
	assert.Equal(t, "b", cfg.RegistryNode().Name)
	assert.Equal(t, "a", cfg.SigningNode().Name)
	assert.Equal(t, []string{"Yuan.com", "other.org"}, cfg.DNSNames())
	for _, r := range []Registry{{Host: "Yuan.com", Aliases: []string{"b.org", "A.org"}}, {Host: "b.org", Aliases: []string{"A.org", "Yuan.com"}}} {
		assert.Equal(t, []string{"A.org", "b.org", "Yuan.com"}, r.Names(), "the order does not tell which is the host")
		renamed := &Config{Registry: r, Certificate: cfg.Certificate}
		assert.Equal(t, []string{"A.org", "b.org", "Yuan.com", "other.org"}, renamed.DNSNames())
	}
	assert.Equal(t, []string{"10.0.0.2", "10.0.0.9", "fd00::1"}, cfg.IPAddresses())
	assert.Equal(t, "10.0.0.1", cfg.HostsIP(n))
	cfg.Registry.Address = "10.0.0.100"
	assert.Equal(t, "10.0.0.100", cfg.HostsIP(n))
	assert.Equal(t, "10.0.0.100", cfg.IPAddresses()[0])
	cfg.Registry.HostsEntry = false
	assert.Empty(t, cfg.HostsIP(n))
}
