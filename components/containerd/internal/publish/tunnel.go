package publish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"berth/components/containerd/release"
	"berth/components/remote/sshclient"
)

// dialTimeout bounds the connection and the handshake with the node.
const dialTimeout = 20 * time.Second

// httpClient returns a client that reaches the registry, and nothing else, through the SSH connection.
func httpClient(tunnel *sshclient.Client, registry release.RegistryTarget) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(registry.CAPEM)) {
		return nil, errors.New("the registry's CA is not a certificate in PEM form")
	}
	port := strconv.Itoa(registry.NodePort)
	name := net.JoinHostPort(registry.Host, port)
	target := net.JoinHostPort(registry.Address, port)
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// A redirect to a storage service, say: the nodes could not follow it either.
			if !strings.EqualFold(address, name) {
				return nil, fmt.Errorf("the registry sends its client to another address, %s", address)
			}
			return tunnel.DialContext(ctx, network, target)
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, ServerName: registry.Host, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		MaxIdleConnsPerHost:   2,
	}}, nil
}
