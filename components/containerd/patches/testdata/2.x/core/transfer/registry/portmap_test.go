package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/portmap/portmaptest"
)

type credentials struct{}

func (credentials) GetCredentials(context.Context, string, string) (Credentials, error) {
	return Credentials{Username: portmaptest.User, Secret: portmaptest.Password}, nil
}

// TestPortMappingTransfer pulls as the transfer service does for CRI and ctr: without a folder of hosts, with an empty
// one, and with a hosts.toml that sets the dial timeout.
func TestPortMappingTransfer(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
		empty, timeout := t.TempDir(), t.TempDir()
		if err := os.Mkdir(filepath.Join(timeout, "_default"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("ca = %q\ndial_timeout = \"5s\"\n", lab.CAFile)
		if err := os.WriteFile(filepath.Join(timeout, "_default", "hosts.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stock := "dial tcp 127.83.21.7:443: connect: connection refused"
		if lab.Mode != "no proxy" {
			stock = "proxyconnect tcp"
		}
		for reference, want := range map[string]string{
			portmaptest.First + "/plain:v1":     "",
			"YUAN.test/plain:v1":                "",
			portmaptest.Second + "/token:v1":    "",
			portmaptest.First + "/basic:v1":     "",
			portmaptest.First + ":443/plain:v1": "",
			"docker.io/library/plain:v1":        stock,
			"other.example/plain:v1":            stock,
		} {
			for name, dir := range map[string]string{"no hosts": "", "no hosts.toml": empty, "dial_timeout": timeout} {
				what := fmt.Sprintf("transfer service, %s, %s", name, reference)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				registry, err := NewOCIRegistry(ctx, reference, WithCredentials(credentials{}), WithHostDir(dir))
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = registry.Resolve(ctx)
				cancel()
				if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
					t.Errorf("%s: %v, want %q", what, err, want)
				}
				for _, request := range lab.Take() {
					if host := strings.Split(reference, "/")[0]; request.Path != "/token" &&
						(request.Host != host || !strings.EqualFold(request.ServerName, strings.Split(host, ":")[0])) {
						t.Errorf("%s: the registry saw %+v", what, request)
					}
				}
				t.Logf("cell %s: %s", lab.Mode, what)
			}
		}
	})
}
