package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"berth/lab/run"
)

// readyLimit bounds the wait for nodes to become ready.
const readyLimit = 3 * time.Minute

// waitReady returns when every node is ready and pods can be made. The started nodes must have been heard of since then: Kubernetes
// takes a node that went off for ready for another 40 seconds.
func (c *Cluster) waitReady(ctx context.Context, since time.Time, started ...string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		err := c.checkReady(ctx, since, started)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the nodes to be ready: %w", err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (c *Cluster) checkReady(ctx context.Context, since time.Time, started []string) error {
	for _, name := range started {
		renewed, err := c.Kubectl(ctx, "--namespace=kube-node-lease", "get", "lease", name, "--output=jsonpath={.spec.renewTime}")
		if err != nil {
			return err
		}
		if t, err := time.Parse(time.RFC3339Nano, renewed); err != nil || t.Before(since) {
			return fmt.Errorf("node %s was last heard of at %q", name, renewed)
		}
	}
	ready := []string{"wait", "--for=condition=Ready", "--timeout=20s"}
	for _, n := range c.Nodes {
		ready = append(ready, "nodes/"+n.Name)
	}
	for _, args := range [][]string{ready, {"--namespace=default", "get", "serviceaccount", "default"}} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// Kubectl runs the lab's kubectl as the cluster's administrator and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return run.Output(ctx, run.Command{
		Args: append([]string{filepath.Join(c.BinDir, "kubectl"), "--request-timeout=20s"}, args...), Env: []string{"KUBECONFIG=" + c.Kubeconfig},
	})
}
