package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/lab/machine"
)

// badConfig: mistakes are told all at once, with path and remedy, before anything is touched. All of this happens in a stack of its
// own, in a checkout of its own.
func (s *suite) badConfig(t *testing.T) {
	before := s.touched(t)
	project := s.secondCheckout(t)
	state := t.TempDir()
	bad := &pulumiCLI{
		dir: project, stack: "bad", leaks: s.leaks, config: filepath.Join(project, "stacks", "Pulumi.bad.yaml"),
		env: slices.Concat(s.pulumi.env, []string{"PULUMI_BACKEND_URL=file://" + state}),
	}
	if r := bad.run(t, "", "stack", "init"); r.err != nil {
		t.Fatalf("pulumi stack init: %v\n%s", r.err, r.text())
	}
	salt := readFile(t, bad.config)
	for _, test := range badConfigs {
		t.Run(test.name, func(t *testing.T) {
			check(t, os.WriteFile(bad.config, []byte(salt+"config:\n"+test.config), 0o600))
			for _, verb := range [][]string{{"preview"}, {"up", "--yes", "--skip-preview"}} {
				r := bad.mustFail(t, verb...)
				contains(t, "pulumi "+verb[0], r.text(), test.want...)
				noTrace(t, r.text())
			}
			if n := bad.resources(t); n > 0 {
				t.Errorf("a bad config left %d resources in the state", n)
			}
		})
	}
	s.untouched(t, before, 0)
	t.Run("connection", func(t *testing.T) { s.badConnection(t, bad, salt) })
	for _, n := range s.cluster.Nodes {
		if left := traces(t, n); !s.up && left != "" {
			t.Errorf("%s has traces of berth:\n%s", n.Name, left)
		}
	}
}

// goodKey is a host key in the right form; no machine has it.
const goodKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXiaOhMVjd5VnkzqjLQD7CjWHgQgZBsPvOR1ckqDbHT"

// badConfigs are stacks full of mistakes, with the words that the one message has to have.
var badConfigs = []struct {
	name, config string
	want         []string
}{
	{"everything", `  berth:registry: {host: Yuan.com, nodePort: 443, node: nowhere, passwort: x, password: Abcd123456}
  berth:certificate: {ca: pem, caCert: nonsense, caKey: nonsense}
  berth:containerd: {version: 2.0}
  berth:ssh: {user: root, privateKey: nonsense}
  berth:registries: {host: Yuan.com}
  berth:nodes:
    - {name: master1, address: 10.0.0.300, hostKey: ` + goodKey + `}
    - {name: worker1, address: 10.0.0.2}
    - {name: worker2, address: 10.0.0.2, hostKey: ` + goodKey + `, addresses: 10.0.0.4}
`, []string{
		" mistakes in ",
		"berth:registry.nodePort", "30000", "32767",
		"berth:registry.node", "nowhere",
		"berth:registry.passwort",
		"berth:certificate.caCert", "berth:certificate.caKey",
		"berth:containerd.version", "quote",
		"berth:ssh.privateKey",
		"berth:registries",
		"berth:nodes[0].address", "10.0.0.300",
		"berth:nodes[1].hostKey",
		"berth:nodes[2].address",
		"berth:nodes[2].addresses",
	}},
	{"not-a-version", `  berth:registry: {host: Yuan.com, node: master1, password: Abcd123456}
  berth:containerd: {version: newest}
  berth:ssh: {agent: true}
  berth:nodes:
    - {name: master1, address: 10.0.0.1, hostKey: ` + goodKey + `}
`, []string{"berth:containerd.version", "newest", "1.7."}},
	{"no-nodes", `  berth:registry: {host: Yuan.com, node: master1, password: Abcd123456}
  berth:containerd: {version: "1.7.36"}
  berth:ssh: {agent: true}
  berth:nodes: []
`, []string{"berth:nodes"}},
	{"nothing", `  berth:registry: {}
`, []string{"berth:registry.host", "berth:registry.node", "berth:containerd", "berth:nodes"}},
}

// badConnection: a wrong key, a wrong host key and an address without a machine each end in bounded time, with the node's name.
func (s *suite) badConnection(t *testing.T, bad *pulumiCLI, salt string) {
	t.Helper()
	otherKey, _, err := machine.NewSSHKey("e2e")
	check(t, err)
	key := readFile(t, s.cluster.SSHKey)
	worker1, worker2 := s.node(t, "worker1"), s.node(t, "worker2")
	for _, test := range []struct {
		name, key          string
		address1, hostKey1 string
		want               []string
	}{
		{"wrong-key", otherKey, worker1.Address, worker1.HostKey, []string{"unable to authenticate"}},
		{"wrong-host-key", key, worker1.Address, worker2.HostKey, []string{"host key mismatch"}},
		{"no-machine", key, s.freeAddress(t), worker1.HostKey, []string{"dial tcp " + s.freeAddress(t) + ":22"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, os.WriteFile(bad.config, []byte(salt+"config:\n"+fmt.Sprintf(`  berth:registry: {host: Yuan.com, node: worker1}
  berth:containerd: {version: %q}
  berth:nodes:
    - {name: worker1, address: %s, hostKey: %s}
`, versions["master1"], test.address1, test.hostKey1)), 0o600))
			bad.set(t, "berth:registry.password", s.password, true)
			bad.set(t, "berth:ssh.privateKey", test.key, true)
			bad.set(t, "berth:kubernetes.kubeconfig", readFile(t, s.cluster.Kubeconfig), true)
			begin := time.Now()
			r := bad.mustFail(t, "up", "--yes", "--skip-preview",
				"--target", "**node-worker1**anchor", "--target", "**node-worker1", "--target", "**identity")
			contains(t, "the output of up", r.text(), append(test.want, "node-worker1")...)
			noTrace(t, r.text())
			if took := time.Since(begin); took > 2*time.Minute {
				t.Errorf("that took %s", took)
			}
			if strings.Contains(r.text(), "preflight ok") {
				t.Errorf("the preflight ran:\n%s", r.text())
			}
			bad.must(t, "destroy", "--yes", "--skip-preview")
		})
	}
}

// freeAddress is an address of the machines' network that no machine has.
func (s *suite) freeAddress(t *testing.T) string {
	t.Helper()
	host := s.hostAddress(t)
	return host[:strings.LastIndexByte(host, '.')] + ".199"
}
