package sshclient

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/remote/target"
	"berth/internal/sshtest"
)

// way is a node and the bastion in front of it.
type way struct{ node, bastion *sshtest.Server }

func newWay(t *testing.T) way {
	t.Helper()
	return way{newServer(t), newServer(t)}
}

// target reaches the node through the bastion.
func (w way) target() target.Target {
	to, bastion := w.node.Target(), w.bastion.Target()
	to.Bastion = &bastion
	return to
}

func TestLogins(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, w way, to *target.Target){
		"a key":      func(*testing.T, way, *target.Target) {},
		"a password": func(_ *testing.T, w way, to *target.Target) { to.PrivateKey, to.Password = "", w.node.Password },
		"a password asked for": func(_ *testing.T, w way, to *target.Target) {
			w.node.AsksForPassword, to.PrivateKey, to.Password = true, "", w.node.Password
		},
		"a key beside a password": func(_ *testing.T, _ way, to *target.Target) { to.Password = "not this one" },
		"a password beside a key": func(t *testing.T, w way, to *target.Target) {
			t.Helper()
			to.PrivateKey, to.Password = sshtest.PrivateKey(t, sshtest.NewKey(t), ""), w.node.Password
		},
		"a password for the bastion": func(_ *testing.T, w way, to *target.Target) {
			to.Bastion.PrivateKey, to.Bastion.Password = "", w.bastion.Password
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWay(t)
			to := w.target()
			change(t, w, &to)
			var dialer Dialer
			defer dialer.Close()
			client, err := dialer.Dial(t.Context(), to, patience)
			require.NoError(t, err)
			got, err := client.Run(t.Context(), "echo", "the script")
			require.NoError(t, err)
			assert.Equal(t, "the script", got)
			assert.Equal(t, 1, w.bastion.Logins())
		})
	}
}

func TestOneConnectionToABastion(t *testing.T) {
	t.Parallel()
	w := newWay(t)
	var dialer Dialer
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := dialer.Dial(t.Context(), w.target(), patience)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.Equal(t, 20, w.node.Logins())
	assert.Equal(t, 1, w.bastion.Logins())
	client, err := dialer.Dial(t.Context(), w.target(), patience)
	require.NoError(t, err)
	dialer.Close()
	require.Error(t, client.Wait(), "what goes through a bastion ends with the connection to it")
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	const secret = "secret words"
	otherHostKey := sshtest.PublicLine(t, sshtest.NewKey(t))
	otherKey := sshtest.PrivateKey(t, sshtest.NewKey(t), "")
	lockedKey := sshtest.PrivateKey(t, sshtest.NewKey(t), secret)
	for name, test := range map[string]struct {
		change func(w way, to *target.Target)
		want   string
	}{
		"another host key":    {func(_ way, to *target.Target) { to.Bastion, to.HostKey = nil, otherHostKey }, "host key mismatch"},
		"no host key":         {func(_ way, to *target.Target) { to.Bastion, to.HostKey = nil, "" }, "reading the host key"},
		"another key":         {func(_ way, to *target.Target) { to.Bastion, to.PrivateKey = nil, otherKey }, "unable to authenticate"},
		"another password":    {func(_ way, to *target.Target) { to.Bastion, to.PrivateKey, to.Password = nil, "", secret }, "unable to authenticate"},
		"no key at all":       {func(_ way, to *target.Target) { to.Bastion, to.PrivateKey = nil, secret }, "the private key is neither in PEM nor"},
		"a passphrase":        {func(_ way, to *target.Target) { to.Bastion, to.PrivateKey = nil, lockedKey }, "or has a passphrase"},
		"the bastion's key":   {func(_ way, to *target.Target) { to.Bastion.HostKey = otherHostKey }, "by SSH: its bastion 127.0.0.1:BASTION: ssh: handshake failed: ssh: host key mismatch"},
		"no key of a bastion": {func(_ way, to *target.Target) { to.Bastion.HostKey = "" }, "its bastion 127.0.0.1:BASTION: reading the host key"},
		"the bastion's login": {func(_ way, to *target.Target) { to.Bastion.PrivateKey = otherKey }, "its bastion 127.0.0.1:BASTION: ssh: handshake failed: ssh: unable to authenticate"},
		"no bastion":          {func(_ way, to *target.Target) { to.Bastion.Port = 1 }, "its bastion 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		"forwards nothing":    {func(w way, _ *target.Target) { w.bastion.ForwardsNothing = true }, "through the bastion 127.0.0.1:BASTION: sshd there forbids port forwarding (AllowTcpForwarding)"},
		"a node that is down": {func(_ way, to *target.Target) { to.Port = 1 }, "connecting to 127.0.0.1:1 by SSH through the bastion 127.0.0.1:BASTION: ssh: rejected: connect failed"},
		"the node's key":      {func(_ way, to *target.Target) { to.HostKey = otherHostKey }, "through the bastion 127.0.0.1:BASTION: ssh: handshake failed: ssh: host key mismatch"},
		"the node's login":    {func(_ way, to *target.Target) { to.PrivateKey = otherKey }, "through the bastion 127.0.0.1:BASTION: ssh: handshake failed: ssh: unable to authenticate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWay(t)
			to := w.target()
			test.change(w, &to)
			_, err := new(Dialer).Dial(t.Context(), to, patience)
			require.Error(t, err)
			text := strings.ReplaceAll(err.Error(), ":"+strconv.Itoa(w.bastion.Port), ":BASTION")
			assert.Contains(t, text, test.want)
			assert.NotContains(t, text, secret)
		})
	}
}

// deaf is a port whose connections nobody answers, as on a machine that hangs.
func deaf(t *testing.T) int {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

func TestDialIsBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(to *target.Target, deaf int)
		limit  time.Duration
	}{
		"a node":                  {func(to *target.Target, deaf int) { to.Bastion, to.Port = nil, deaf }, 50 * time.Millisecond},
		"a bastion":               {func(to *target.Target, deaf int) { to.Bastion.Port = deaf }, 50 * time.Millisecond},
		"a node behind a bastion": {func(to *target.Target, deaf int) { to.Port = deaf }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newWay(t).target()
			test.change(&to, deaf(t))
			_, err := new(Dialer).Dial(t.Context(), to, test.limit)
			require.ErrorContains(t, err, "no answer within "+test.limit.String())
		})
	}
}

func TestNoLoginAndNoAgent(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	to := newServer(t).Target()
	to.PrivateKey = ""
	_, err := new(Dialer).Dial(t.Context(), to, patience)
	require.ErrorContains(t, err, "SSH_AUTH_SOCK is empty")
}

func TestDeadAgent(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", t.TempDir()+"/gone")
	server := newServer(t)
	to := server.Target()
	_, err := new(Dialer).Dial(t.Context(), to, patience)
	require.NoError(t, err, "a key needs no agent")
	to.PrivateKey, to.Password = "", server.Password
	_, err = new(Dialer).Dial(t.Context(), to, patience)
	require.ErrorContains(t, err, "connecting to the SSH agent")
}
