package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/lab/cluster"
	"berth/lab/run"
	"berth/lab/stack"
)

// berth runs the project's own Pulumi program, whole, as its users do.
type berth struct {
	cluster *cluster.Cluster
	env     []string
	// without and with are the stack's config without the workers and with them.
	without, with string
}

func newBerth(ctx context.Context, c *cluster.Cluster, scratch string) (*berth, error) {
	b := &berth{cluster: c, env: c.Env(), without: filepath.Join(scratch, "without.yaml"), with: filepath.Join(scratch, "with.yaml")}
	written, err := os.ReadFile(filepath.Join(c.Project, "stacks", "Pulumi."+stack.Name+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the stack's config: %w", err)
	}
	for file, nodes := range map[string][]*cluster.Node{b.without: c.Nodes[:1], b.with: c.Nodes} {
		if err := os.WriteFile(file, written, 0o600); err != nil {
			return nil, fmt.Errorf("writing the stack's config: %w", err)
		}
		if err := b.pulumi(ctx, file, "config", "rm", "berth:nodes"); err != nil {
			return nil, err
		}
		// All at once, as the peer does it. The default, a quarter after the other, is for clusters that serve somebody.
		args := []string{"config", "set-all", "--path", "--plaintext", "berth:rollout.batch=100%"}
		for i, n := range nodes {
			node := "berth:nodes[" + strconv.Itoa(i) + "]."
			for _, setting := range []string{"name=" + n.Name, "address=" + n.Address, "hostKey=" + n.HostKey} {
				args = append(args, "--plaintext", node+setting)
			}
		}
		if err := b.pulumi(ctx, file, args...); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// pulumi runs a command with that config and keeps what it says for the error. Standard output is where it says what failed.
func (b *berth) pulumi(ctx context.Context, config string, args ...string) error {
	_, err := b.output(ctx, append(args, "--config-file", config)...)
	return err
}

func (b *berth) output(ctx context.Context, args ...string) (string, error) {
	full := append([]string{filepath.Join(b.cluster.BinDir, "pulumi")}, args...)
	out, err := run.Output(ctx, run.Command{
		Args: append(full, "--stack", stack.Name, "--non-interactive", "--color", "never"), Dir: b.cluster.Project, Env: b.env,
	})
	if err != nil {
		return out, fmt.Errorf("running pulumi %s: %w\n%s", args[0], err, out)
	}
	return out, nil
}

// apply is one up with its look at the nodes, which no preview precedes: the peer has none either.
func (b *berth) apply(ctx context.Context, changes bool) error {
	args := []string{"up", "--yes", "--skip-preview"}
	if !changes {
		args = append(args, "--expect-no-changes")
	}
	return b.pulumi(ctx, b.with, args...)
}

func (*berth) spoil() string { return "rm /etc/systemd/system/containerd.service.d/zz-berth.conf" }

// undo takes the workers out of the stack.
func (b *berth) undo(ctx context.Context) error {
	return b.pulumi(ctx, b.without, "up", "--yes", "--skip-preview")
}

// ca is the certificate that nodes trust, as PEM.
func (b *berth) ca(ctx context.Context) (string, error) {
	out, err := b.output(ctx, "stack", "output", "ca")
	return strings.TrimSpace(out), err
}

// image is what berth has every node pull.
func (b *berth) image(ctx context.Context) (string, error) {
	return b.cluster.Kubectl(ctx, "--namespace=default", "get", "jobs", "--selector=app=berth-verify",
		"--output=jsonpath={.items[0].spec.template.spec.containers[0].image}")
}
