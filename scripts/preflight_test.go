package scripts

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestPreflight(t *testing.T) {
	t.Parallel()
	shell := shells(t)["dash"]
	for name, c := range map[string]struct {
		prepare func(n *node)
		vars    []Var
		want    []string
	}{
		"KillMode": {
			func(n *node) {
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "KillMode=process", "KillMode=mixed"), 0o644)
			}, nil,
			[]string{"KillMode=mixed", "set KillMode=process"},
		},
		"ExecStart": {
			func(n *node) {
				n.write("etc/systemd/system/containerd.service.d/a.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c containerd\n", 0o644)
				n.setSim("dropins", "/etc/systemd/system/containerd.service.d/a.conf\n")
			}, nil,
			[]string{"ExecStart of containerd.service"},
		},
		"required by": {func(n *node) { n.setSim("requiredby", "docker.service\n") }, nil, []string{"would restart docker.service", "Wants="}},
		"bound by":    {func(n *node) { n.setSim("boundby", "kubelet.service\n") }, nil, []string{"would restart kubelet.service", "Wants="}},
		"consists of": {func(n *node) { n.setSim("consistsof", "a.service b.service\n") }, nil, []string{"would restart a.service b.service", "Wants="}},
		"GPU":         {func(n *node) { n.write("dev/nvidia0", "", 0o644) }, nil, []string{"NVIDIA", "detaches"}},
		"k3s":         {func(n *node) { n.mkdir("var/lib/rancher/k3s") }, nil, []string{"k3s owns containerd here"}},
		"rke2":        {func(n *node) { n.mkdir("var/lib/rancher/rke2") }, nil, []string{"rke2 owns"}},
		"microk8s":    {func(n *node) { n.mkdir("var/snap/microk8s") }, nil, []string{"microk8s owns"}},
		"ostree":      {func(n *node) { n.mkdir("run/ostree-booted") }, nil, []string{"ostree owns"}},
		"spegel":      {func(n *node) { n.mkdir("etc/containerd/certs.d/_backup") }, nil, []string{"spegel owns"}},
		"Flatcar":     {func(n *node) { n.write("etc/os-release", "ID=flatcar\n", 0o644) }, nil, []string{"replaces /usr"}},
		"address":     {func(*node) {}, []Var{{"NODE_IP", "10.99.0.1"}}, []string{"10.99.0.1 is no address of this machine"}},
		"no systemd":  {func(n *node) { n.must(os.RemoveAll(n.root + "/run/systemd")) }, nil, []string{"systemd does not run"}},
		"FIPS":        {func(n *node) { n.write("proc/sys/crypto/fips_enabled", "1\n", 0o644) }, nil, []string{"FIPS"}},
		"unhealthy":   {func(n *node) { n.setSim("active", "failed\n") }, nil, []string{"not healthy (containerd.service is failed"}},
		"no CRI": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("1.7.20", 0), 0o755) }, nil,
			[]string{"plugin io.containerd.grpc.v1.cri is missing"},
		},
		"CRI-O": {
			func(n *node) {
				n.setSim("kubelet", "77\n")
				n.write("proc/77/cmdline", "/usr/bin/kubelet\x00--container-runtime-endpoint=unix:///run/crio/crio.sock\x00", 0o644)
			}, nil,
			[]string{"the kubelet uses unix:///run/crio/crio.sock and not containerd"},
		},
		"cri-dockerd": {
			func(n *node) {
				n.setSim("kubelet", "77\n")
				n.write("proc/77/cmdline", "/usr/bin/kubelet\x00", 0o644)
				n.write("var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: \"unix:///run/cri-dockerd.sock\"\n", 0o644)
			}, nil,
			[]string{"the kubelet uses unix:///run/cri-dockerd.sock"},
		},
		"arch": {func(*node) {}, []Var{{"ARCH", "riscv64"}}, []string{"and not riscv64", "correct arch in berth:nodes"}},
		"another Node": {
			func(n *node) { n.kubelet("worker10") }, nil, []string{"this machine is Node worker10: correct name or address in berth:nodes"},
		},
		"port in use": {
			func(n *node) {
				n.setSim("listeners", "LISTEN 0 4096 0.0.0.0:30443 0.0.0.0:* users:((\"nginx\",pid=7,fd=5))\n")
			}, nil,
			[]string{"port 30443 is in use here by users:((\"nginx\",pid=7,fd=5))", "berth:registry.nodePort"},
		},
		"inodes": {
			func(n *node) {
				n.stub("stat", "echo 9999999 4096 1000 100")
			}, nil,
			[]string{"/usr/local has fewer than 200 inodes left", "/var/lib has fewer"},
		},
		"disk": {
			func(n *node) {
				n.stub("stat", "echo 25600 4096 0 0")
			}, nil,
			[]string{"/usr/local has 100 MB left: 200 MB are needed", "/var/lib has 100 MB"},
		},
		"read-only": {
			func(n *node) { n.stub("findmnt", "case $* in *"+n.root+"/etc) echo ro,relatime ;; esac") }, nil,
			[]string{"/etc is mounted read-only"},
		},
		"all at once": {
			func(n *node) {
				n.mkdir("var/lib/rancher/k3s")
				n.kubelet("worker10")
				n.setSim("requiredby", "docker.service\n")
				n.write("lib/systemd/system/containerd.service", strings.ReplaceAll(testUnit, "KillMode=process", "KillMode=mixed"), 0o644)
				n.write("usr/bin/containerd", containerdScript("1.7.40", 0, "cri"), 0o755)
			},
			[]Var{{"NODE_IP", "10.99.0.1"}},
			[]string{
				"k3s owns", "preflight: this machine is Node worker10", "preflight: KillMode=mixed", "preflight: a restart of containerd",
				"no address", "older than the package's 1.7.40", "nothing is changed on this node",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shell)
			c.prepare(n)
			before := n.snapshot()
			n.fail(Anchor, "preflight", changed(anchorVars(owner), c.vars), c.want...)
			n.same(before)
		})
	}
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		n.setSim("kubelet", "77\n")
		n.write("proc/77/cmdline", "/usr/bin/kubelet\x00--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock\x00", 0o644)
		n.kubelet("n1")
		n.write("dev/nvidia0", "", 0o644)
		n.setSim("listeners", "LISTEN 0 4096 *:30443 *:* users:((\"kube-proxy\",pid=7,fd=5))\n")
		got := n.run(Anchor, "preflight", changed(anchorVars(owner), []Var{{"ALLOW", "gpu"}}))
		if want := "preflight ok: " + machine() + ", Debian GNU/Linux 12, containerd 1.7.20, "; !strings.HasPrefix(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	})
}

// kubelet gives the node the kubelet's certificate for a Node, as kubeadm leaves it: the certificate, then its key.
func (n *node) kubelet(name string) {
	n.t.Helper()
	out, err := exec.CommandContext(n.t.Context(), "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "/dev/stdout", "-subj", "/O=system:nodes/CN=system:node:"+name, "-days", "100").Output()
	n.must(err)
	key, cert, _ := strings.Cut(string(out), "-----BEGIN CERTIFICATE-----")
	n.write("var/lib/kubelet/pki/kubelet-client-current.pem", "-----BEGIN CERTIFICATE-----"+cert+key, 0o600)
}
