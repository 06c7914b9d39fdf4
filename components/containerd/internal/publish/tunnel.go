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

	"golang.org/x/crypto/ssh"
	"oras.land/oras-go/v2/registry/remote"

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

// wait returns when the registry accepts the credentials. A refusal is waited for as well: a Secret that has just
// changed reaches the running registry about a minute later.
func (p *Publisher) wait(ctx context.Context, name string, client remote.Client) error {
	server, err := remote.NewRegistry(name)
	if err != nil {
		return err
	}
	server.Client = client
	deadline := time.Now().Add(p.Patience)
	for said := false; ; said = true {
		err := server.Ping(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok && refused.Reason == ssh.Prohibited {
			return fmt.Errorf("sshd on the registry's node forbids port forwarding (AllowTcpForwarding): %w", err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no success within %s: %w", p.Patience, err)
		}
		if !said {
			p.say("the registry %s does not answer yet: %v", name, err)
		}
		if err := sleep(ctx, p.Pause); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}
