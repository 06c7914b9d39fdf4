package config_test

import (
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/pkg/portmap/portmaptest"
)

// A dial_timeout brings a dial function of its own.
func TestPortMappingDialTimeout(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		lab.Cells(t,
			hostsFile("dial_timeout of all", "_default", func(string) string { return "dial_timeout = \"5s\"\n" }),
			hostsFile("dial_timeout and ca", "_default", func(string) string {
				return fmt.Sprintf("ca = %q\ndial_timeout = \"5s\"\n", lab.CAFile)
			}),
			hostsFile("dial_timeout of a host", "", func(host string) string {
				if host == "docker.io" {
					host = "registry-1.docker.io"
				}
				return fmt.Sprintf("[host.\"https://%s\"]\ndial_timeout = \"5s\"\n", host)
			}),
		)
	})
}
