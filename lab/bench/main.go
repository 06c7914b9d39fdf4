// Command bench runs berth and Ansible side by side on the same machines and prints how they compare.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/lab/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	counts := flags.String("nodes", "1,4,12,24", "how many nodes, one cluster after the other")
	rounds := flags.Int("rounds", 2, "how often each figure is taken; the median counts")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sizes, err := parseSizes(*counts)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("it needs root: it starts machines")
	}
	var all []result
	for _, size := range sizes {
		r, err := measure(ctx, size, *rounds, stderr)
		if err != nil {
			return fmt.Errorf("measuring on %d nodes: %w", size, err)
		}
		all = append(all, r)
		// Said at once: the larger clusters take long.
		for _, line := range r.ratios() {
			fmt.Fprintln(stdout, line)
		}
	}
	_, err = fmt.Fprint(stdout, "\n", table(all))
	return err
}

func parseSizes(text string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(text, ",") {
		size, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || size < 1 || size > 40 {
			return nil, fmt.Errorf("-nodes %s: numbers from 1 to 40 with commas between them", text)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// measure makes a cluster of so many workers, takes all figures on it and removes it.
func measure(ctx context.Context, size, rounds int, progress io.Writer) (result, error) {
	options := cluster.Options{Progress: progress, Workers: size, Packages: []string{"python3"}}
	if old, err := cluster.Find(options); err == nil {
		return result{}, fmt.Errorf("there is a lab in %s: `make lab-down` removes it", old.Dir)
	}
	c, err := cluster.Up(ctx, options)
	defer func() {
		// Also after an interrupt, and after half an up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer cancel()
		if err := cluster.Down(ctx, options); err != nil {
			fmt.Fprintln(progress, "bench: removing the cluster:", err)
		}
	}()
	if err != nil {
		return result{}, err
	}
	b, err := newBench(ctx, c, progress)
	if err != nil {
		return result{}, err
	}
	defer b.close()
	return b.run(ctx, rounds)
}
