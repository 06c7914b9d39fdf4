package config_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/pkg/portmap/portmaptest"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/containerd/remotes/docker/config"
)

// hostsFile configures hosts by the hosts.toml that text makes for the host, in the folder of that name.
func hostsFile(name, folder string, text func(host string) string) portmaptest.Config {
	return portmaptest.Config{Name: name, Credentials: true, Hosts: func(t *testing.T, host string) docker.RegistryHosts {
		root := t.TempDir()
		dir := host
		if folder != "" {
			dir = folder
		}
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "hosts.toml"), []byte(text(host)), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.ConfigureHosts(context.Background(), config.HostOptions{
			HostDir: config.HostDirFromRoot(root), Credentials: credentials,
		})
	}}
}

func credentials(string) (string, string, error) { return portmaptest.User, portmaptest.Password, nil }

func TestPortMappingConfigureHosts(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		url := func(host string) string {
			if host == "docker.io" {
				host = "registry-1.docker.io"
			}
			return "https://" + host
		}
		lab.Cells(t,
			portmaptest.Config{Name: "none", Credentials: true, Hosts: func(*testing.T, string) docker.RegistryHosts {
				return config.ConfigureHosts(context.Background(), config.HostOptions{Credentials: credentials})
			}},
			portmaptest.Config{Name: "client updated", Hosts: func(*testing.T, string) docker.RegistryHosts {
				return config.ConfigureHosts(context.Background(), config.HostOptions{
					UpdateClient: func(client *http.Client) error {
						client.Transport = through{client.Transport}
						return nil
					},
				})
			}},
			hostsFile("server", "", func(host string) string { return fmt.Sprintf("server = %q\n", url(host)) }),
			hostsFile("host", "", func(host string) string { return fmt.Sprintf("[host.%q]\n", url(host)) }),
			hostsFile("ca", "", func(host string) string {
				return fmt.Sprintf("server = %q\nca = %q\n[host.%q]\nca = %[2]q\n", url(host), lab.CAFile, url(host))
			}),
			hostsFile("header", "", func(host string) string {
				return fmt.Sprintf("[host.%q]\n[host.%[1]q.header]\nX-Test = [\"1\"]\n", url(host))
			}),
			hostsFile("skip_verify", "", func(host string) string {
				return fmt.Sprintf("server = %q\nskip_verify = true\n", url(host))
			}),
			hostsFile("_default", "_default", func(string) string { return fmt.Sprintf("ca = %q\n", lab.CAFile) }),
		)
	})
}

// through is a transport around another, as the CRI plugin puts one there to see the progress.
type through struct{ http.RoundTripper }
