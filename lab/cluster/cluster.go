// Package cluster runs a Kubernetes cluster on this host, made by kubeadm: one control-plane node and two workers, or as many as are
// asked for.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/lab/build"
	"berth/lab/machine"
	"berth/lab/stack"
)

// Bridge is the network interface of this host to which the machines are connected.
const Bridge = "berth0"

var (
	network = machine.Network{Bridge: Bridge, Prefix: netip.MustParsePrefix("10.99.0.1/24")}
	// nodes are the machines of the cluster; the first is the control plane. They run both releases of Debian, and so two lines of containerd.
	nodes = []Node{
		{Name: "master1", Address: "10.99.0.11", PodCIDR: "10.244.1.0/24", Suite: build.Bookworm},
		{Name: "worker1", Address: "10.99.0.12", PodCIDR: "10.244.2.0/24", Suite: build.Bookworm},
		{Name: "worker2", Address: "10.99.0.13", PodCIDR: "10.244.3.0/24", Suite: build.Trixie},
	}
)

const (
	podSubnet     = "10.244.0.0/16"
	serviceSubnet = "10.96.0.0/16"
)

// Options says where the lab lives.
type Options struct {
	Project  string    // root of the project; default: the nearest folder above the current one that holds lab/go.mod
	Dir      string    // machines, keys and Pulumi state; default: lab/.state in the project
	Cache    string    // what was built; default: $BERTH_LAB_CACHE or lab/.cache in the project
	Workers  int       // machines beside the control plane, all of them Debian 12; default: the two of the lab
	Packages []string  // Debian packages that the machines have beyond the lab's own
	Progress io.Writer // gets a line per part; default: nothing
	Verbose  io.Writer // gets what compilers and installers print; default: nothing
}

// Cluster is a cluster that runs.
type Cluster struct {
	Project         string
	Dir             string
	Kubeconfig      string // path of the administrator's kubeconfig
	SSHKey          string // path of the private key that logs in as root and as ops
	Nodes           []*Node
	RegistryArchive string // path of the image archive of docker.io/library/registry:3.1.2, which is on no node
	NginxArchive    string // path of the image archive of docker.io/library/nginx:v1, which is on no node
	BinDir          string // pulumi, kubectl and crictl
	PulumiHome      string // PULUMI_HOME with the plugins

	layout  []Node // the nodes to have
	token   string // kubeadm's, while nodes join
	resumed bool   // it was there already, and so was its stack
}

// Node is one machine of the cluster.
type Node struct {
	Name    string
	Address string
	HostKey string // type and key, as in known_hosts
	PodCIDR string
	Suite   build.Suite // release of Debian

	machine *machine.Machine
}

// Run runs sh as root inside the machine and returns its standard output. An error carries the end of its standard error.
func (n *Node) Run(ctx context.Context, sh string) (string, error) { return n.machine.Run(ctx, sh) }

// Root is the path of the node's root filesystem on the host.
func (n *Node) Root() string { return n.machine.Root() }

// Inside is the path on the host of the node's root as its own processes see it, with all that is mounted there, /run for one. Another
// start of the machine makes it another path.
func (n *Node) Inside() (string, error) { return n.machine.Inside() }

// System says which release of Debian the node is and which containerd runs on it, e.g. "Debian 13.1, containerd 1.7.24~ds1".
func (n *Node) System(ctx context.Context) (string, error) {
	out, err := n.Run(ctx, `containerd=$(readlink "/proc/$(systemctl show -p MainPID --value containerd)/exe") || containerd=
echo "Debian $(cat /etc/debian_version), containerd ${containerd:+$("$containerd" --version | cut -d' ' -f3)}"`)
	return strings.TrimSpace(out), err
}

// Kill ends the machine as a loss of power does.
func (n *Node) Kill(ctx context.Context) error { return n.machine.Kill(ctx) }

// Start boots a machine that was killed and returns when its systemd is up; kubelet follows by itself.
func (n *Node) Start(ctx context.Context) error { return n.machine.Start(ctx, network) }

// CPUTime is how long the machine has kept processors busy since it was started.
func (n *Node) CPUTime() (time.Duration, error) { return n.machine.CPUTime() }

// Running tells whether the machine is on.
func (n *Node) Running() bool { return n.machine.Running() }

