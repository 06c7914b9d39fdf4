// Command lab runs the cluster that berth's demo and tests need, on one Linux machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"berth/lab/cluster"
)

const usage = `Usage: lab up|down|status|env

  up      build what is missing, start the cluster, write stacks/Pulumi.lab.yaml
  down    remove the cluster and all that belongs to it, except what was built
  status  say what runs
  env     print the environment for pulumi and kubectl: eval "$(lab env)"

The folders are lab/.state (machines, keys) and lab/.cache (builds; BERTH_LAB_CACHE names another).
LAB_VERBOSE=1 shows what compilers and installers print.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New(strings.TrimSpace(usage))
	}
	options := cluster.Options{Progress: os.Stderr}
	if os.Getenv("LAB_VERBOSE") != "" {
		options.Verbose = os.Stderr
	}
	if needsRoot := args[0] == "up" || args[0] == "down"; needsRoot && os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: it starts machines", args[0])
	}
	switch args[0] {
	case "up":
		start := time.Now()
		if _, err := cluster.Up(ctx, options); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "lab: up after %.0f s\n", time.Since(start).Seconds())
		return nil
	case "down":
		return cluster.Down(ctx, options)
	case "status":
		return status(ctx, options)
	case "env":
		c, err := cluster.Find(options)
		if err != nil {
			return err
		}
		for _, e := range c.Env() {
			name, value, _ := strings.Cut(e, "=")
			fmt.Printf("export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
		}
		return nil
	default:
		return errors.New(strings.TrimSpace(usage))
	}
}

// status prints a line per machine and what Kubernetes says of the nodes.
func status(ctx context.Context, o cluster.Options) error {
	c, err := cluster.Find(o)
	if err != nil {
		return err
	}
	on := 0
	for _, n := range c.Nodes {
		state := "off"
		if n.Running() {
			on++
			if state, err = n.System(ctx); err != nil {
				state = "on, but does not answer: " + err.Error()
			}
		}
		fmt.Printf("machine %s %s %s\n", n.Name, n.Address, state)
	}
	if on == 0 {
		return nil
	}
	out, err := c.Kubectl(ctx, "get", "nodes", "--output=wide")
	if err != nil {
		return fmt.Errorf("asking Kubernetes: %w", err)
	}
	fmt.Print(out)
	return nil
}
