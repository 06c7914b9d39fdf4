package command_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConnection pins how the plugin reaches a machine.
func TestConnection(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(t *testing.T, s *sshServer) map[string]any
		server  func(t *testing.T) *sshServer
		timeout float64
		fails   string // part of the error, "" for success
		dials   int
		atLeast time.Duration
	}{
		"a key logs in": {dials: 1},
		"without hostKey any host key passes": {
			change: func(*testing.T, *sshServer) map[string]any { return map[string]any{"hostKey": nil} }, dials: 1,
		},
		"another host key is refused, and tried again": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"hostKey": newSSHServer(t).hostKey, "dialErrorLimit": 2.0}
			},
			fails: "host key mismatch", dials: 3,
		},
		"hostKey is a line of authorized_keys, not of known_hosts": {
			change: func(*testing.T, *sshServer) map[string]any {
				return map[string]any{"hostKey": "not a key at all"}
			},
			fails: "host key",
		},
		"an RSA hostKey asks for SHA-1, which a modern server refuses": {
			server: newRSAServer,
			fails:  "no common algorithm for host key", dials: 1,
		},
		"dialErrorLimit 0 is one attempt": {
			change: func(_ *testing.T, s *sshServer) map[string]any { return map[string]any{"privateKey": s.wrongKey} },
			fails:  "after 0 failed attempts", dials: 1,
		},
		"dialErrorLimit 2 is three attempts, 0.1 s and 0.15 s apart": {
			change: func(_ *testing.T, s *sshServer) map[string]any {
				return map[string]any{"privateKey": s.wrongKey, "dialErrorLimit": 2.0}
			},
			fails: "after 2 failed attempts", dials: 3, atLeast: 250 * time.Millisecond,
		},
		"a dropped connection is tried again": {
			server: newHesitantServer,
			change: func(*testing.T, *sshServer) map[string]any { return map[string]any{"dialErrorLimit": 5.0} }, dials: 3,
		},
		"dialErrorLimit -1 ends with the timeout": {
			change: func(_ *testing.T, s *sshServer) map[string]any {
				return map[string]any{"privateKey": s.wrongKey, "dialErrorLimit": -1.0}
			},
			timeout: 1, fails: context.DeadlineExceeded.Error(), atLeast: time.Second,
		},
		"a password logs in": {
			change: func(*testing.T, *sshServer) map[string]any {
				return map[string]any{"privateKey": nil, "password": "right"}
			},
			dials: 1,
		},
		"a dead agent fails a connection that has a key": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"agentSocketPath": filepath.Join(t.TempDir(), "gone")}
			},
			fails: "no such file",
		},
		"a broken key dials nothing": {
			change: func(*testing.T, *sshServer) map[string]any { return map[string]any{"privateKey": "nonsense"} },
			fails:  "no key found",
		},
		"a proxy is dialled first": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"proxy": newSSHServer(t).connection(nil)}
			},
			dials: 1,
		},
		"a proxy that refuses the login is named": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				proxy := newSSHServer(t)
				return map[string]any{"proxy": proxy.connection(map[string]any{"privateKey": proxy.wrongKey})}
			},
			fails: "proxy: after 0 failed attempts: ssh: handshake failed: ssh: unable to authenticate",
		},
		"a proxy has a host key of its own": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"proxy": newSSHServer(t).connection(map[string]any{"hostKey": newSSHServer(t).hostKey, "dialErrorLimit": 1.0})}
			},
			fails: "proxy: after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch",
		},
		"a proxy lets a password in": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				proxy := newSSHServer(t).connection(map[string]any{"password": "right"})
				delete(proxy, "privateKey")
				return map[string]any{"proxy": proxy}
			},
			dials: 1,
		},
		"what a proxy does not reach is tried again": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"proxy": newSSHServer(t).connection(nil), "port": 1.0, "dialErrorLimit": 2.0}
			},
			fails: "proxy: after 2 failed attempts: ssh: rejected: connect failed", atLeast: 250 * time.Millisecond,
		},
		"behind a proxy the one attempt says what is wrong": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"proxy": newSSHServer(t).connection(nil), "hostKey": newSSHServer(t).hostKey}
			},
			fails: "proxy: after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch", dials: 1,
		},
		"behind a proxy the second attempt hides it": {
			change: func(t *testing.T, _ *sshServer) map[string]any {
				t.Helper()
				return map[string]any{"proxy": newSSHServer(t).connection(nil), "hostKey": newSSHServer(t).hostKey, "dialErrorLimit": 1.0}
			},
			fails: "proxy: after 1 failed attempts: ssh: handshake failed: EOF", dials: 1,
		},
		"a question for the password is answered": {
			server: newAskingServer,
			change: func(*testing.T, *sshServer) map[string]any {
				return map[string]any{"privateKey": nil, "password": "right"}
			},
			dials: 1,
		},
		"a password is tried after a key": {
			change: func(_ *testing.T, s *sshServer) map[string]any {
				return map[string]any{"privateKey": s.wrongKey, "password": "right"}
			},
			dials: 1,
		},
		"a passphrase opens a key": {
			change: func(_ *testing.T, s *sshServer) map[string]any {
				return map[string]any{"privateKey": s.lockedKey, "privateKeyPassword": "open"}
			},
			dials: 1,
		},
		"a wrong passphrase dials nothing": {
			change: func(_ *testing.T, s *sshServer) map[string]any {
				return map[string]any{"privateKey": s.lockedKey, "privateKeyPassword": "wrong"}
			},
			fails: "decryption password incorrect",
		},
		"a locked key without passphrase dials nothing": {
			change: func(_ *testing.T, s *sshServer) map[string]any { return map[string]any{"privateKey": s.lockedKey} },
			fails:  "this private key is passphrase protected",
		},
		"a passphrase for a key without one dials nothing": {
			change: func(*testing.T, *sshServer) map[string]any { return map[string]any{"privateKeyPassword": "open"} },
			fails:  "key is not password protected",
		},
		"an empty agentSocketPath is not none": {
			change: func(*testing.T, *sshServer) map[string]any { return map[string]any{"agentSocketPath": ""} },
			fails:  "dial unix",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := (*sshServer)(nil), newPlug(t)
			if test.server == nil {
				test.server = newSSHServer
			}
			s = test.server(t)
			p.timeout = test.timeout
			connection := s.connection(nil)
			if test.change != nil {
				for key, value := range test.change(t, s) {
					connection[key] = value
					if value == nil {
						delete(connection, key)
					}
				}
			}
			start := time.Now()
			_, err := p.create(t, remoteCommand, object(map[string]any{"connection": connection, "create": "true"}), false)
			if test.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.fails)
			}
			if test.timeout == 0 {
				assert.Equal(t, test.dials, s.dialled(), "dials")
			}
			assert.GreaterOrEqual(t, time.Since(start), test.atLeast)
		})
	}
}

