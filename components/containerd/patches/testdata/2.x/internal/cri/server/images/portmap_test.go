package images

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	criconfig "github.com/containerd/containerd/v2/internal/cri/config"
	"github.com/containerd/containerd/v2/pkg/portmap/portmaptest"
)

func credentials(string) (string, string, error) { return portmaptest.User, portmaptest.Password, nil }

func TestPortMappingCRI(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		configured := func(name string, change func(t *testing.T, host string, config *criconfig.Registry)) portmaptest.Config {
			return portmaptest.Config{Name: name, Credentials: true, Hosts: func(t *testing.T, host string) docker.RegistryHosts {
				service, _ := newTestCRIService()
				service.config.Registry = criconfig.Registry{}
				change(t, host, &service.config.Registry)
				return service.registryHosts(context.Background(), credentials, nil)
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
		)
	})
}
