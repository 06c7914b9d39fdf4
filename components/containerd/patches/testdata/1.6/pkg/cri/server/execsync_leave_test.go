package server

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/containerd"
	"github.com/stretchr/testify/require"
)

// TestDrainEndsWithItsClient has an exec whose output a process in the background keeps open, and no limit for that.
func TestDrainEndsWithItsClient(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	process := &deletedProcess{}
	ended := make(chan error, 1)
	go func() { ended <- drainExecSyncIO(ctx, process, 0, make(chan struct{})) }()
	leave()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(tooLong):
		t.Fatal("the exec outlives its client")
	}
	require.Equal(t, []string{"Delete"}, process.actionEvents, "what keeps the output open is killed")
	require.NoError(t, process.deletedWith)
}

// deletedProcess keeps the error of the context with which it was deleted.
type deletedProcess struct {
	fakeExecProcess
	deletedWith error
}

func (d *deletedProcess) Delete(ctx context.Context, opts ...containerd.ProcessDeleteOpts) (*containerd.ExitStatus, error) {
	d.deletedWith = ctx.Err()
	return d.fakeExecProcess.Delete(ctx, opts...)
}
