package sshclient

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/internal/sshtest"
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
		"another host key": {func(o *Target) { o.HostKey = sshtest.PublicLine(t, sshtest.NewKey(t)) }, "host key mismatch"},
		"no host key":      {func(o *Target) { o.HostKey = "" }, "reading the host key"},
		"another key":      {func(o *Target) { o.PrivateKey = sshtest.PrivateKey(t, sshtest.NewKey(t), "") }, "unable to authenticate"},
		"no key at all":    {func(o *Target) { o.PrivateKey = "secret words" }, "the private key is neither in PEM nor in OpenSSH form"},
		"a passphrase":     {func(o *Target) { o.PrivateKey = sshtest.PrivateKey(t, sshtest.NewKey(t), "secret words") }, "the private key has a passphrase"},
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
	server := sshtest.New(t, func(command string, session io.ReadWriter, stderr io.Writer) uint32 {
		switch command {
		case "echo":
			_, _ = io.Copy(session, session)
		case "fail":
			_, _ = io.WriteString(stderr, "at work\nno room left\n")
			return 3
		case "silent":
			return 3
		case "flood":
			_, _ = io.WriteString(session, strings.Repeat("x", 3*maxOutput))
		case "hang":
			<-t.Context().Done()
		}
		return 0
	})
	return Target{Host: "127.0.0.1", Port: server.Port, User: "root", PrivateKey: server.PrivateKey, HostKey: server.HostKey}
}
