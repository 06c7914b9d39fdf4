package docker_test

import (
	"testing"

	"github.com/containerd/containerd/pkg/portmap/portmaptest"
	"github.com/containerd/containerd/remotes/docker"
)

func credentials(string) (string, string, error) { return portmaptest.User, portmaptest.Password, nil }

func TestPortMappingDefaults(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		lab.Cells(t,
			portmaptest.Config{Name: "default registries", Hosts: func(*testing.T, string) docker.RegistryHosts {
				return docker.ConfigureDefaultRegistries(docker.WithAuthorizer(docker.NewDockerAuthorizer()))
			}},
			portmaptest.Config{Name: "authorizer without client", Credentials: true, Hosts: func(*testing.T, string) docker.RegistryHosts {
				return docker.ConfigureDefaultRegistries(
					docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthCreds(credentials))))
			}},
			portmaptest.Config{Name: "host without client", Hosts: func(*testing.T, string) docker.RegistryHosts {
				return func(host string) ([]docker.RegistryHost, error) {
					name, err := docker.DefaultHost(host)
					return []docker.RegistryHost{{
						Authorizer: docker.NewDockerAuthorizer(), Host: name, Scheme: "https", Path: "/v2",
						Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush,
					}}, err
				}
			}},
		)
	})
}
