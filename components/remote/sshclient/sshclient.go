// Package sshclient is an SSH connection to a node with its host key pinned and its dial bounded, for what berth does there
// itself: publishing through a node, and looking at nodes before a plan. It knows nothing of Pulumi, so that commands that
// use it start fast.
package sshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// defaultPort is sshd's TCP port where none is given.
const defaultPort = 22

// hostKeyTypes are the accepted kinds of host keys.
var hostKeyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
}

// Target is the node to reach.
type Target struct {
	// Host is an IP address or a DNS name.
	Host string
	// Port is 22 when it is 0.
	Port int
	User string
	// PrivateKey is a PEM or OpenSSH private key without passphrase. Empty: the agent at SSH_AUTH_SOCK is asked.
	PrivateKey string
	// HostKey is the only accepted host key, as a line such as "ssh-ed25519 AAAA…" (ed25519 or ecdsa).
	HostKey string
}

// Client is an open connection.
type Client struct{ *ssh.Client }

// Dial opens the connection. Connecting and logging in take at most timeout; the connection is closed at the latest when
// ctx ends. No error holds anything of the private key.
func Dial(ctx context.Context, target Target, timeout time.Duration) (*Client, error) {
	port := target.Port
	if port == 0 {
		port = defaultPort
	}
	address := net.JoinHostPort(target.Host, strconv.Itoa(port))
	until := time.Now().Add(timeout)
	config, done, err := clientConfig(ctx, target, until)
	if err != nil {
		return nil, fmt.Errorf("preparing the SSH connection to %s: %w", address, err)
	}
	defer done()
	dialer := net.Dialer{Deadline: until}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s by SSH: %w", address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := conn.SetDeadline(until); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("connecting to %s by SSH: %w", address, err), conn.Close())
	}
	transport, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s by SSH: %w", address, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("connecting to %s by SSH: %w", address, err), transport.Close())
	}
	return &Client{ssh.NewClient(transport, channels, requests)}, nil
}

// Run runs a command with a text on its stdin and returns what it printed, at most 64 KB of it. It fails where the command
// fails, with a CommandError, and at the latest when ctx ends; the connection is of no use then.
func (c *Client) Run(ctx context.Context, command, stdin string) (string, error) {
	session, err := c.NewSession()
	if err != nil {
		return "", fmt.Errorf("opening an SSH session: %w", err)
	}
	defer func() { _ = session.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var stdout, stderr capped
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(stdin), &stdout, &stderr
	switch err := session.Run(command); {
	case ctx.Err() != nil:
		return "", fmt.Errorf("running a command by SSH: %w", context.Cause(ctx))
	case err != nil:
		return "", &CommandError{Stderr: stderr.kept.String(), cause: err, lastLine: stderr.lastLine()}
	}
	return stdout.kept.String(), nil
}

// capped keeps the beginning of what it is given: what a node sends must not fill the operator's memory.
type capped struct{ kept bytes.Buffer }

const (
	maxOutput = 64 << 10
	maxLine   = 300
)

func (c *capped) Write(p []byte) (int, error) {
	room := maxOutput - c.kept.Len()
	_, _ = c.kept.Write(p[:min(room, len(p))])
	return len(p), nil
}

func (c *capped) lastLine() string {
	text := strings.TrimSpace(c.kept.String())
	line := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	return line[:min(len(line), maxLine)]
}

// clientConfig also returns what is to be called after the handshake.
func clientConfig(ctx context.Context, target Target, until time.Time) (*ssh.ClientConfig, func(), error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(target.HostKey))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the host key: %w", err)
	}
	if !slices.Contains(hostKeyTypes, hostKey.Type()) {
		return nil, nil, fmt.Errorf("host key is of type %s; use the node's ed25519 or ecdsa key", hostKey.Type())
	}
	method, done, err := authMethod(ctx, target.PrivateKey, until)
	if err != nil {
		return nil, nil, err
	}
	return &ssh.ClientConfig{
		User:              target.User,
		Auth:              []ssh.AuthMethod{method},
		HostKeyCallback:   ssh.FixedHostKey(hostKey),
		HostKeyAlgorithms: []string{hostKey.Type()},
	}, done, nil
}

func authMethod(ctx context.Context, privateKey string, until time.Time) (ssh.AuthMethod, func(), error) {
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
	conn, err := (&net.Dialer{Deadline: until}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to the SSH agent: %w", err)
	}
	if err := conn.SetDeadline(until); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("connecting to the SSH agent: %w", err), conn.Close())
	}
	return ssh.PublicKeysCallback(agent.NewClient(conn).Signers), func() { _ = conn.Close() }, nil
}
