// Command portrange has what kubeadm remembers of a cluster agree with API servers that take NodePorts from a lower port on (first
// argument "widen"), or takes that back (any other, for a deletion). It reads a request as JSON from standard input; further arguments
// are for whoever reads the command line.
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

	"berth/components/kubeadm"
	"berth/internal/kubeapi"
)

// limit bounds all of it.
const limit = 2 * time.Minute

// request is what standard input holds. Fields that are unknown here are from a later berth, whose state a destroy may find.
type request struct {
	Kubeconfig string `json:"kubeconfig"`
	Context    string `json:"context"`
	Stack      string `json:"stack"`
	Port       int    `json:"port,string"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, strings.Join(os.Args[1:], " "), os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, summary string, stdin io.Reader, stdout io.Writer) error {
	var r request
	if err := json.NewDecoder(stdin).Decode(&r); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	config, err := kubeadm.New(kubeapi.Cluster{Kubeconfig: r.Kubeconfig, Context: r.Context}, r.Stack)
	if err != nil {
		return err
	}
	var said string
	if strings.HasPrefix(summary, "widen ") {
		said, err = config.Widen(ctx, r.Port)
	} else {
		said, err = config.Restore(ctx)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, said)
	return err
}
