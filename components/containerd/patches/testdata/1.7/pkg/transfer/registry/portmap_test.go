package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/pkg/portmap/portmaptest"
)

type credentials struct{}

func (credentials) GetCredentials(context.Context, string, string) (Credentials, error) {
	return Credentials{Username: portmaptest.User, Secret: portmaptest.Password}, nil
}

// The service has no configuration of hosts: its names are the cells.
func TestPortMappingTransfer(t *testing.T) {
	portmaptest.Run(t, func(t *testing.T, lab *portmaptest.Lab) {
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
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_, _, err := NewOCIRegistry(reference, http.Header{}, credentials{}).Resolve(ctx)
			cancel()
			if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %q", reference, err, want)
			}
			for _, request := range lab.Take() {
				if host := strings.Split(reference, "/")[0]; request.Path != "/token" &&
					(request.Host != host || !strings.EqualFold(request.ServerName, strings.Split(host, ":")[0])) {
					t.Errorf("%s: the registry saw %+v", reference, request)
				}
			}
			t.Logf("cell %s: transfer service, %s", lab.Mode, reference)
		}
	})
}
