// Command build builds the patched containerd, on this machine or on the node that the request names, or takes it from the cache, and
// prints the digest of the artifact.
//
// It reads a release.BuildRequest as JSON from standard input; progress goes to standard error. Arguments are
// ignored: they are for whoever reads the command line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/buildhost"
	"berth/components/containerd/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	var request release.BuildRequest
	decoder := json.NewDecoder(stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	cache, err := build.CacheDir()
	if err != nil {
		return err
	}
	result, err := buildhost.Artifact(ctx, cache, stderr, request)
	if err != nil {
		return err
	}
	// A digest alone: the line becomes an output of the resource, and it must not change when nothing else does.
	_, err = fmt.Fprintln(stdout, result.Digest)
	return err
}
