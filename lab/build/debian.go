package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"berth/lab/run"
)

// Suite is a release of Debian that nodes run.
type Suite string

const (
	// Bookworm is Debian 12: its containerd is 1.6.20.
	Bookworm Suite = "bookworm"
	// Trixie is Debian 13: its containerd is 1.7.24.
	Trixie Suite = "trixie"
)

// hostPackages are the programs that the lab needs on the host, with the Debian packages that bring them.
var hostPackages = []struct{ program, name string }{
	{"debootstrap", "debootstrap"},
	{"systemd-nspawn", "systemd-container"},
	{"ip", "iproute2"},
	{"iptables", "iptables"},
	{"nsenter", "util-linux"},
}

// nodePackages is what a node has beyond the smallest Debian.
var nodePackages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "containerd", "runc", "containernetworking-plugins",
	"ca-certificates", "curl", "ifupdown", "iproute2", "iptables", "conntrack", "kmod", "procps", "busybox-static",
}

// HostPackages installs the programs that are missing on the host.
func (b *Builder) HostPackages(ctx context.Context) error {
	var missing []string
	for _, p := range hostPackages {
		if _, err := exec.LookPath(p.program); err != nil {
			missing = append(missing, p.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	b.Say("installing %s", strings.Join(missing, " "))
	for _, args := range [][]string{
		{"apt-get", "update"},
		append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, missing...),
	} {
		if _, err := run.Output(ctx, run.Command{Args: args, Log: b.Verbose, Env: []string{"DEBIAN_FRONTEND=noninteractive"}}); err != nil {
			return fmt.Errorf("installing %s on this machine: %w", strings.Join(missing, " "), err)
		}
	}
	return nil
}

// Base makes the Debian of a suite and returns its folder. One with further packages is a part of its own.
func (b *Builder) Base(ctx context.Context, suite Suite, further ...string) (string, error) {
	name := strings.Join(append([]string{"base", string(suite)}, further...), "-")
	packages := slices.Concat(nodePackages, further)
	base := filepath.Join(b.Cache, name)
	key, err := Key(nil, append([]string{string(suite)}, packages...)...)
	if err != nil {
		return "", err
	}
	return base, b.Part(ctx, name, key, func(ctx context.Context) error {
		mirror, proxy, err := aptSource(ctx)
		if err != nil {
			return err
		}
		for _, dir := range []string{base, base + ".new"} {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		_, err = run.Output(ctx, run.Command{
			Args: []string{
				// Namespaces of its own: what it mounts and starts is gone with it, also when it is killed.
				"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
				"debootstrap", "--variant=minbase", "--include=" + strings.Join(packages, ","), string(suite), base + ".new", mirror,
			},
			Env: proxy, Log: b.Verbose,
		})
		if err != nil {
			return err
		}
		return os.Rename(base+".new", base)
	})
}

// aptSource returns the Debian mirror that this machine's apt uses, and the environment of a proxy that apt is told to use.
func aptSource(ctx context.Context) (string, []string, error) {
	const format = "$(SITE) $(LABEL) $(COMPONENT)"
	list := func() (string, error) {
		return run.Output(ctx, run.Command{Args: []string{"apt-get", "indextargets", "--format", format, "Created-By: Packages"}})
	}
	targets, err := list()
	if err != nil {
		return "", nil, fmt.Errorf("asking apt for its mirror: %w", err)
	}
	mirror := debianSite(targets)
	if mirror == "" {
		// The labels come from the downloaded lists, which a fresh machine lacks.
		if err := run.Do(ctx, "apt-get", "update"); err != nil {
			return "", nil, err
		}
		if targets, err = list(); err != nil {
			return "", nil, fmt.Errorf("asking apt for its mirror: %w", err)
		}
		mirror = debianSite(targets)
	}
	if mirror == "" {
		return "", nil, errors.New("apt on this machine has no source of Debian's main component: add one")
	}
	shell, err := run.Output(ctx, run.Command{Args: []string{"apt-config", "shell", "PROXY", "Acquire::http::Proxy"}})
	if err != nil {
		return "", nil, fmt.Errorf("asking apt for its proxy: %w", err)
	}
	var proxy []string
	if value, ok := strings.CutPrefix(strings.TrimSpace(shell), "PROXY="); ok {
		proxy = []string{"http_proxy=" + strings.Trim(value, "'")}
	}
	return mirror, proxy, nil
}

// debianSite finds the site of Debian itself (not of its security archive) in lines of "site label component".
func debianSite(targets string) string {
	for line := range strings.Lines(targets) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "Debian" && f[2] == "main" {
			return f[0]
		}
	}
	return ""
}
