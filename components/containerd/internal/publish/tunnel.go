package publish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"berth/components/containerd/release"
)

// dialTimeout bounds the connection and the handshake with the node.
const dialTimeout = 20 * time.Second

// hostKeyTypes are the accepted kinds of host keys.
var hostKeyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
}

// connect opens the SSH connection. It is closed at the latest when ctx ends.
func connect(ctx context.Context, target release.SSHTarget) (*ssh.Client, error) {
	port := target.Port
	if port == 0 {
		port = 22
	}
	address := net.JoinHostPort(target.Host, strconv.Itoa(port))
	config, done, err := clientConfig(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("preparing the SSH connection to %s: %w", address, err)
	}
	defer done()
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s by SSH: %w", address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to %s by SSH: %w", address, err), conn.Close())
	}
	transport, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s by SSH: %w", address, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to %s by SSH: %w", address, err), transport.Close())
	}
	return ssh.NewClient(transport, channels, requests), nil
}

// clientConfig also returns what is to be called after the handshake.
func clientConfig(ctx context.Context, target release.SSHTarget) (*ssh.ClientConfig, func(), error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(target.HostKey))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the host key: %w", err)
	}
	if !slices.Contains(hostKeyTypes, hostKey.Type()) {
		return nil, nil, fmt.Errorf("host key is of type %s; use the node's ed25519 or ecdsa key", hostKey.Type())
	}
	method, done, err := authMethod(ctx, target.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return &ssh.ClientConfig{
		User:              target.User,
		Auth:              []ssh.AuthMethod{method},
		HostKeyCallback:   ssh.FixedHostKey(hostKey),
		HostKeyAlgorithms: []string{hostKey.Type()},
		Timeout:           dialTimeout,
	}, done, nil
}

func authMethod(ctx context.Context, privateKey string) (ssh.AuthMethod, func(), error) {
	if privateKey != "" {
		signer, err := ssh.ParsePrivateKey([]byte(privateKey))
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			return nil, nil, errors.New("the private key has a passphrase: use one without, or an SSH agent")
		}
		if err != nil {
			// The error's text is left out: it is about the key's content.
			return nil, nil, errors.New("the private key is neither in PEM nor in OpenSSH form")
		}
		return ssh.PublicKeys(signer), func() {}, nil
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, errors.New("no private key is given and no SSH agent runs (SSH_AUTH_SOCK is empty)")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to the SSH agent: %w", err)
	}
	return ssh.PublicKeysCallback(agent.NewClient(conn).Signers), func() { _ = conn.Close() }, nil
}

// httpClient returns a client that reaches the registry, and nothing else, through the SSH connection.
func httpClient(tunnel *ssh.Client, registry release.RegistryTarget) (*http.Client, error) {
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
