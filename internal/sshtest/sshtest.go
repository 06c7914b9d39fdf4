// Package sshtest is an SSH server on loopback for tests: one key may log in, and a function runs the commands.
package sshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// Handler runs a command and returns its exit status. What it reads from session is the command's stdin, what it writes its stdout.
type Handler func(command string, session io.ReadWriter, stderr io.Writer) uint32

// Server is where it listens and what opens it.
type Server struct {
	Port int
	// PrivateKey logs in, in OpenSSH form; HostKey is a line of authorized_keys.
	PrivateKey, HostKey string
}

// New starts a server that ends with the test.
func New(t *testing.T, handle Handler) Server {
	t.Helper()
	host, login := NewKey(t), NewKey(t)
	allowed, err := ssh.NewPublicKey(login.Public())
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return &ssh.Permissions{}, nil
		}
		return nil, errors.New("unknown key")
	}}
	signer, err := ssh.NewSignerFromKey(host)
	require.NoError(t, err)
	config.AddHostKey(signer)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn, config, handle)
		}
	}()
	return Server{
		Port: listener.Addr().(*net.TCPAddr).Port, PrivateKey: PrivateKey(t, login, ""), HostKey: PublicLine(t, host),
	}
}

func serve(conn net.Conn, config *ssh.ServerConfig, handle Handler) {
	defer func() { _ = conn.Close() }()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		session, requests, err := channel.Accept()
		if err != nil {
			return
		}
		for request := range requests {
			var command struct{ Line string }
			_ = ssh.Unmarshal(request.Payload, &command)
			_ = request.Reply(true, nil)
			status := handle(command.Line, session, session.Stderr())
			_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = session.Close()
		}
	}
}

// NewKey makes a key.
func NewKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// PrivateKey is a key in OpenSSH form, locked where there is a passphrase.
func PrivateKey(t *testing.T, key ed25519.PrivateKey, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// PublicLine is the public half of a key as a line of authorized_keys.
func PublicLine(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return string(ssh.MarshalAuthorizedKey(public))
}
