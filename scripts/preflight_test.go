package scripts

import (
	"os"
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
		"coupled":    {func(n *node) { n.setSim("requiredby", "docker.service\n") }, nil, []string{"docker.service", "Wants="}},
		"GPU":        {func(n *node) { n.write("dev/nvidia0", "", 0o644) }, nil, []string{"NVIDIA", "detaches"}},
		"k3s":        {func(n *node) { n.mkdir("var/lib/rancher/k3s") }, nil, []string{"k3s owns containerd here"}},
		"rke2":       {func(n *node) { n.mkdir("var/lib/rancher/rke2") }, nil, []string{"rke2 owns"}},
		"microk8s":   {func(n *node) { n.mkdir("var/snap/microk8s") }, nil, []string{"microk8s owns"}},
		"ostree":     {func(n *node) { n.mkdir("run/ostree-booted") }, nil, []string{"ostree owns"}},
		"spegel":     {func(n *node) { n.mkdir("etc/containerd/certs.d/_backup") }, nil, []string{"spegel owns"}},
		"Flatcar":    {func(n *node) { n.write("etc/os-release", "ID=flatcar\n", 0o644) }, nil, []string{"replaces /usr"}},
		"immutable":  {func(n *node) { n.setSim("immutable", "") }, nil, []string{"chattr -i /etc/hosts"}},
		"address":    {func(*node) {}, []Var{{"NODE_IP", "10.99.0.1"}}, []string{"10.99.0.1 is no address of this machine"}},
		"no systemd": {func(n *node) { n.must(os.RemoveAll(n.root + "/run/systemd")) }, nil, []string{"systemd does not run"}},
		"FIPS":       {func(n *node) { n.write("proc/sys/crypto/fips_enabled", "1\n", 0o644) }, nil, []string{"FIPS"}},
		"unhealthy":  {func(n *node) { n.setSim("active", "failed\n") }, nil, []string{"not healthy (containerd.service is failed"}},
		"no CRI": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("1.7.20", 0), 0o755) }, nil,
			[]string{"plugin io.containerd.grpc.v1.cri is missing"},
		},
		"btrfs": {func(n *node) { n.config(` snapshotter = "btrfs"`) }, nil, []string{"snapshotter btrfs"}},
		"list":  {func(n *node) { n.config(`config_path = "/a:/b"`) }, nil, []string{"/a:/b"}},
		"both": {
			func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n config_path = \"/c\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"x\"]")
			}, nil,
			[]string{"both config_path and registry.mirrors"},
		},
		"mirror": {
			func(n *node) { n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"Yuan.com\"]") }, nil,
			[]string{"sends Yuan.com elsewhere"},
		},
		"hosts.toml": {
			func(n *node) {
				n.config(`config_path = "/etc/containerd/certs.d"`)
				n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://Yuan.com\"\n[host.\"https://10.0.0.1:30443\"]\n", 0o644)
			}, nil,
			[]string{"hosts.toml sends Yuan.com to https://10.0.0.1:30443"},
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
		"arch": {func(*node) {}, []Var{{"ARCH", "arm64"}}, []string{"set arch in berth:nodes"}},
		"all at once": {
			func(n *node) {
				n.mkdir("var/lib/rancher/k3s")
				n.setSim("immutable", "")
				n.config(`config_path = "/a:/b"`)
			},
			[]Var{{"NODE_IP", "10.99.0.1"}},
			[]string{"k3s owns", "chattr -i", "/a:/b", "no address", "nothing is changed on this node"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shell)
			c.prepare(n)
			before := n.snapshot()
			vars := append(anchorVars(owner), Var{"ARCH", "amd64"}, Var{"TRUST", ""})
			n.fail(Anchor, "preflight", changed(vars, c.vars), c.want...)
			n.same(before)
		})
	}
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shell)
		n.setSim("kubelet", "77\n")
		n.write("proc/77/cmdline", "/usr/bin/kubelet\x00--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock\x00", 0o644)
		n.config("# snapshotter = \"btrfs\"\nconfig_path = \"/etc/containerd/certs.d\"\n")
		n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://yuan.com\"\n[host.\"https://Yuan.com:443\"]\n", 0o644)
		n.write("etc/containerd/certs.d/docker.io/hosts.toml", "server = \"https://mirror.example\"\n", 0o644)
		n.run(Anchor, "preflight", anchorVars(owner))
	})
}
