package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"berth/lab/build"
	"berth/lab/machine"
	"berth/lab/rootfs"
	"berth/lab/run"
)

// atOnce is how many machines boot or join at the same time: more would only wait for each other's disk and processor.
const atOnce = 8

func (c *Cluster) createMachines(ctx context.Context, b *build.Builder, roots map[build.Suite]string) error {
	if err := refuseOverlay(c.Dir); err != nil {
		return err
	}
	if err := claim(c.Dir); err != nil {
		return err
	}
	if err := saveSysctls(c.Dir); err != nil {
		return err
	}
	if err := raiseInotify(); err != nil {
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
	machines.SetLimit(atOnce)
	for _, n := range c.layout {
		n.machine = newMachine(c.Dir, n.Name)
		c.Nodes = append(c.Nodes, &n)
		machines.Go(func() error { return c.createMachine(ctx, &n, roots[n.Suite], public) })
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
	for _, other := range c.layout {
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
