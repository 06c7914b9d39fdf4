package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/lab/machine"
)

// owner is the file that names the state folder of the lab that uses this host: names and addresses are fixed, so there is one.
const owner = "/run/berth-lab"

// inotify is the setting that we change ourselves: how many instances root may have, 128 by default. systemd, kubelet and containerd of a
// machine take about fifteen; inotifyInstances are enough for the forty nodes that the benchmark allows.
const (
	inotify          = "fs/inotify/max_user_instances"
	inotifyInstances = 1024
)

// sysctls are the kernel settings that kubelet or we change and that no namespace keeps apart.
var sysctls = []string{
	inotify,
	"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom",
}

// lock keeps two runs from working on the state folder at the same time: it waits, and says so on progress, until the other is done.
// The kernel lets go of the lock when a process ends, however it ends.
func lock(ctx context.Context, dir string, progress io.Writer) (func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state folder: %w", err)
	}
	for waiting := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("locking the state folder: %w", err)
		}
		if !waiting {
			fmt.Fprintf(progress, "lab: waiting for another lab command to finish with %s\n", dir)
			waiting = true
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("waiting for another lab command to finish with %s: %w", dir, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// claim records that this host's lab is the one in dir.
func claim(dir string) error {
	if err := machine.WriteFile(owner, dir+"\n", 0o644); err != nil {
		return fmt.Errorf("claiming the host: %w", err)
	}
	return nil
}

// ownerDir is the state folder of the lab that uses this host, "" where none does.
func ownerDir() string {
	data, err := os.ReadFile(owner)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// refuseForeign fails while machines of a lab with another state folder run. What is left of one that is dead may be cleaned up.
func refuseForeign(dir string) error {
	other := ownerDir()
	if other == "" || other == dir {
		return nil
	}
	if _, err := os.Stat(other); err != nil {
		return nil //nolint:nilerr // Its folder is gone: nobody can take it down any more but us.
	}
	names, err := machine.Leftovers()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(names, machine.Alive) {
		return fmt.Errorf("the lab in %s runs on this machine: take it down there first (lab down)", other)
	}
	return nil
}

// Down takes the cluster down and removes all that the lab made outside its cache.
func (c *Cluster) Down(ctx context.Context) error {
	return Down(ctx, Options{Project: c.Project, Dir: c.Dir})
}

// Down removes whatever there is of the lab in o.Dir: machines, bridge, mounts, the state folder and the stack file. It needs no
// running cluster and succeeds where nothing is left.
func Down(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, o.Dir, o.Progress)
	if err != nil {
		return err
	}
	defer unlock()
	if err := refuseForeign(o.Dir); err != nil {
		return err
	}
	if err := clean(ctx, o.Dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(o.Project, "stacks/Pulumi.lab.yaml")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the stack file: %w", err)
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		return fmt.Errorf("removing the state folder: %w", err)
	}
	return nil
}

// clean ends every machine and undoes what was done to the host; of dir only the lock stays. It relies on nothing that an earlier run
// recorded having been recorded.
func clean(ctx context.Context, dir string) error {
	names, err := machine.Leftovers()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if !slices.Contains(names, n.Name) {
			names = append(names, n.Name)
		}
	}
	// At the same time: most of the work is the removal of many files.
	machines, machinesCtx := errgroup.WithContext(ctx)
	for _, name := range names {
		machines.Go(func() error {
			m := newMachine(dir, name)
			if err := m.Kill(machinesCtx); err != nil {
				return err
			}
			if err := unmountBelow(m.Dir); err != nil {
				return err
			}
			if err := os.RemoveAll(m.Dir); err != nil {
				return fmt.Errorf("removing machine %s: %w", name, err)
			}
			return nil
		})
	}
	if err := machines.Wait(); err != nil {
		return err
	}
	if err := network.Down(ctx); err != nil {
		return err
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	// A dead lab elsewhere may have changed them: what it kept is what was there before any lab.
	if other := ownerDir(); other != "" && other != dir {
		if err := restoreSysctls(other); err != nil {
			return err
		}
	}
	if err := restoreSysctls(dir); err != nil {
		return err
	}
	if err := os.Remove(owner); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("releasing the host: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("emptying the state folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("emptying the state folder: %w", err)
		}
	}
	return nil
}

// unmountBelow unmounts all that is mounted below dir on the host, innermost first. Machines mount in namespaces of their own, so
// this is for what somebody else left there: removing a folder must not empty a filesystem that is mounted in it.
func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	points := mountsBelow(string(data), dir)
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", p, err)
		}
	}
	return nil
}

// mountsBelow returns the mount points below dir in the text of a mountinfo file, the deepest first.
func mountsBelow(mountinfo, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	return points
}

// saveSysctls keeps the host's settings before the first machine changes them. Settings kept by an earlier run are the true ones.
func saveSysctls(dir string) error {
	file := filepath.Join(dir, "sysctls")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	var b strings.Builder
	for _, name := range sysctls {
		if value, err := os.ReadFile("/proc/sys/" + name); err == nil {
			fmt.Fprintf(&b, "%s %s\n", name, strings.TrimSpace(string(value)))
		}
	}
	if err := machine.WriteFile(file, b.String(), 0o600); err != nil {
		return fmt.Errorf("keeping the host's kernel settings: %w", err)
	}
	return nil
}

// raiseInotify makes room for many machines.
func raiseInotify() error {
	now, err := os.ReadFile("/proc/sys/" + inotify)
	if err != nil {
		return fmt.Errorf("reading the kernel setting %s: %w", inotify, err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && n >= inotifyInstances {
		return nil
	}
	if err := os.WriteFile("/proc/sys/"+inotify, []byte(strconv.Itoa(inotifyInstances)), 0o644); err != nil {
		return fmt.Errorf("raising the kernel setting %s: %w", inotify, err)
	}
	return nil
}

func restoreSysctls(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "sysctls"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the host's kernel settings: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if now, err := os.ReadFile("/proc/sys/" + name); err == nil && strings.TrimSpace(string(now)) == value {
			continue
		}
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("restoring the kernel setting %s: %w", name, err)
		}
	}
	return nil
}
