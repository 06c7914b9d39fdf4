package machine

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"berth/lab/run"
)

// Spec says what a new machine is like.
type Spec struct {
	Template      string       // root filesystem that is copied
	SharedDir     string       // folder with further parts of it, which no machine changes: they are hard-linked where that is possible
	Shared        []string     // the parts, by their paths in SharedDir and in the root
	Address       netip.Prefix // its address, with the length of the network
	Gateway       netip.Addr
	Routes        []Route
	Hosts         map[string]netip.Addr // further lines for /etc/hosts
	AuthorizedKey string                // the ssh key that may log in as root and as ops
}

// Route sends the packets for To through Via.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Create copies the template and makes it a machine of its own: name, machine id, address, ssh host key.
func (m *Machine) Create(ctx context.Context, s Spec) error {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return fmt.Errorf("creating machine %s: %w", m.Name, err)
	}
	if err := run.Do(ctx, "cp", "--archive", "--reflink=auto", s.Template, m.Root()); err != nil {
		return fmt.Errorf("creating machine %s: %w", m.Name, err)
	}
	for _, part := range s.Shared {
		from, to := filepath.Join(s.SharedDir, part), filepath.Join(m.Root(), part)
		if run.Do(ctx, "cp", "--archive", "--link", from, to) == nil {
			continue
		}
		// Links do not reach across filesystems.
		if err := os.RemoveAll(to); err != nil {
			return fmt.Errorf("creating machine %s: %w", m.Name, err)
		}
		if err := run.Do(ctx, "cp", "--archive", "--reflink=auto", from, to); err != nil {
			return fmt.Errorf("creating machine %s: %w", m.Name, err)
		}
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // Never fails.
	hostKey, hostPublic, err := NewSSHKey("root@" + m.Name)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path, content string
		mode          os.FileMode
	}{
		{"etc/hostname", m.Name + "\n", 0o644},
		{"etc/hosts", hostsFile(m.Name, s), 0o644},
		{"etc/machine-id", hex.EncodeToString(id[:]) + "\n", 0o444},
		{"etc/resolv.conf", "", 0o644}, // No name server: with one that is out of reach each lookup waits for seconds.
		{"etc/network/interfaces", networkFile(s), 0o644},
		{"etc/ssh/ssh_host_ed25519_key", hostKey, 0o600},
		{"etc/ssh/ssh_host_ed25519_key.pub", hostPublic, 0o644},
		{"root/.ssh/authorized_keys", s.AuthorizedKey, 0o600},
		{"home/ops/.ssh/authorized_keys", s.AuthorizedKey, 0o644}, // The folder belongs to ops, the file need not.
	} {
		if err := WriteFile(filepath.Join(m.Root(), f.path), f.content, f.mode); err != nil {
			return fmt.Errorf("creating machine %s: %w", m.Name, err)
		}
	}
	return nil
}

// HostKey returns the machine's ssh host key in the form of a known_hosts entry without the name: type and key.
func (m *Machine) HostKey() (string, error) {
	data, err := os.ReadFile(filepath.Join(m.Root(), "etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		return "", fmt.Errorf("reading the host key of %s: %w", m.Name, err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return "", fmt.Errorf("reading the host key of %s: %w", m.Name, err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// WriteFile writes a file with exactly that mode, and the folders above it where they are missing. A link is replaced, never followed:
// in a machine's root an absolute one would lead out of it.
func WriteFile(path, content string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// NewSSHKey makes an ed25519 key pair: the private key in OpenSSH's form, the public one as an authorized_keys line.
func NewSSHKey(comment string) (string, string, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("making an ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return "", "", fmt.Errorf("making an ssh key: %w", err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", fmt.Errorf("making an ssh key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub))) + " " + comment + "\n"
	return string(pem.EncodeToMemory(block)), line, nil
}

func hostsFile(name string, s Spec) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n")
	fmt.Fprintf(&b, "%s\t%s\n", s.Address.Addr(), name)
	for _, host := range sortedKeys(s.Hosts) {
		if host != name {
			fmt.Fprintf(&b, "%s\t%s\n", s.Hosts[host], host)
		}
	}
	return b.String()
}

// networkFile is ifupdown's: systemd-networkd would wait for a udev that a machine with a writable /sys is expected to have.
func networkFile(s Spec) string {
	var b strings.Builder
	b.WriteString("auto lo\niface lo inet loopback\n\nauto host0\niface host0 inet static\n")
	fmt.Fprintf(&b, "\taddress %s\n", s.Address)
	if s.Gateway.IsValid() {
		fmt.Fprintf(&b, "\tgateway %s\n", s.Gateway)
	}
	b.WriteString("\tup echo 1 >/proc/sys/net/ipv4/ip_forward\n")
	for _, r := range s.Routes {
		fmt.Fprintf(&b, "\tup ip route add %s via %s\n", r.To, r.Via)
	}
	return b.String()
}

func sortedKeys(m map[string]netip.Addr) []string {
	return slices.Sorted(maps.Keys(m))
}
