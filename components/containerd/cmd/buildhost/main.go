// Command buildhost prepares a node to build containerd, or removes all that builds left on it.
//
// It reads a release.Host as JSON from standard input; the first word of its argument is prepare or remove, the rest is for
// whoever reads the command line. Progress goes to standard error.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/buildhost"
	"berth/components/containerd/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, strings.Join(os.Args[1:], " "), os.Stdin, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, line string, stdin io.Reader, stderr io.Writer) error {
	var host release.Host
	// Fields that are unknown here are from a later berth, whose state a destroy may find.
	if err := json.NewDecoder(stdin).Decode(&host); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	switch verb, _, _ := strings.Cut(line, " "); verb {
	case "prepare":
		cache, err := build.CacheDir()
		if err != nil {
			return err
		}
		return buildhost.Prepare(ctx, cache, stderr, host)
	case "remove":
		return buildhost.Remove(ctx, stderr, host)
	default:
		return fmt.Errorf("unknown verb %q: prepare or remove", verb)
	}
}
