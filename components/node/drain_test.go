package node

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/remote"
	"berth/internal/sshtest"
)

// bracket records what happens around a switch, in its order.
type bracket struct {
	mu       sync.Mutex
	order    []string
	drainErr error
}

func (b *bracket) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.order = append(b.order, what)
}

func (b *bracket) Drain(_ context.Context, node, owner string) (func(context.Context) error, error) {
	b.note("drain " + node + " for " + owner)
	release := func(context.Context) error { b.note("release"); return nil }
	return release, b.drainErr
}

func TestSwitchWithThePodsAway(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		staged    string // what the stage prints; empty is a failure
		drain     error
		applyFail bool
		want      string
		err       []string
	}{
		"no restart is due": {staged: "settled\n", want: "stage"},
		"a restart is due":  {staged: "restart\n", want: "stage, drain worker1 for dev/worker1, apply, release"},
		"a chatty login shell": {
			staged: "restart of the mail server at noon\nrestart\n", want: "stage, drain worker1 for dev/worker1, apply, release",
		},
		"a staging that fails": {want: "stage", err: []string{"staging containerd 1.7.36+berth.1 on node worker1", "no space left", "two lines"}},
		"a drain that fails":   {staged: "restart\n", drain: errEnough, want: "stage, drain worker1 for dev/worker1", err: []string{"enough"}},
		"a switch that is rolled back": {
			staged: "restart\n", applyFail: true, want: "stage, drain worker1 for dev/worker1, apply, release",
			err: []string{"switching node worker1 to containerd 1.7.36+berth.1", "no space left", "two lines"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bracket{drainErr: test.drain}
			server := sshtest.New(t, func(command string, session io.ReadWriter, stderr io.Writer) uint32 {
				script, err := io.ReadAll(session)
				if err != nil {
					t.Errorf("reading the script: %v", err)
					return 1
				}
				assert.Equal(t, "the script", string(script))
				verb := strings.TrimSuffix(strings.TrimPrefix(command, "/bin/sh -s -- "), " containerd 1.7.36+berth.1")
				b.note(verb)
				if verb == "stage" && test.staged == "" || verb == "apply" && test.applyFail {
					_, _ = io.WriteString(stderr, "berth: no space left\nberth: two lines\n")
					return 1
				}
				_, _ = io.WriteString(session, test.staged)
				return 0
			})
			n := &Node{args: &Args{Name: "worker1", Owner: "dev/worker1", Version: "1.7.36+berth.1", Connection: remote.Connection{
				Host: "127.0.0.1", Port: server.Port, User: "root", PrivateKey: server.PrivateKey, HostKey: server.HostKey,
			}}}
			err := n.switchDrained(t.Context(), b, "the script")
			assert.Equal(t, test.want, strings.Join(b.order, ", "))
			if len(test.err) == 0 {
				require.NoError(t, err)
			}
			for _, words := range test.err {
				require.ErrorContains(t, err, words)
			}
		})
	}
}

// TestModesHaveTheSameBracket: the step of a mode that keeps the packaged containerd is asked by its own name.
func TestModesHaveTheSameBracket(t *testing.T) {
	t.Parallel()
	b := &bracket{}
	server := sshtest.New(t, func(command string, session io.ReadWriter, _ io.Writer) uint32 {
		_, _ = io.ReadAll(session)
		b.note(strings.TrimPrefix(command, "/bin/sh -s -- "))
		_, _ = io.WriteString(session, "restart\n")
		return 0
	})
	n := &Node{args: &Args{Name: "worker1", Owner: "dev/worker1", Access: "mirror", LeadsTo: "port 30443", Connection: remote.Connection{
		Host: "127.0.0.1", Port: server.Port, User: "root", PrivateKey: server.PrivateKey, HostKey: server.HostKey,
	}}}
	require.NoError(t, n.switchDrained(t.Context(), b, "the script"))
	const step = " containerd of the package, mode mirror to port 30443"
	assert.Equal(t, []string{"stage" + step, "drain worker1 for dev/worker1", "apply" + step, "release"}, b.order)
}

func TestErrorsOfBothEndsOfTheBracket(t *testing.T) {
	t.Parallel()
	server := sshtest.New(t, func(command string, session io.ReadWriter, _ io.Writer) uint32 {
		_, _ = io.ReadAll(session)
		_, _ = io.WriteString(session, "restart\n")
		if strings.Contains(command, "apply") {
			return 1
		}
		return 0
	})
	n := &Node{args: &Args{Name: "worker1", Version: "1", Connection: remote.Connection{
		Host: "127.0.0.1", Port: server.Port, User: "root", PrivateKey: server.PrivateKey, HostKey: server.HostKey,
	}}}
	err := n.switchDrained(t.Context(), stuck{}, "")
	require.ErrorContains(t, err, "switching node worker1 to containerd 1")
	require.ErrorIs(t, err, errStuck)
}

var errStuck = errors.New("the node stays cordoned")

type stuck struct{}

func (stuck) Drain(context.Context, string, string) (func(context.Context) error, error) {
	return func(context.Context) error { return errStuck }, nil
}
