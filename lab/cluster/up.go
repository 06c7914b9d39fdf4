package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/lab/build"
	"berth/lab/machine"
	"berth/lab/rootfs"
	"berth/lab/run"
)

// readyLimit bounds the wait for nodes to become ready.
const readyLimit = 3 * time.Minute

// Up builds what is missing, brings the cluster up and writes its stack. A cluster that is there already is kept: machines that are
// off are started. What an earlier run left half done is removed first.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, o.Dir, o.Progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := refuseForeign(o.Dir); err != nil {
		return nil, err
	}
	b := &build.Builder{Source: filepath.Join(o.Project, "lab"), Cache: o.Cache, Progress: o.Progress, Verbose: o.Verbose}
	if err := b.HostPackages(ctx); err != nil {
		return nil, err
	}
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error { return b.Pulumi(partsCtx) })
	c := &Cluster{
		Project: o.Project, Dir: o.Dir, BinDir: b.BinDir(), PulumiHome: b.PulumiHome(),
		Kubeconfig:      filepath.Join(o.Dir, "kubeconfig"),
		SSHKey:          filepath.Join(o.Dir, "ssh/id_ed25519"),
		RegistryArchive: filepath.Join(o.Dir, "registry.tar"),
		NginxArchive:    filepath.Join(o.Dir, "nginx.tar"),
	}
	parts.Go(func() error {
		root, err := buildRoot(partsCtx, b)
		if err != nil {
			return err
		}
		return c.ensure(partsCtx, b, root)
	})
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.writeStack(ctx); err != nil {
		return nil, err
	}
	b.Say("%-14s written in %.0f s", "stack", time.Since(start).Seconds())
	return c, c.save()
}

// buildRoot builds all that the nodes consist of and returns the root filesystem they are copied from.
func buildRoot(ctx context.Context, b *build.Builder) (string, error) {
	parts, partsCtx := errgroup.WithContext(ctx)
	var base string
	parts.Go(func() error {
		var err error
		base, err = b.Base(partsCtx) // Waits for the network while the others compile.
		return err
	})
	parts.Go(func() error {
		if err := b.Kube(partsCtx); err != nil {
			return err
		}
		return b.Registry(partsCtx)
	})
	if err := parts.Wait(); err != nil {
		return "", err
	}
	images, err := rootfs.Images(ctx, b, base)
	if err != nil {
		return "", err
	}
	return rootfs.Build(ctx, b, base, images)
}

// ensure has the cluster running: the one that is there, or a new one.
func (c *Cluster) ensure(ctx context.Context, b *build.Builder, root string) error {
	if old, err := read(c.Dir); err == nil {
		c.Nodes = old.Nodes
		c.resumed = true
		start := time.Now()
		if err := c.resume(ctx); err == nil {
			b.Say("%-14s runs (%.0f s)", "cluster", time.Since(start).Seconds())
			return nil
		}
		b.Say("the cluster of the last run does not come back: making a new one")
	}
	c.resumed = false
	if err := clean(ctx, c.Dir); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"machines", func(ctx context.Context) error { return c.createMachines(ctx, b, root) }},
		{"control plane", c.initControlPlane},
		{"nodes", c.joinNodes},
	} {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("bringing up the %s: %w", step.name, err)
		}
		b.Say("%-14s up in %.0f s", step.name, time.Since(start).Seconds())
	}
	return c.save()
}

// resume starts the machines that are off and waits until the cluster works.
func (c *Cluster) resume(ctx context.Context) error {
	if err := network.Up(ctx); err != nil {
		return err
	}
	if err := claim(c.Dir); err != nil {
		return err
	}
	started := time.Now()
	off := []string{}
	for _, n := range c.Nodes {
		if n.Running() {
			continue
		}
		off = append(off, n.Name)
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return c.waitReady(ctx, started, off...)
}

func (c *Cluster) createMachines(ctx context.Context, b *build.Builder, root string) error {
	if err := refuseOverlay(c.Dir); err != nil {
		return err
	}
	if err := claim(c.Dir); err != nil {
		return err
	}
	if err := saveSysctls(c.Dir); err != nil {
		return err
	}
	if err := network.Up(ctx); err != nil {
		return err
	}
	private, public, err := machine.NewSSHKey("berth-lab")
	if err != nil {
		return err
	}
	for _, f := range []struct{ path, content string }{
		{c.SSHKey, private}, {c.SSHKey + ".pub", public}, {c.passphrase(), randomText(32) + "\n"},
	} {
		if err := machine.WriteFile(f.path, f.content, 0o600); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{rootfs.RegistryArchive(b): c.RegistryArchive, rootfs.NginxArchive(b): c.NginxArchive} {
		if err := run.Do(ctx, "cp", "--reflink=auto", from, to); err != nil {
			return err
		}
	}
	c.Nodes = nil
	machines, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		n.machine = newMachine(c.Dir, n.Name)
		c.Nodes = append(c.Nodes, &n)
		machines.Go(func() error { return c.createMachine(ctx, &n, root, public) })
	}
	return machines.Wait()
}

func (c *Cluster) createMachine(ctx context.Context, n *Node, root, key string) error {
	spec := machine.Spec{
		Template:      root,
		SharedDir:     rootfs.SharedDir(root),
		Shared:        rootfs.Shared,
		Address:       netip.PrefixFrom(netip.MustParseAddr(n.Address), network.Prefix.Bits()),
		Gateway:       network.Prefix.Addr(),
		Hosts:         map[string]netip.Addr{},
		AuthorizedKey: key,
	}
	for _, other := range nodes {
		address := netip.MustParseAddr(other.Address)
		spec.Hosts[other.Name] = address
		if other.Name != n.Name {
			spec.Routes = append(spec.Routes, machine.Route{To: netip.MustParsePrefix(other.PodCIDR), Via: address})
		}
	}
	if err := n.machine.Create(ctx, spec); err != nil {
		return err
	}
	if err := machine.WriteFile(filepath.Join(n.Root(), "etc/cni/net.d/10-pods.conflist"), cniConfig(*n), 0o644); err != nil {
		return err
	}
	var err error
	if n.HostKey, err = n.machine.HostKey(); err != nil {
		return err
	}
	return n.Start(ctx)
}

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
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "--timeout=20s", "nodes/" + c.Nodes[0].Name, "nodes/" + c.Nodes[1].Name, "nodes/" + c.Nodes[2].Name},
		{"--namespace=default", "get", "serviceaccount", "default"},
	} {
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

// refuseOverlay makes sure that containerd can use its overlay on the filesystem of dir.
func refuseOverlay(dir string) error {
	const overlay = 0x794c7630
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("looking at the filesystem of %s: %w", dir, err)
	}
	if fs.Type == overlay {
		return fmt.Errorf("%s is on an overlay filesystem, on which containerd cannot unpack images: keep the lab on a real disk", dir)
	}
	return nil
}
