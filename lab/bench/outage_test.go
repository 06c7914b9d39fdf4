package main

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// serve answers as containerd's CRI does, until it is closed.
func serve(t *testing.T, socket, status string) *http.Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Grpc-Status", status)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return server
}

func TestOutageIsTheTimeWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	const pause = 300 * time.Millisecond
	socket := filepath.Join(t.TempDir(), "c.sock")
	first := serve(t, socket, "0")
	out, err := watch(t.Context(), newProbe(socket), func() error {
		if err := first.Close(); err != nil {
			return err
		}
		time.Sleep(pause)
		serve(t, socket, "0")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if out < pause {
		t.Errorf("an outage of %s counts as %s", pause, out)
	}
}

func TestNoOutageWithoutOne(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "c.sock")
	serve(t, socket, "0")
	if out, err := watch(t.Context(), newProbe(socket), func() error { return nil }); err != nil || out != 0 {
		t.Errorf("out for %s, error %v", out, err)
	}
}

// While containerd loads its plugins it answers, but not with what is asked for.
func TestAnErrorIsNoAnswer(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "c.sock")
	serve(t, socket, "14")
	if newProbe(socket).answers(t.Context()) {
		t.Error("the status unavailable passes for an answer")
	}
}
