package sshclient

import (
	"context"
	"errors"
	"io"
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
	server := newServer(t)
	for name, test := range map[string]struct{ command, want, err string }{
		"output":             {"echo", "the script", ""},
		"failure":            {"fail", "", "running a command by SSH: Process exited with status 3: no room left"},
		"failure in silence": {"silent", "", "running a command by SSH: Process exited with status 3"},
		"too much":           {"flood", strings.Repeat("x", maxOutput), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := new(Dialer).Dial(t.Context(), server.Target(), patience)
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
	client, err := new(Dialer).Dial(t.Context(), newServer(t).Target(), patience)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Run(ctx, "hang", "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestStream(t *testing.T) {
	t.Parallel()
	client, err := new(Dialer).Dial(t.Context(), newServer(t).Target(), patience)
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	long := strings.Repeat("all of it ", maxOutput)
	var stdout, stderr strings.Builder
	require.NoError(t, client.Stream(t.Context(), "echo", strings.NewReader(long), &stdout, &stderr))
	assert.Equal(t, long, stdout.String())

	open, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	err = client.Stream(t.Context(), "fail", open, &stdout, &stderr)
	require.EqualError(t, err, "running a command by SSH: Process exited with status 3: no room left", "an open stdin holds up nothing")
	assert.Equal(t, "at work\nno room left\n", stderr.String())

	require.NoError(t, client.Stream(t.Context(), "flood", strings.NewReader(strings.Repeat("more than a channel's window", 1<<20)), io.Discard, io.Discard),
		"a command need not read what it is given")

	err = client.Stream(t.Context(), "flood", strings.NewReader(""), full{}, io.Discard)
	require.ErrorIs(t, err, errFull)
}

// full is a disk without room.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

// newServer serves the commands of the tests and lets one key in.
func newServer(t *testing.T) *sshtest.Server {
	t.Helper()
	return sshtest.New(t, func(command string, session io.ReadWriter, stderr io.Writer) uint32 {
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
}
