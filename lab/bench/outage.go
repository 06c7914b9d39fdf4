package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"berth/lab/cluster"
)

const (
	// probePause is the time between two questions, and so how exact an outage is known.
	probePause = 4 * time.Millisecond
	probeLimit = 2 * time.Second
)

// probe asks a containerd what the kubelet asks all the time: the status of its CRI.
type probe struct{ client *http.Client }

func newProbe(socket string) *probe {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &probe{&http.Client{Timeout: probeLimit, Transport: &http.Transport{
		Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// answers tells whether the CRI serves. The call is gRPC's, of an empty message.
func (p *probe) answers(ctx context.Context) bool {
	empty := bytes.NewReader(make([]byte, 5))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://containerd/runtime.v1.RuntimeService/Status", empty)
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false
	}
	return response.Trailer.Get("Grpc-Status") == "0"
}

// watchOutage returns for how long the node's containerd did not answer, in all, while do ran.
func watchOutage(ctx context.Context, node *cluster.Node, do func() error) (time.Duration, error) {
	root, err := node.Inside()
	if err != nil {
		return 0, err
	}
	return watch(ctx, newProbe(filepath.Join(root, "run/containerd/containerd.sock")), do)
}

func watch(ctx context.Context, p *probe, do func() error) (time.Duration, error) {
	if !p.answers(ctx) {
		return 0, errors.New("containerd does not answer before anything is done to it")
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	var out time.Duration
	last, ended := time.Now(), false
	for missed := false; !ended || missed; {
		select {
		case err := <-done:
			if err != nil {
				return 0, err
			}
			ended, done = true, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(probePause):
		}
		if !p.answers(ctx) {
			missed = true
			if ended && time.Since(last) > time.Minute {
				return 0, fmt.Errorf("containerd does not answer since %s", time.Since(last))
			}
			continue
		}
		now := time.Now()
		if missed {
			out += now.Sub(last)
		}
		last, missed = now, false
	}
	return out, nil
}
