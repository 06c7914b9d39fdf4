package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"berth/lab/cluster"
)

// watchPeriod is the pause between two questions to a node's containerd.
const watchPeriod = 200 * time.Millisecond

// watch asks a node's containerd, as the kubelet does, again and again, and keeps the longest time without an answer.
type watch struct {
	client *http.Client

	mu       sync.Mutex
	answered time.Time     // the last answer
	silent   bool          // none came since
	longest  time.Duration // from an answer to the next one, where questions in between had none
	why      error
}

// watchContainerd watches until the test ends.
func watchContainerd(t *testing.T, n *cluster.Node) *watch {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			// Another start of the machine makes it another path.
			inside, err := n.Inside()
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(inside, "run/containerd/containerd.sock"))
		},
	}
	w := &watch{client: &http.Client{Transport: transport}, answered: time.Now()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.note(w.ask(ctx))
			time.Sleep(watchPeriod)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; transport.CloseIdleConnections() })
	return w
}

// ask is a gRPC call without arguments, the kubelet's list of pods: it is answered when the CRI plugin is ready.
func (w *watch) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// One message: not compressed, no bytes.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://containerd/runtime.v1.RuntimeService/ListPodSandbox", bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	answer, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	status, message := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if status == "" {
		status, message = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	if status != "0" {
		return fmt.Errorf("CRI says %s %q (HTTP %s)", status, message, answer.Status)
	}
	return nil
}

func (w *watch) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.silent, w.why = true, err
		return
	}
	if w.silent {
		w.longest = max(w.longest, time.Since(w.answered))
	}
	w.answered, w.silent = time.Now(), false
}

// begin forgets what was.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = 0
}

// outage is the longest time without an answer since begin.
func (w *watch) outage() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent {
		return max(w.longest, time.Since(w.answered))
	}
	return w.longest
}

// serves fails the test unless containerd answers by itself.
func (w *watch) serves(t *testing.T, name string) {
	t.Helper()
	eventually(t, 2*time.Minute, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.silent || w.answered.Before(time.Now().Add(-time.Second)) {
			return fmt.Sprintf("containerd of %s does not answer the kubelet: %v", name, w.why)
		}
		return ""
	})
}
