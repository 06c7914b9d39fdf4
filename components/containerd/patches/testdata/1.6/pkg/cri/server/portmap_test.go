package server

import (
	"context"
	"testing"

	criconfig "github.com/containerd/containerd/pkg/cri/config"
	"github.com/containerd/containerd/pkg/portmap/portmaptest"
	"github.com/containerd/containerd/remotes/docker"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPortMappingCRI(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		configured := func(name string, change func(t *testing.T, host string, config *criconfig.Registry)) portmaptest.Config {
			return portmaptest.Config{Name: name, Credentials: true, Hosts: func(t *testing.T, host string) docker.RegistryHosts {
				service := newTestCRIService()
				service.config.Registry = criconfig.Registry{}
				change(t, host, &service.config.Registry)
				auth := &runtime.AuthConfig{Username: portmaptest.User, Password: portmaptest.Password}
				return service.registryHosts(context.Background(), auth)
			}}
		}
		endpoint := func(host string) []string {
			name, err := docker.DefaultHost(host)
			if err != nil {
				t.Fatal(err)
			}
			return []string{"https://" + name}
		}
		lab.Cells(t,
			configured("nothing", func(*testing.T, string, *criconfig.Registry) {}),
			configured("config_path", func(t *testing.T, _ string, config *criconfig.Registry) { config.ConfigPath = t.TempDir() }),
			configured("mirror", func(_ *testing.T, host string, config *criconfig.Registry) {
				config.Mirrors = map[string]criconfig.Mirror{host: {Endpoints: endpoint(host)}}
			}),
			configured("mirror for all", func(_ *testing.T, host string, config *criconfig.Registry) {
				config.Mirrors = map[string]criconfig.Mirror{"*": {Endpoints: endpoint(host)}}
			}),
			configured("mirror with tls", func(_ *testing.T, host string, config *criconfig.Registry) {
				config.Mirrors = map[string]criconfig.Mirror{host: {Endpoints: endpoint(host)}}
				config.Configs = map[string]criconfig.RegistryConfig{host: {TLS: &criconfig.TLSConfig{CAFile: lab.CAFile}}}
			}),
		)
	})
}
