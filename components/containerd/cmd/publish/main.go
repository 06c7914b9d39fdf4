// Command publish sees to it that the registry has the patched containerd and the verification image of a rollout, or removes what
// older rollouts left there.
//
// It reads a release.PublishRequest as JSON from standard input and reaches the registry through SSH; progress goes
// to standard error. Arguments are ignored: they are for whoever reads the command line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/buildhost"
	"berth/components/containerd/internal/publish"
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
	var request release.PublishRequest
	decoder := json.NewDecoder(stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	cache, err := build.CacheDir()
	if err != nil {
		return err
	}
	publisher := publish.Publisher{
		Cache: cache, Log: stderr, Patience: 2 * time.Minute, Pause: 2 * time.Second, Build: buildhost.Artifact, Bill: build.Bill,
	}
	if request.Prune {
		if err := publisher.Prune(ctx, request); err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "pruned artifacts=%d\n", len(request.Artifacts))
		return err
	}
	if err := publisher.Ensure(ctx, request); err != nil {
		return err
	}
	// The same line whether something was sent or not: nothing depends on it but the order of steps.
	_, err = fmt.Fprintf(stdout, "published artifacts=%d verify=%s:%s\n",
		len(request.Artifacts), release.VerifyRepository, request.RolloutID)
	return err
}
