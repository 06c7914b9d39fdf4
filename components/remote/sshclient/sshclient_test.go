package sshclient

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

const patience = 5 * time.Second

func TestRun(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	for name, test := range map[string]struct{ command, want, err string }{
		"output":             {"echo", "the script", ""},
		"failure":            {"fail", "", "running a command by SSH: Process exited with status 3: no room left"},
		"failure in silence": {"silent", "", "running a command by SSH: Process exited with status 3"},
		"too much":           {"flood", strings.Repeat("x", maxOutput), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := Dial(t.Context(), target, patience)
			require.NoError(t, err)
			defer func() { _ = client.Close() }()
			got, err := client.Run(t.Context(), test.command, "the script")
			assert.Equal(t, test.want, got)
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, test.err)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	client, err := Dial(t.Context(), newServer(t), patience)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Run(ctx, "hang", "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestDialIsBounded(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	// A listener whose connections nobody answers, as a machine that hangs.
	deaf, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = deaf.Close() }()
	target.Port = deaf.Addr().(*net.TCPAddr).Port
	_, err = Dial(t.Context(), target, 50*time.Millisecond)
	require.ErrorContains(t, err, "by SSH: ")
	require.ErrorContains(t, err, "i/o timeout")
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	good := newServer(t)
	for name, test := range map[string]struct {
		change func(*Target)
		want   string
	}{
		"another host key": {func(o *Target) { o.HostKey = publicLine(t, newKey(t).Public()) }, "host key mismatch"},
		"no host key":      {func(o *Target) { o.HostKey = "" }, "reading the host key"},
		"another key":      {func(o *Target) { o.PrivateKey = openSSH(t, newKey(t), "") }, "unable to authenticate"},
		"no key at all":    {func(o *Target) { o.PrivateKey = "secret words" }, "the private key is neither in PEM nor in OpenSSH form"},
		"a passphrase":     {func(o *Target) { o.PrivateKey = openSSH(t, newKey(t), "secret words") }, "the private key has a passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := good
			test.change(&target)
			_, err := Dial(t.Context(), target, patience)
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "secret words")
		})
	}
}

func TestNoKeyAndNoAgent(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	target := newServer(t)
	target.PrivateKey = ""
	_, err := Dial(t.Context(), target, patience)
	require.ErrorContains(t, err, "SSH_AUTH_SOCK is empty")
}

// newServer serves the commands of the tests and lets one key in.
func newServer(t *testing.T) Target {
	t.Helper()
	host, login := newKey(t), newKey(t)
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
			go serve(conn, config)
		}
	}()
	return Target{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: "root",
		PrivateKey: openSSH(t, login, ""), HostKey: publicLine(t, host.Public()),
	}
}

func serve(conn net.Conn, config *ssh.ServerConfig) {
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
			var status uint32
			switch command.Line {
			case "echo":
				_, _ = io.Copy(session, session)
			case "fail":
				_, _ = io.WriteString(session.Stderr(), "at work\nno room left\n")
				status = 3
			case "silent":
				status = 3
			case "flood":
				_, _ = io.WriteString(session, strings.Repeat("x", 3*maxOutput))
			case "hang":
				continue
			}
			_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = session.Close()
		}
	}
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func openSSH(t *testing.T, key ed25519.PrivateKey, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

func publicLine(t *testing.T, key any) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	require.NoError(t, err)
	return string(ssh.MarshalAuthorizedKey(public))
}
