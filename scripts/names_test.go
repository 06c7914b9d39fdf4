package scripts

import (
	"strings"
	"testing"
)

// aliases are two names, as the program hands them over: in an order that does not tell which is the host.
const aliases = "images.example.com Yuan.com"

func TestAliases(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.install()
		starts := n.starts()
		n.run(Base, "apply", baseVars(owner, Var{"NAMES", aliases}))
		if got := n.read("etc/hosts"); !strings.HasSuffix(got, "# BEGIN berth\n10.99.0.12 "+aliases+"\n# END berth\n") {
			t.Errorf("hosts is %q", got)
		}
		if got := n.read("etc/containerd/berth.ports"); !strings.HasSuffix(got, ".\nimages.example.com 30443\nYuan.com 30443\n") {
			t.Errorf("the mapping is %q", got)
		}
		for _, name := range strings.Fields(aliases) {
			if !strings.Contains(n.getSim("calls"), "-verify_hostname "+name+" -servername "+name+" -connect 10.99.0.12:30443\n") {
				t.Errorf("the registry was not asked as %s", name)
			}
		}
		if _, rest := n.verifyIn("dash"); rest != "" {
			t.Errorf("verify says %q", rest)
		}
		n.write("etc/containerd/berth.ports", strings.ReplaceAll(n.read("etc/containerd/berth.ports"), "images.example.com 30443\n", ""), 0o644)
		if _, rest := n.verifyIn("dash"); rest != "base port mapping /etc/containerd/berth.ports is changed\n" {
			t.Errorf("with an alias lost verify says %q", rest)
		}
		// The registry is renamed: the first name goes.
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner, Var{"NAMES", "images.example.com"}))
		n.run(Containerd, "apply", containerdVars(owner, digest, Var{"REGISTRY_HOST", "images.example.com"}))
		if left := n.read("etc/hosts") + n.read("etc/containerd/berth.ports"); strings.Contains(left, "Yuan.com") {
			t.Errorf("the old name is left: %q", left)
		}
		if n.starts() != starts {
			t.Errorf("containerd was started %d times for it", n.starts()-starts)
		}
		// Images lie there by both names; others' names may begin as ours do.
		n.setSim("images", n.getSim("images")+"Yuan.com/berth/verify:1f x sha256:aa\nimages.example.com/berth/verify:2f x sha256:bb\n"+
			"images.example.com/nginx:v1 x sha256:cc\nYuan.com.example/berth/verify:1f x sha256:dd\n")
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(before)
		if got := n.getSim("images"); strings.Contains(got, "sha256:aa") || strings.Contains(got, "sha256:bb") ||
			!strings.Contains(got, "sha256:cc") || !strings.Contains(got, "sha256:dd") {
			t.Errorf("images are %q", got)
		}
	})
}

// TestEveryNameIsLookedAt has one thing after the other in the way of an alias alone.
func TestEveryNameIsLookedAt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(n *node)
		want    string
	}{
		"hosts": {
			func(n *node) { n.write("etc/hosts", "10.5.5.5 IMAGES.example.com\n", 0o644) },
			"/etc/hosts names the registry already (10.5.5.5 IMAGES.example.com)",
		},
		"mirror": {
			func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"images.example.com\"]")
			},
			"registry.mirrors",
		},
		"hosts.toml": {
			func(n *node) {
				n.write("etc/containerd/certs.d/images.example.com/hosts.toml", "server = \"https://elsewhere\"\n", 0o644)
			},
			"/etc/containerd/certs.d/images.example.com/hosts.toml sends pulls to https://elsewhere",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells(t)["busybox"])
			c.prepare(n)
			before := n.snapshot()
			n.fail(Base, "apply", baseVars(owner, Var{"NAMES", aliases}), c.want, "nothing is changed on this node")
			n.same(before)
			n.run(Base, "apply", baseVars(owner))
		})
	}
	t.Run("no answer", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shells(t)["dash"])
		n.stub("sleep", ":")
		n.setSim("registry", "connect:errno=111\n")
		n.fail(Base, "apply", baseVars(owner, Var{"NAMES", aliases}), "the registry does not answer at 10.99.0.12:30443")
		if strings.Contains(n.getSim("calls"), "-servername Yuan.com") {
			t.Error("a port where nobody answers was tried by each name")
		}
	})
	t.Run("one name leads to another", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shells(t)["dash"])
		n.write("etc/containerd/certs.d/images.example.com/hosts.toml", "server = \"https://yuan.com\"\n", 0o644)
		n.run(Base, "apply", baseVars(owner, Var{"NAMES", aliases}))
	})
}