func TestConnectionDefaults(t *testing.T) {
	t.Parallel()
	inputs := newPlug(t).checked(t, remoteCommand, object(map[string]any{"connection": map[string]any{"host": "h"}}))
	connection := inputs["connection"]
	if connection.IsSecret() {
		connection = connection.SecretValue().Element
	}
	for name, want := range map[resource.PropertyKey]resource.PropertyValue{
		"user": resource.NewStringProperty("root"), "port": resource.NewNumberProperty(22),
		"dialErrorLimit": resource.NewNumberProperty(10), "perDialTimeout": resource.NewNumberProperty(15),
	} {
		assert.Equal(t, want, connection.ObjectValue()[name], "%s", name)
	}
	assert.Equal(t, resource.NewBoolProperty(true), inputs["addPreviousOutputInEnv"])
}

// TestSilentServer pins that perDialTimeout ends with the TCP connection: a server that then says nothing holds the dial.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, p := newSSHServer(t), newPlug(t)
	failed := make(chan error, 1)
	request := p.createRequest(t, remoteCommand, object(map[string]any{
		"create": "true",
		"connection": s.connection(map[string]any{
			"port": float64(listener.Addr().(*net.TCPAddr).Port), "perDialTimeout": 1.0,
		}),
	}))
	go func() {
		_, err := p.server.Create(t.Context(), request)
		failed <- err
	}()
	conn, err := listener.Accept()
	require.NoError(t, err)
	select {
	case err := <-failed:
		t.Errorf("it gave up: %v", err)
	case <-time.After(1500 * time.Millisecond):
	}
	require.NoError(t, conn.Close())
	require.NoError(t, listener.Close())
	require.Error(t, <-failed)
}

// TestUnknownConnectionField pins that a misspelt field is refused.
func TestUnknownConnectionField(t *testing.T) {
	t.Parallel()
	s, p := newSSHServer(t), newPlug(t)
	_, failures := p.check(t, remoteCommand, object(map[string]any{"connection": s.connection(map[string]any{"hostkey": "x"})}))
	assert.NotEmpty(t, failures)
}
