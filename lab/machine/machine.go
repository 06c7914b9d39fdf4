// Package machine runs Linux machines on this host: systemd-nspawn containers that boot their own systemd and sshd and hang on
// one bridge. It knows nothing of Kubernetes.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/lab/run"
)

// bootLimit bounds the time from Start until systemd has finished booting.
const bootLimit = 2 * time.Minute

// Machine is one machine. Its folder holds the root filesystem, the process id and the console log.
type Machine struct {
	Name string
	Dir  string
}

// Root is the path of the machine's root filesystem on the host.
func (m *Machine) Root() string { return filepath.Join(m.Dir, "root") }

// Console is the path of the file that gets what the machine prints while it boots.
func (m *Machine) Console() string { return filepath.Join(m.Dir, "console.log") }

func (m *Machine) pidFile() string { return filepath.Join(m.Dir, "pid") }

// hostInterface is the host's end of the machine's network cable; systemd-nspawn names it.
func (m *Machine) hostInterface() string { return "vb-" + m.Name }

// Start boots the machine on the bridge n and returns when systemd is up. A machine that runs is left alone.
func (m *Machine) Start(ctx context.Context, n Network) error {
	if m.Running() {
		return nil
	}
	// What a crash left of an earlier run would be in the way: a cable of the same name, processes that hold the root.
	if err := m.Kill(ctx); err != nil {
		return err
	}
	cgroups, err := createCgroups(m.Name)
	if err != nil {
		return err
	}
	console, err := os.Create(m.Console())
	if err != nil {
		return fmt.Errorf("creating the console log: %w", err)
	}
	defer console.Close()

	// The shell moves itself into the machine's control groups and then becomes systemd-nspawn.
	args := append([]string{"-c", `while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"`, "sh"}, cgroups...)
	args = append(append(args, "--"), m.nspawnArgs(n)...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", args...) // The machine stays when the caller ends.
	cmd.Env = append(os.Environ(),
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", // kubelet and kube-proxy set sysctls.
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="+UnifiedHierarchy())
	cmd.Stdout, cmd.Stderr = console, console
	// A session of its own: the machine outlives the program that started it, and an interrupt at the terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting machine %s: %w", m.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := os.WriteFile(m.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return fmt.Errorf("recording machine %s: %w", m.Name, err)
	}
	if err := m.waitUntilUp(ctx, ended); err != nil {
		return fmt.Errorf("booting machine %s (its console: %s): %w", m.Name, m.Console(), err)
	}
	return nil
}

func (m *Machine) nspawnArgs(n Network) []string {
	args := []string{
		"systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=read-only",
		"--machine=" + m.Name, "--directory=" + m.Root(), "--network-bridge=" + n.Bridge,
		// The machine's own files stay as they were made.
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		// A node runs a container runtime: it mounts, loads keys and BPF programs as a real machine does.
		"--capability=all",
		"--system-call-filter=@keyring bpf @mount @privileged @module @clock @raw-io @reboot @swap @obsolete",
	}
	if _, err := os.Stat("/dev/kmsg"); err == nil {
		args = append(args, "--bind=/dev/kmsg") // kubelet reads the kernel log.
	}
	return args
}

// waitUntilUp returns when systemd says that it has booted. A failed unit does not count: the machine is up nevertheless.
func (m *Machine) waitUntilUp(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	var last error
	for {
		state, err := m.Run(ctx, "systemctl is-system-running || :")
		if s := strings.TrimSpace(state); s == "running" || s == "degraded" {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("systemd says %q", strings.TrimSpace(state))
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case err := <-ended:
			return fmt.Errorf("systemd-nspawn ended: %w", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// Running tells whether the machine's systemd lives.
func (m *Machine) Running() bool {
	_, err := m.leader()
	return err == nil
}

// leader returns the host's process id of the machine's process 1.
func (m *Machine) leader() (int, error) {
	notRunning := fmt.Errorf("machine %s does not run", m.Name)
	data, err := os.ReadFile(m.pidFile())
	if err != nil {
		return 0, notRunning
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, notRunning
	}
	pid := strconv.Itoa(number)
	// A process id is used again some day: it counts only while it is this machine's systemd-nspawn.
	cmdline, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || !slices.Contains(strings.Split(string(cmdline), "\x00"), "--directory="+m.Root()) {
		return 0, notRunning
	}
	children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	if err != nil {
		return 0, notRunning
	}
	for child := range strings.FieldsSeq(string(children)) {
		if isLeader(child) {
			return strconv.Atoi(child)
		}
	}
	return 0, notRunning
}

// isLeader tells whether the process is number 1 of a process namespace below the host's.
func isLeader(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			ids := strings.Fields(rest)
			return len(ids) > 1 && ids[len(ids)-1] == "1"
		}
	}
	return false
}

// Inside is the path on the host of the root as the machine's own processes see it, with all that is mounted in it. It holds until the
// machine ends.
func (m *Machine) Inside() (string, error) {
	leader, err := m.leader()
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(leader), "root"), nil
}

// Run runs sh as root inside the machine, with nothing on standard input, and returns its standard output. An error carries the
// end of its standard error.
func (m *Machine) Run(ctx context.Context, sh string) (string, error) {
	leader, err := m.leader()
	if err != nil {
		return "", err
	}
	out, err := run.Output(ctx, run.Command{Args: []string{
		"nsenter", "--target", strconv.Itoa(leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
		"/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"/bin/sh", "-c", sh,
	}})
	if err != nil {
		return out, fmt.Errorf("running a command on %s: %w", m.Name, err)
	}
	return out, nil
}

// Kill ends the machine at once, as a loss of power does, and returns when nothing of it runs. It succeeds where nothing runs.
func (m *Machine) Kill(ctx context.Context) error {
	if err := killCgroups(m.Name); err != nil {
		return err
	}
	if err := os.Remove(m.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the process id of machine %s: %w", m.Name, err)
	}
	// The kernel removes the cable some time after the last process: do not wait for it.
	if _, err := os.Stat("/sys/class/net/" + m.hostInterface()); err == nil {
		if err := run.Do(ctx, "ip", "link", "delete", m.hostInterface()); err != nil {
			if _, gone := os.Stat("/sys/class/net/" + m.hostInterface()); gone == nil {
				return err
			}
		}
	}
	return nil
}

// Leftovers returns the names of the machines that have control groups on this host, whoever started them.
func Leftovers() ([]string, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, root := range roots {
		entries, _ := os.ReadDir(filepath.Join(root, cgroupName))
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// Alive tells whether processes of a machine of that name run on this host, whoever started them.
func Alive(name string) bool {
	roots, _ := hierarchies()
	return slices.ContainsFunc(roots, func(root string) bool {
		return len(processesBelow(filepath.Join(root, cgroupName, name))) > 0
	})
}
