package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/lab/cluster"
)

// tool is one of the provisioners that are compared. Each does the same job on the workers of the cluster, from the same machine.
type tool interface {
	// apply brings all workers to where they shall be. changes says whether it must find something to do.
	apply(ctx context.Context, changes bool) error
	// spoil takes a worker's containerd back to the package's, as a hand that knows nothing of the tool does.
	spoil() string
	// undo leaves the workers as if the tool had never been there.
	undo(ctx context.Context) error
}

// names of the tools.
const (
	berthTool   = "berth"
	ansibleTool = "ansible"
	mitogenTool = "mitogen"
)

// bench is a cluster with the registry on its control plane, and the tools that set up its workers.
type bench struct {
	cluster  *cluster.Cluster
	workers  []*cluster.Node
	tools    map[string]tool
	progress io.Writer
	scratch  string
}

// newBench has berth set up registry and control plane, which is what both sides start from: the registry serves, containerd is built.
func newBench(ctx context.Context, c *cluster.Cluster, progress io.Writer) (*bench, error) {
	scratch, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	b := &bench{cluster: c, workers: c.Nodes[1:], progress: progress, scratch: scratch}
	product, err := newBerth(ctx, c, scratch)
	if err != nil {
		b.close()
		return nil, err
	}
	start := time.Now()
	if err := product.undo(ctx); err != nil {
		b.close()
		return nil, err
	}
	b.say("registry, certificate and control plane are up after %.1f s", time.Since(start).Seconds())
	peer, err := newAnsible(ctx, c, product, scratch)
	if err != nil {
		b.close()
		return nil, err
	}
	mitogen := *peer
	mitogen.mitogen = true
	b.tools = map[string]tool{berthTool: product, ansibleTool: peer, mitogenTool: &mitogen}
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.scratch) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// run takes every figure of every tool in each round. The tools take turns, so that what else the machine does hits all of them.
func (b *bench) run(ctx context.Context, rounds int) (result, error) {
	r := result{nodes: len(b.workers), figures: map[string]map[string][]float64{}}
	order := []string{berthTool, ansibleTool, mitogenTool}
	for round := range rounds {
		restart, err := b.plainRestart(ctx)
		if err != nil {
			return r, err
		}
		r.add(plainTool, outage, restart.Seconds())
		for i := range order {
			name := order[(i+round)%len(order)]
			if err := b.measure(ctx, name, &r); err != nil {
				return r, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return r, nil
}

// measure takes the figures of one tool, from clean workers to clean workers.
func (b *bench) measure(ctx context.Context, name string, r *result) error {
	t := b.tools[name]
	if err := b.timed(ctx, name, firstApply, r, func() error { return t.apply(ctx, true) }); err != nil {
		return err
	}
	if err := b.proven(ctx); err != nil {
		return err
	}
	if err := b.timed(ctx, name, noChange, r, func() error { return t.apply(ctx, false) }); err != nil {
		return err
	}
	node := b.workers[0]
	if _, err := node.Run(ctx, "set -e; "+t.spoil()+"; systemctl daemon-reload; systemctl restart containerd; "+awaitContainerd); err != nil {
		return err
	}
	var out time.Duration
	err := b.timed(ctx, name, oneOfN, r, func() error {
		var err error
		out, err = watchOutage(ctx, node, func() error { return t.apply(ctx, true) })
		return err
	})
	if err != nil {
		return err
	}
	r.add(name, outage, out.Seconds())
	b.say("%d nodes, %s: containerd was out for %.3f s", len(b.workers), name, out.Seconds())
	if err := b.proven(ctx); err != nil {
		return err
	}
	return t.undo(ctx)
}

// timed adds how long do took, and what it cost.
func (b *bench) timed(ctx context.Context, name, figure string, r *result, do func() error) error {
	// What the step before left running must not count.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Second):
	}
	before, err := b.cost()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", figure, err)
	}
	took := time.Since(start).Seconds()
	after, err := b.cost()
	if err != nil {
		return err
	}
	spent := after.minus(before)
	r.add(name, figure, took)
	r.add(name, figure+bytesOf, spent.bytes)
	r.add(name, figure+busyNodes, spent.nodes)
	r.add(name, figure+busyOperator, spent.operator)
	b.say("%d nodes, %s: %s took %.2f s, %.2f s of processors on the nodes and %.2f s here, and sent %.1f KB",
		len(b.workers), name, figure, took, spent.nodes, spent.operator, spent.bytes/1e3)
	return nil
}

// cost is what was spent so far: seconds of processors on the workers and by the programs that ran here, bytes that this machine sent.
type cost struct{ nodes, operator, bytes float64 }

func (c cost) minus(other cost) cost {
	return cost{c.nodes - other.nodes, c.operator - other.operator, c.bytes - other.bytes}
}

func (b *bench) cost() (cost, error) {
	var c cost
	for _, n := range b.workers {
		busy, err := n.CPUTime()
		if err != nil {
			return c, err
		}
		c.nodes += busy.Seconds()
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return c, fmt.Errorf("reading the processor time: %w", err)
	}
	c.operator = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	sent, err := bytesSent()
	c.bytes = float64(sent)
	return c, err
}

// bytesSent counts what this machine itself sent to the machines of the lab; what they send each other is not in it.
func bytesSent() (int64, error) {
	text, err := os.ReadFile("/sys/class/net/" + cluster.Bridge + "/statistics/tx_bytes")
	if err != nil {
		return 0, fmt.Errorf("counting bytes: %w", err)
	}
	var n int64
	if _, err := fmt.Sscan(string(text), &n); err != nil {
		return 0, fmt.Errorf("counting bytes: %w", err)
	}
	return n, nil
}

// onWorkers runs sh on all workers at once.
func (b *bench) onWorkers(ctx context.Context, sh string) error { return onAll(ctx, b.workers, sh) }

func onAll(ctx context.Context, nodes []*cluster.Node, sh string) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for _, n := range nodes {
		all.Go(func() error {
			_, err := n.Run(ctx, sh)
			return err
		})
	}
	return all.Wait()
}

// proven looks at every worker with no tool's eyes: the patched containerd must run there, and have pulled.
func (b *bench) proven(ctx context.Context) error {
	return b.onWorkers(ctx, `set -e
"/proc/$(systemctl show -p MainPID --value containerd)/exe" --version | grep -q berth
crictl images | grep -q '^Yuan.com/'`)
}

const awaitContainerd = `n=0; until crictl info >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 300 ]; sleep 0.1; done`

// plainRestart is how long containerd is out where somebody restarts it and does nothing else.
func (b *bench) plainRestart(ctx context.Context) (time.Duration, error) {
	node := b.workers[0]
	return watchOutage(ctx, node, func() error {
		_, err := node.Run(ctx, "set -e; systemctl restart containerd; "+awaitContainerd)
		return err
	})
}
