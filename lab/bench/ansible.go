package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/lab/cluster"
	"berth/lab/run"
	"berth/lab/stack"
)

//go:embed playbook.yml
var playbook string

// mitogenPlugins is where Debian's ansible-mitogen has its strategies.
const mitogenPlugins = "/usr/lib/python3/dist-packages/ansible_mitogen/plugins/strategy"

// ansible runs Debian's Ansible with a playbook that does the same job.
type ansible struct {
	workers []*cluster.Node
	dir     string
	key     string
	image   string
	mitogen bool
}

// newAnsible writes the playbook and what it needs to know into a folder. It installs the containerd that berth built, trusts the same CA
// and pulls the same image.
func newAnsible(ctx context.Context, c *cluster.Cluster, product *berth, scratch string) (*ansible, error) {
	a := &ansible{workers: c.Nodes[1:], dir: filepath.Join(scratch, "ansible"), key: c.SSHKey}
	ca, err := product.ca(ctx)
	if err != nil {
		return nil, err
	}
	if a.image, err = product.image(ctx); err != nil {
		return nil, err
	}
	artifacts, _ := filepath.Glob(filepath.Join(c.Nodes[0].Root(), "var/lib/berth/artifact-*.tar.gz"))
	if len(artifacts) != 1 {
		return nil, errors.New("the control plane has no artifact of containerd")
	}
	sums, err := sumsOf(artifacts[0], "usr/local/lib/peer/")
	if err != nil {
		return nil, err
	}
	vars, err := json.Marshal(map[string]any{
		"architecture": "x86_64", "artifact": artifacts[0], "sums": sums, "ca": ca + "\n", "registry": "Yuan.com", "port": 30443,
		"login": "Yuan:" + stack.Password, "image": a.image,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the playbook: %w", err)
	}
	var inventory, known strings.Builder
	inventory.WriteString("[nodes]\n")
	for _, n := range a.workers {
		fmt.Fprintf(&inventory, "%s ansible_host=%s\n", n.Name, n.Address)
		fmt.Fprintf(&known, "%s %s\n", n.Address, n.HostKey)
	}
	if err := os.Mkdir(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("writing the playbook: %w", err)
	}
	for name, content := range map[string]string{
		"playbook.yml": playbook, "vars.json": string(vars), "inventory": inventory.String(), "known_hosts": known.String(),
		"ansible.cfg": "[defaults]\n",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("writing the playbook: %w", err)
		}
	}
	return a, nil
}

// sumsOf lists the files of a packed archive as sha256sum does, with their paths below prefix.
func sumsOf(archive, prefix string) (string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return "", fmt.Errorf("reading the artifact: %w", err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		return "", fmt.Errorf("reading the artifact: %w", err)
	}
	var sums strings.Builder
	for members := tar.NewReader(packed); ; {
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			return sums.String(), nil
		}
		if err != nil {
			return "", fmt.Errorf("reading the artifact: %w", err)
		}
		if member.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, members); err != nil { //nolint:gosec // berth has packed it
			return "", fmt.Errorf("reading the artifact: %w", err)
		}
		fmt.Fprintf(&sums, "%s  %s%s\n", hex.EncodeToString(sum.Sum(nil)), prefix, member.Name)
	}
}

// env has no setting of this machine's own Ansible count. Connections of an earlier run are not used again: the sockets have
// another folder each time.
func (a *ansible) env(control string) []string {
	env := []string{
		"ANSIBLE_CONFIG=" + filepath.Join(a.dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8", "ANSIBLE_LOCAL_TEMP=" + filepath.Join(a.dir, "tmp"),
		"ANSIBLE_PIPELINING=true", "ANSIBLE_FORKS=" + strconv.Itoa(len(a.workers)),
		"ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "ANSIBLE_REMOTE_USER=root", "ANSIBLE_PRIVATE_KEY_FILE=" + a.key,
		"ANSIBLE_HOST_KEY_CHECKING=true", "ANSIBLE_SSH_CONTROL_PATH_DIR=" + control,
		"ANSIBLE_SSH_ARGS=-C -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=" + filepath.Join(a.dir, "known_hosts"),
	}
	if a.mitogen {
		env = append(env, "ANSIBLE_STRATEGY_PLUGINS="+mitogenPlugins, "ANSIBLE_STRATEGY=mitogen_linear")
	}
	return env
}

func (a *ansible) apply(ctx context.Context, changes bool) error {
	control, err := os.MkdirTemp(a.dir, "c")
	if err != nil {
		return fmt.Errorf("running Ansible: %w", err)
	}
	out, err := run.Output(ctx, run.Command{
		Args: []string{"ansible-playbook", "--inventory", "inventory", "--extra-vars", "@vars.json", "playbook.yml"},
		Dir:  a.dir, Env: a.env(control),
	})
	if err != nil {
		return fmt.Errorf("running Ansible: %w\n%s", err, out)
	}
	if changed := strings.Count(out, "changed=") > strings.Count(out, "changed=0 "); changed != changes {
		return fmt.Errorf("running Ansible: changes are %t, and were to be %t:\n%s", changed, changes, out)
	}
	return nil
}

func (*ansible) spoil() string { return "rm /etc/systemd/system/containerd.service.d/peer.conf" }

// undo is by hand: a playbook like this one has no way back.
func (a *ansible) undo(ctx context.Context) error {
	return onAll(ctx, a.workers, `set -e
crictl rmi `+a.image+` >/dev/null 2>&1
rm -r /etc/systemd/system/containerd.service.d /usr/local/lib/peer /usr/local/share/ca-certificates/peer.crt /etc/containerd/berth.ports
sed -i '/^# BEGIN peer$/,/^# END peer$/d' /etc/hosts
systemctl daemon-reload
systemctl restart containerd
update-ca-certificates --fresh >/dev/null 2>&1
`+awaitContainerd)
}
