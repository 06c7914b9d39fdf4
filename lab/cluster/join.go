package cluster

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/lab/machine"
)

// kubeadmConfig is a file that holds a bootstrap token for as long as kubeadm needs it.
const kubeadmConfig = "/etc/kubernetes/kubeadm.yaml"

// Preflight checks the kernel and ports of a machine of its own. DNS is not needed, and kube-proxy is a service here.
const initCommand = `kubeadm init --config ` + kubeadmConfig + ` --ignore-preflight-errors=all \
	--skip-phases=preflight,addon/coredns,addon/kube-proxy,show-join-command
kubeadm kubeconfig user --config ` + kubeadmConfig + ` --client-name system:kube-proxy >/etc/kubernetes/kube-proxy.conf`

func (c *Cluster) initControlPlane(ctx context.Context) error {
	n := c.Nodes[0]
	c.token = newToken()
	if err := machine.WriteFile(filepath.Join(n.Root(), kubeadmConfig), initConfig(*n, c.token), 0o600); err != nil {
		return err
	}
	if _, err := n.Run(ctx, "set -eu; umask 077; "+initCommand+"; systemctl start kube-proxy"); err != nil {
		return err
	}
	admin, err := os.ReadFile(filepath.Join(n.Root(), "etc/kubernetes/admin.conf"))
	if err != nil {
		return err
	}
	return machine.WriteFile(c.Kubeconfig, string(admin), 0o600)
}

func (c *Cluster) joinNodes(ctx context.Context) error {
	master := c.Nodes[0]
	ca, err := os.ReadFile(filepath.Join(master.Root(), "etc/kubernetes/pki/ca.crt"))
	if err != nil {
		return err
	}
	hash, err := caHash(ca)
	if err != nil {
		return err
	}
	proxy, err := os.ReadFile(filepath.Join(master.Root(), "etc/kubernetes/kube-proxy.conf"))
	if err != nil {
		return err
	}
	joins, joinCtx := errgroup.WithContext(ctx)
	joins.SetLimit(atOnce)
	for _, n := range c.Nodes[1:] {
		joins.Go(func() error {
			for path, content := range map[string]string{
				kubeadmConfig:                     joinConfig(*n, *master, c.token, hash),
				"/etc/kubernetes/kube-proxy.conf": string(proxy),
			} {
				if err := machine.WriteFile(filepath.Join(n.Root(), path), content, 0o600); err != nil {
					return err
				}
			}
			_, err := n.Run(joinCtx, "set -eu; systemctl start kube-proxy; "+
				"kubeadm join --config "+kubeadmConfig+" --ignore-preflight-errors=all --skip-phases=preflight")
			return err
		})
	}
	if err := joins.Wait(); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := os.Remove(filepath.Join(n.Root(), kubeadmConfig)); err != nil {
			return err
		}
	}
	return c.waitReady(ctx, time.Time{})
}
