// Package rootfs makes the root filesystem that every node starts as: Debian with containerd and sshd, the Kubernetes programs,
// and all images imported, so that a new node has nothing left to unpack.
package rootfs

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/lab/build"
	"berth/lab/machine"
	"berth/lab/run"
)

//go:embed files
var files embed.FS

// modes of embedded files that are not 0644.
var modes = map[string]os.FileMode{"etc/sudoers.d/ops": 0o440}

// setup runs in the new root. sshd's keys are made for each machine; sysctls that name the kernel would be the host's; no timer
// may look for updates in the middle of a test.
const setup = `set -eu
useradd --create-home --shell /bin/bash --uid 1000 ops
install -d -m 0700 /root/.ssh
install -d -m 0700 -o ops -g ops /home/ops/.ssh
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
install -d /etc/cni/net.d /etc/kubernetes/manifests
systemctl enable containerd kubelet kube-proxy machine-mounts networking ssh
systemctl mask systemd-sysctl.service console-getty.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
apt-get clean
rm -rf /var/lib/apt/lists/*
`

// importImages runs in the new root, with containerd started for it alone, and imports the archives bound at /mnt.
const importImages = `set -eu
containerd >/tmp/containerd.log 2>&1 &
trap 'kill $!; wait $! || :; rm -f /tmp/containerd.log' EXIT
n=0
until ctr version >/dev/null 2>&1; do
	n=$((n + 1))
	if [ $n -gt 100 ]; then cat /tmp/containerd.log >&2; exit 1; fi
	sleep 0.1
done
for archive in /mnt/*.tar; do ctr -n k8s.io images import "$archive"; done
`

// Shared are the folders of the root that no machine changes: half its size. They lie in a folder beside it (SharedDir), from which
// machines link them instead of copying.
var Shared = []string{
	"usr/lib/kubernetes",
	"var/lib/containerd/io.containerd.content.v1.content/blobs",
	"var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
}

// SharedDir is where the Shared folders of root are.
func SharedDir(root string) string { return root + ".shared" }

// programs are the names of the one Kubernetes binary on a node.
var programs = []string{"kubeadm", "kubectl", "kubelet", "kube-proxy"}

// Build makes the nodes' root filesystem from a base, with the image archives in the folder images imported, and returns its path.
func Build(ctx context.Context, b *build.Builder, base, images string) (string, error) {
	name := "node-" + strings.TrimPrefix(filepath.Base(base), "base-")
	root := filepath.Join(b.Cache, name)
	baseKey, err := os.ReadFile(base + ".key")
	if err != nil {
		return "", fmt.Errorf("building the nodes' root: %w", err)
	}
	kube, crictl := filepath.Join(b.BinDir(), "kube"), filepath.Join(b.BinDir(), "crictl")
	words := append([]string{string(baseKey), setup, importImages}, Shared...)
	err = fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			content, _ := files.ReadFile(path)
			words = append(words, path, string(content))
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("building the nodes' root: %w", err)
	}
	key, err := build.Key([]string{images, crictl}, words...)
	if err != nil {
		return "", err
	}
	return root, b.Part(ctx, name, key, func(ctx context.Context) error {
		fresh := root + ".new"
		for _, dir := range []string{root, fresh, SharedDir(root)} {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		if err := run.Do(ctx, "cp", "--archive", "--reflink=auto", base, fresh); err != nil {
			return err
		}
		if err := writeFiles(fresh); err != nil {
			return err
		}
		if err := installPrograms(ctx, fresh, kube, crictl); err != nil {
			return err
		}
		if err := inside(ctx, fresh, setup); err != nil {
			return fmt.Errorf("setting up: %w", err)
		}
		if err := inside(ctx, fresh, importImages, "--bind-ro="+images+":/mnt"); err != nil {
			return fmt.Errorf("importing images: %w", err)
		}
		for _, folder := range Shared {
			target := filepath.Join(SharedDir(root), folder)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(fresh, folder), target); err != nil {
				return err
			}
		}
		return os.Rename(fresh, root)
	})
}

func writeFiles(root string) error {
	return fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		target, err := filepath.Rel("files", path)
		if err != nil {
			return err
		}
		mode, ok := modes[target]
		if !ok {
			mode = 0o644
		}
		return machine.WriteFile(filepath.Join(root, target), string(content), mode)
	})
}

func installPrograms(ctx context.Context, root, kube, crictl string) error {
	if err := run.Do(ctx, "install", "-D", "-m", "0755", kube, filepath.Join(root, "usr/lib/kubernetes/kube")); err != nil {
		return err
	}
	for _, p := range programs {
		if err := os.Symlink("/usr/lib/kubernetes/kube", filepath.Join(root, "usr/bin", p)); err != nil {
			return err
		}
	}
	return run.Do(ctx, "install", "-D", "-m", "0755", crictl, filepath.Join(root, "usr/local/bin/crictl"))
}

// inside runs sh in the root as a container that is not booted.
func inside(ctx context.Context, root, sh string, options ...string) error {
	args := append([]string{
		"systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe", "--private-network",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--capability=all",
		"--system-call-filter=@keyring bpf @mount @privileged", "--directory=" + root,
	}, options...)
	_, err := run.Output(ctx, run.Command{
		Args: append(args, "/bin/sh", "-c", sh),
		Env:  []string{"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=" + machine.UnifiedHierarchy()},
	})
	return err
}
