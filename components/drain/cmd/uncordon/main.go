// Command uncordon uncordons the nodes that interrupted runs of a stack left cordoned, for a destroy, which runs no program that
// could look. It reads a request as JSON from standard input; arguments are for whoever reads the command line.
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
	"time"

	"berth/components/drain"
)

// limit bounds all of it.
const limit = 2 * time.Minute

// request is what standard input holds. Fields that are unknown here are from a later berth, whose state a destroy may find.
type request struct {
	Kubeconfig string `json:"kubeconfig"`
	Context    string `json:"context"`
	Stack      string `json:"stack"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var r request
	if err := json.NewDecoder(stdin).Decode(&r); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	drainer, err := drain.New(drain.Cluster{Kubeconfig: r.Kubeconfig, Context: r.Context}, drain.Options{})
	if err != nil {
		return err
	}
	healed, err := drainer.Heal(ctx, r.Stack)
	if err != nil {
		return err
	}
	if len(healed) > 0 {
		_, err = fmt.Fprintf(stdout, "uncordoned %s\n", strings.Join(healed, ", "))
	}
	return err
}
