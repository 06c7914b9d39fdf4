// Package sshtest is an SSH server on loopback for tests: one key and one password log in, a function runs the commands, and
// ports are forwarded.
package sshtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"berth/components/remote/target"
)

// Handler runs a command and returns its exit status. What it reads from session is the command's stdin, what it writes its stdout.
type Handler func(command string, session io.ReadWriter, stderr io.Writer) uint32

// Server is where it listens and what opens it. What it is to refuse is set before the first dial.
type Server struct {
	Port int
	// PrivateKey logs in, in OpenSSH form; HostKey is a line of authorized_keys.
	PrivateKey, HostKey string
	// Password logs in too.
	Password string
	// AsksForPassword takes the password as the answer to a question alone (keyboard-interactive).
	AsksForPassword bool
	// ForwardsNothing refuses to forward ports, as AllowTcpForwarding no does.
	ForwardsNothing bool

	logins atomic.Int32
}

// Logins is how many connections have logged in.
func (s *Server) Logins() int { return int(s.logins.Load()) }

// Target reaches the server as root, with the key.
func (s *Server) Target() target.Target {
	return target.Target{Host: "127.0.0.1", Port: s.Port, User: "root", PrivateKey: s.PrivateKey, HostKey: s.HostKey}
}

// New starts a server that ends with the test.
func New(t *testing.T, handle Handler) *Server {
	t.Helper()
	host, login := NewKey(t), NewKey(t)
	allowed, err := ssh.NewPublicKey(login.Public())
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	s := &Server{
		Port: listener.Addr().(*net.TCPAddr).Port, PrivateKey: PrivateKey(t, login, ""), HostKey: PublicLine(t, host), Password: rand.Text(),
	}
	judge := func(good bool) (*ssh.Permissions, error) {
		if !good {
			return nil, errors.New("not let in")
		}
		return &ssh.Permissions{}, nil
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return judge(bytes.Equal(key.Marshal(), allowed.Marshal()))
		},
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return judge(string(password) == s.Password && !s.AsksForPassword)
		},
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			return judge(err == nil && len(answers) == 1 && answers[0] == s.Password)
		},
	}
	signer, err := ssh.NewSignerFromKey(host)
	require.NoError(t, err)
	config.AddHostKey(signer)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, config, handle)
		}
	}()
	return s
}

func (s *Server) serve(conn net.Conn, config *ssh.ServerConfig, handle Handler) {
	defer func() { _ = conn.Close() }()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	s.logins.Add(1)
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() == "direct-tcpip" {
			go s.forward(channel)
		} else {
			go run(channel, handle)
		}
	}
}

func run(channel ssh.NewChannel, handle Handler) {
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

func (s *Server) forward(channel ssh.NewChannel) {
	var wanted struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if s.ForwardsNothing || ssh.Unmarshal(channel.ExtraData(), &wanted) != nil {
		_ = channel.Reject(ssh.Prohibited, "open failed")
		return
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", net.JoinHostPort(wanted.Host, strconv.FormatUint(uint64(wanted.Port), 10)))
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer func() { _ = conn.Close() }()
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(stream, conn)
		_ = stream.Close()
	}()
	_, _ = io.Copy(conn, stream)
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
