package scripts

import (
	"os"
	"strings"
	"testing"
)

// TestStageForetellsApply: for each reason to restart containerd, and for none, stage says what the apply after it does, and leaves
// the node as it was.
func TestStageForetellsApply(t *testing.T) {
	t.Parallel()
	type state struct{ mode, trust string }
	certs, system := state{"mirror", "containerd"}, state{"cluster-ip", "os"}
	none := func(*node) {}
	for name, c := range map[string]struct {
		from, to state
		change   func(n *node)
		want     string
		// withTraces says that the change of somebody else leaves something that stage may tidy up.
		withTraces bool
	}{
		"nothing of mirror":            {state{}, certs, none, "restart", false},
		"nothing of cluster-ip":        {state{}, system, none, "restart", false},
		"config_path of others":        {state{}, certs, func(n *node) { n.config(tableOf2 + folderLine) }, "settled", false},
		"the same mirror":              {certs, certs, none, "settled", false},
		"the same cluster-ip":          {system, system, none, "settled", false},
		"cluster-ip to port-range":     {system, state{"port-range", "os"}, none, "settled", false},
		"mirror to scoped cluster-ip":  {certs, state{"cluster-ip", "containerd"}, none, "settled", false},
		"mirror to cluster-ip":         {certs, system, none, "restart", false},
		"cluster-ip to mirror":         {system, certs, none, "restart", false},
		"patch to mirror":              {state{"patch", "containerd"}, certs, none, "restart", false},
		"patch to cluster-ip":          {state{"patch", "os"}, system, none, "restart", false},
		"another CA for the system":    {system, system, func(n *node) { n.must(os.Remove(n.root + "/etc/pki/ca-trust/source/anchors/berth.crt")) }, "restart", false},
		"another CA for containerd":    {certs, certs, func(n *node) { n.must(os.Remove(n.root + "/var/lib/berth/trust/berth.crt")) }, "restart", false},
		"an entry is lost":             {certs, certs, func(n *node) { n.must(os.Remove(n.root + "/" + ourEntry)) }, "settled", false},
		"config_path is lost":          {certs, certs, func(n *node) { n.write(theirConfig, "version = 2\n", 0o600) }, "restart", true},
		"config_path is one of others": {certs, certs, func(n *node) { n.config(tableOf2 + folderLine) }, "restart", true},
		"containerd is down":           {system, system, func(n *node) { n.setSim("active", "failed\n") }, "restart", false},
		"an interrupted change":        {system, certs, func(n *node) { n.env = []string{"KILL_AT=x"} }, "restart", true},
		"the restart has not taken place": {certs, certs, func(n *node) {
			n.write("var/lib/berth/manifest", strings.Replace(n.read("var/lib/berth/manifest"), "roots certs\n", "", 1), 0o600)
		}, "restart", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"dash", "busybox"} {
				n := newAccessNode(t, shells(t)[shell])
				if shell == "busybox" {
					n.packages2()
				}
				if c.from.mode != "" {
					n.access(c.from.mode, c.from.trust)
				}
				n.run(Anchor, "preflight", changed(anchorVars(owner), []Var{{"VERSION", ""}}))
				c.change(n)
				n.run(Base, "apply", baseVars(owner, Var{"MODE", c.to.mode}, Var{"TRUST", c.to.trust}))
				vars := accessVars(c.to.mode, Var{"TRUST", c.to.trust})
				if n.env != nil {
					n.killAt("systemd-run")
					if n.try(Access, "apply", vars).err == nil {
						t.Fatal("the apply was not killed")
					}
					n.env = []string{"KILL_AT="}
				}
				before, starts := n.snapshot(), n.starts()
				said := n.run(Access, "stage", vars)
				if said != c.want || n.starts() != starts {
					t.Errorf("%s: stage says %q after %d starts, want %q", shell, said, n.starts()-starts, c.want)
				}
				if !c.withTraces {
					n.same(before)
				}
				if again := n.run(Access, "stage", vars); again != said {
					t.Errorf("%s: stage says %q, then %q", shell, said, again)
				}
				n.run(Access, "apply", vars)
				if restarted := n.starts() > starts; restarted != (said == "restart") {
					t.Errorf("%s: stage said %q, and apply restarted %d times", shell, said, n.starts()-starts)
				}
				if said := n.run(Access, "stage", vars); said != "settled" {
					t.Errorf("%s: after the apply, stage says %q", shell, said)
				}
				if _, rest := n.verifyIn(shell); rest != "" {
					t.Errorf("%s: verify says %q", shell, rest)
				}
			}
		})
	}
}