// layout describes the nodes to have, the control plane first.
func (o Options) layout() []Node {
	if o.Workers == 0 {
		return nodes
	}
	all := []Node{nodes[0]}
	address := netip.MustParseAddr(nodes[0].Address)
	for i := 1; i <= o.Workers; i++ {
		address = address.Next()
		all = append(all, Node{
			Name: fmt.Sprintf("worker%d", i), Address: address.String(), PodCIDR: fmt.Sprintf("10.244.%d.0/24", i+1), Suite: build.Bookworm,
		})
	}
	return all
}

// suites are the releases of Debian in a layout, each once.
func suites(layout []Node) []build.Suite {
	var list []build.Suite
	for _, n := range layout {
		if !slices.Contains(list, n.Suite) {
			list = append(list, n.Suite)
		}
	}
	return list
}

// withDefaults fills what was left out of o.
func (o Options) withDefaults() (Options, error) {
	if o.Project == "" {
		dir, err := os.Getwd()
		if err != nil {
			return o, fmt.Errorf("finding the project: %w", err)
		}
		for ; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "lab/go.mod")); err == nil {
				break
			}
			if dir == filepath.Dir(dir) {
				return o, errors.New("finding the project: no folder above this one holds lab/go.mod")
			}
		}
		o.Project = dir
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(o.Project, "lab/.state")
	}
	if o.Cache == "" {
		o.Cache = os.Getenv("BERTH_LAB_CACHE")
	}
	if o.Cache == "" {
		o.Cache = filepath.Join(o.Project, "lab/.cache")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	for _, p := range []*string{&o.Project, &o.Dir, &o.Cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return o, fmt.Errorf("finding %s: %w", *p, err)
		}
		*p = abs
	}
	return o, nil
}

// record is the file that a finished Up leaves: only a cluster that has it is one to go on with.
func record(dir string) string { return filepath.Join(dir, "cluster.json") }

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("recording the cluster: %w", err)
	}
	if err := machine.WriteFile(record(c.Dir), string(data)+"\n", 0o600); err != nil {
		return fmt.Errorf("recording the cluster: %w", err)
	}
	return nil
}

// read returns the cluster recorded in dir, whether its machines run or not.
func read(dir string) (*Cluster, error) {
	data, err := os.ReadFile(record(dir))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster: %w", err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("reading the cluster: %w", err)
	}
	for _, n := range c.Nodes {
		n.machine = newMachine(c.Dir, n.Name)
	}
	return c, nil
}

func newMachine(dir, name string) *machine.Machine {
	return &machine.Machine{Name: name, Dir: filepath.Join(dir, "machines", name)}
}

// Find returns the cluster of o, whether its machines are on or off.
func Find(o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := read(o.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no cluster in %s: `lab up` makes one", o.Dir)
	}
	return c, err
}

// Load returns the cluster in the state folder dir; it is an error if one of its machines is off.
func Load(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	c, err := Find(Options{Project: dir, Dir: dir, Cache: dir})
	if err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if !n.Running() {
			return nil, fmt.Errorf("machine %s is off: `lab up` starts it", n.Name)
		}
	}
	return c, nil
}

// Env returns the environment in which pulumi and kubectl work on this cluster, as K=V.
func (c *Cluster) Env() []string {
	env := []string{
		"PATH=" + c.BinDir + string(os.PathListSeparator) + os.Getenv("PATH"),
		"KUBECONFIG=" + c.Kubeconfig,
		"PULUMI_BACKEND_URL=file://" + filepath.Join(c.Dir, "pulumi"),
		"PULUMI_HOME=" + c.PulumiHome,
		"PULUMI_SKIP_UPDATE_CHECK=true",
	}
	// A lab that is being taken down has no passphrase any more, and nothing to encrypt.
	if passphrase, err := os.ReadFile(c.passphrase()); err == nil {
		env = append(env, "PULUMI_CONFIG_PASSPHRASE="+strings.TrimSpace(string(passphrase)))
	}
	return env
}

func (c *Cluster) passphrase() string { return filepath.Join(c.Dir, "passphrase") }

// writeStack writes the stack of the seed case for this cluster.
func (c *Cluster) writeStack(ctx context.Context) error {
	s := stack.Stack{
		Project: c.Project, Env: c.Env(),
		Kubeconfig: c.Kubeconfig, SSHKey: c.SSHKey, RegistryArchive: c.RegistryArchive, Keep: c.resumed,
	}
	for _, n := range c.Nodes {
		s.Nodes = append(s.Nodes, stack.Node{Name: n.Name, Address: n.Address, HostKey: n.HostKey})
	}
	return s.Write(ctx)
}
