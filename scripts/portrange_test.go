package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	manifests   = "etc/kubernetes/manifests"
	apiManifest = manifests + "/kube-apiserver.yaml"
	widened     = "--service-node-port-range=443-32767"
)

// apiServer is the manifest that kubeadm writes, with somebody's comment, and lines of others put in.
func apiServer(lines ...string) string {
	var own strings.Builder
	for _, line := range lines {
		own.WriteString("    " + line + "\n")
	}
	return `apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.99.0.12:6443
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.99.0.12
    - --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt
    - --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key
    - --secure-port=6443
    # - --service-node-port-range=1-65535 somebody's thoughts
    - --service-cluster-ip-range=10.96.0.0/12
` + own.String() + `    image: registry.k8s.io/kube-apiserver:v1.34.4
    name: kube-apiserver`
}

// kubelet runs the API server of the manifest, as long as its range is not the broken one, and says what else it would run. It acts
// where a script waits for it.
const kubelet = `
echo "$1" >>"$SIM/slept"
manifest=$FAKE/` + apiManifest + `
others=$(ls -A "$FAKE/` + manifests + `" | grep -vx kube-apiserver.yaml || :)
[ -z "$others" ] || echo "$others" >>"$SIM/strays"
args=$(sed -n 's/^    - //p' "$manifest" | tr -d '"')
[ "$args" != "$(cat "$SIM/api-args")" ] || exit 0
printf '%s\n' "$args" >"$SIM/api-args"
printf '%s\n' "$args" | grep -e port-range >>"$SIM/api-starts" || echo none >>"$SIM/api-starts"
rm -f "$FAKE/proc/777/cmdline"
range=$(printf '%s\n' "$args" | sed -n 's/^--service-node-port-range=//p')
[ "${range:-none}" != "$(cat "$SIM/api-broken")" ] || { echo 'Error: no such range' >"$FAKE/var/log/pods/kube-system_kube-apiserver-n1_1/kube-apiserver/0.log"; exit 0; }
printf '%s\n' "$args" | tr '\n' '\0' >"$FAKE/proc/777/cmdline"
`

// newControlPlane is a node of a cluster with one API server, with this manifest.
func newControlPlane(t *testing.T, shell []string, manifest string) *node {
	t.Helper()
	n := newAccessNode(t, shell)
	n.write(apiManifest, manifest, 0o600)
	n.mkdir("proc/777")
	n.mkdir("var/log/pods/kube-system_kube-apiserver-n1_1/kube-apiserver")
	n.stub("sleep", kubelet)
	for name, text := range map[string]string{
		"api-args": "", "api-broken": "", "api-starts": "", "strays": "", "slept": "",
		"endpointslices": `{"endpoints":[{"addresses":["10.99.0.12"],"conditions":{"ready":true}}]}`,
		"pods":           `{"metadata":{},"items":[` + podWithPort("kube-system", "etcd", 2379) + `]}`,
		"services":       serviceWithPort(30443),
	} {
		n.setSim(name, text)
	}
	// The kubelet has had its time.
	n.must(n.execute("sleep", "1"))
	n.setSim("api-starts", "")
	t.Cleanup(func() {
		if strays := n.getSim("strays"); strays != "" {
			t.Errorf("the kubelet would also have run: %s", strays)
		}
	})
	return n
}

// execute runs a stub.
func (n *node) execute(tool string, args ...string) error {
	cmd := exec.CommandContext(n.t.Context(), filepath.Join(n.path, tool), args...)
	cmd.Env = []string{"PATH=" + n.path + ":" + os.Getenv("PATH"), "FAKE=" + n.root, "SIM=" + n.sim, "KILL_AT="}
	return cmd.Run()
}

func podWithPort(namespace, name string, port int) string {
	return `{"metadata":{"name":"` + name + `","generateName":"x","namespace":"` + namespace + `","ownerReferences":[{"name":"y"}]},` +
		`"spec":{"containers":[{"name":"c","ports":[{"name":"p","hostPort":` + strconv.Itoa(port) + `,"containerPort":` + strconv.Itoa(port) + `}]}]}}`
}

func serviceWithPort(port int) string {
	return `{"items":[{"metadata":{"annotations":{"last":"{\"nodePort\":1}"}},"spec":{"ports":[{"port":443,"nodePort":` + strconv.Itoa(port) + `}]}}]}`
}

func portRangeVars() []Var { return []Var{{"OWNER", owner}, {"SERVERS", "1"}} }

// portRange does what an up in mode port-range does on a control-plane node.
func (n *node) portRange() string {
	n.t.Helper()
	n.run(Anchor, "preflight", changed(anchorVars(owner), []Var{{"VERSION", ""}, {"API", "yes"}, {"NODE_PORTS", "30443 443"}}))
	line := n.run(PortRange, "apply", portRangeVars())
	n.run(Base, "apply", baseVars(owner, Var{"MODE", "port-range"}))
	n.run(Access, "apply", accessVars("port-range"))
	return line
}

func (n *node) apiStarts() int { return strings.Count(n.getSim("api-starts"), "\n") }

func TestPortRangeTwiceThenRemove(t *testing.T) {
	t.Parallel()
	bare := apiServer()
	for name, c := range map[string]struct{ before, after, was, is string }{
		"absent": {bare, strings.Replace(bare, "- kube-apiserver\n", "- kube-apiserver\n    - "+widened+"\n", 1), "none", "443-32767"},
		"narrower": {
			apiServer("- --service-node-port-range=30000-40000"), apiServer("- --service-node-port-range=443-40000"), "30000-40000", "443-40000",
		},
		"below": {apiServer("- --service-node-port-range=1-300"), apiServer("- --service-node-port-range=1-443"), "1-300", "1-443"},
		"quoted": {
			apiServer(`- "--service-node-port-range=30000-32767" # why`, "- --z=1"), apiServer(`- "`+widened+`" # why`, "- --z=1"),
			"30000-32767", "443-32767",
		},
		"by its path": {
			strings.Replace(bare, "- kube-apiserver\n", "- /usr/local/bin/kube-apiserver\n", 1),
			strings.Replace(bare, "- kube-apiserver\n", "- /usr/local/bin/kube-apiserver\n    - "+widened+"\n", 1),
			"none", "443-32767",
		},
	} {
		for shell, argv := range shells(t) {
			t.Run(name+"-"+shell, func(t *testing.T) {
				t.Parallel()
				n := newControlPlane(t, argv, c.before)
				n.setSim("services", serviceWithPort(map[bool]int{true: 200, false: 30443}[name == "below"]))
				clean := n.snapshot()
				first := n.portRange()
				if got := n.read(apiManifest); got != c.after {
					t.Errorf("the manifest is\n%s\nwant\n%s", got, c.after)
				}
				if first != "node-ports="+c.is || n.apiStarts() != 1 {
					t.Errorf("%q after %d starts, want %s after one", first, n.apiStarts(), c.is)
				}
				if !strings.Contains(n.read("var/lib/berth/manifest"), "range "+c.is+" "+c.was+"\n") {
					t.Errorf("what was there is not remembered: %s", n.read("var/lib/berth/manifest"))
				}
				installed := n.snapshot()
				if again := n.run(PortRange, "apply", portRangeVars()); again != first || n.apiStarts() != 1 {
					t.Errorf("first %q, then %q, after %d starts", first, again, n.apiStarts())
				}
				n.same(installed)
				if _, rest := n.verify(); rest != "" {
					t.Errorf("verify says %q", rest)
				}
				n.run(PortRange, "remove", portRangeVars())
				if got := n.read(apiManifest); got != c.before || n.apiStarts() != 2 {
					t.Errorf("after %d starts and the removal the manifest is\n%s", n.apiStarts(), got)
				}
				if got := n.run(PortRange, "remove", portRangeVars()); got != "removed: port-range" || n.apiStarts() != 2 {
					t.Errorf("a second removal: %q, %d starts", got, n.apiStarts())
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
			})
		}
	}
}

// TestPortRangeOfOthers leaves alone what somebody else has widened, before us or after.
func TestPortRangeOfOthers(t *testing.T) {
	t.Parallel()
	theirs := apiServer("- --service-node-port-range=1-65535")
	theirs = strings.Replace(theirs, "    # - --service-node-port-range=1-65535 somebody's thoughts\n", "", 1)
	n := newControlPlane(t, shells(t)["dash"], theirs)
	if got := n.portRange(); got != "node-ports=1-65535" || n.apiStarts() != 0 || n.read(apiManifest) != theirs {
		t.Errorf("%q after %d starts, the manifest is\n%s", got, n.apiStarts(), n.read(apiManifest))
	}
	n.run(PortRange, "remove", portRangeVars())
	if n.apiStarts() != 0 || n.read(apiManifest) != theirs {
		t.Errorf("after %d starts and the removal the manifest is\n%s", n.apiStarts(), n.read(apiManifest))
	}

	n = newControlPlane(t, shells(t)["busybox"], apiServer())
	n.portRange()
	later := apiServer("- --service-node-port-range=20000-32767")
	n.write(apiManifest, later, 0o600)
	r := n.try(PortRange, "remove", portRangeVars())
	if r.err != nil || !strings.Contains(r.stderr, "service-node-port-range=20000-32767, which is not berth's 443-32767: it stays") {
		t.Errorf("%v: %s", r.err, r.stderr)
	}
	if n.read(apiManifest) != later || n.exists("var/lib/berth/undo-api") {
		t.Errorf("the manifest is\n%s", n.read(apiManifest))
	}

	n = newControlPlane(t, shells(t)["bash"], apiServer())
	n.portRange()
	n.write(apiManifest, theirs, 0o600)
	n.must(n.execute("sleep", "1"))
	n.run(PortRange, "apply", portRangeVars())
	if _, rest := n.verify(); rest != "" {
		t.Errorf("verify says %q", rest)
	}
	n.run(Anchor, "remove", anchorVars(owner))
	if n.read(apiManifest) != theirs {
		t.Errorf("the manifest is\n%s", n.read(apiManifest))
	}
}

// TestPortRangeAfterAnUpgrade: kubeadm has written the manifest anew.
func TestPortRangeAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	n := newControlPlane(t, shells(t)["dash"], apiServer())
	clean := n.snapshot()
	n.portRange()
	upgraded := strings.Replace(apiServer(), "v1.34.4", "v1.35.0", 1)
	n.write(apiManifest, upgraded, 0o600)
	n.must(n.execute("sleep", "1"))
	if _, rest := n.verify(); rest != "port-range the NodePorts 443-32767 are not in kube-apiserver.yaml\n" {
		t.Errorf("verify says %q", rest)
	}
	n.run(PortRange, "apply", portRangeVars())
	if _, rest := n.verify(); rest != "" || !strings.Contains(n.read(apiManifest), "v1.35.0") || !strings.Contains(n.read(apiManifest), widened) {
		t.Errorf("verify says %q of\n%s", rest, n.read(apiManifest))
	}
	n.run(PortRange, "remove", portRangeVars())
	if n.read(apiManifest) != upgraded {
		t.Errorf("the manifest is\n%s", n.read(apiManifest))
	}
	n.write(apiManifest, apiServer(), 0o600)
	n.run(Anchor, "remove", anchorVars(owner))
	n.same(clean)
}

func TestPortRangeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		manifest string
		prepare  func(n *node)
		want     []string
	}{
		"no manifest": {
			apiServer(), func(n *node) { n.must(os.Remove(n.root + "/" + apiManifest)) },
			[]string{"no file /etc/kubernetes/manifests/kube-apiserver.yaml", "correct controlPlane"},
		},
		"a link": {
			apiServer(),
			func(n *node) {
				n.must(os.Rename(n.root+"/"+apiManifest, n.root+"/etc/kubernetes/api.yaml"))
				n.must(os.Symlink("../api.yaml", n.root+"/"+apiManifest))
			},
			[]string{"no file /etc/kubernetes/manifests/kube-apiserver.yaml"},
		},
		"two arguments": {
			apiServer("- --service-node-port-range", "- 30000-40000"), func(*node) {}, []string{"has another form than kubeadm's"},
		},
		"twice": {
			apiServer("- --service-node-port-range=30000-40000", "- --service-node-port-range=30000-32767"), func(*node) {},
			[]string{"has another form than kubeadm's"},
		},
		"by its size":     {apiServer("- --service-node-port-range=30000+2767"), func(*node) {}, []string{"has another form than kubeadm's"}},
		"another command": {strings.Replace(apiServer(), "- kube-apiserver\n", "- /hyperkube\n", 1), func(*node) {}, []string{"has another form"}},
		"not well":        {apiServer(), func(n *node) { n.must(os.Remove(n.root + "/proc/777/cmdline")) }, []string{"is not ready: curl: (7)", "repair it first"}},
		"no rights":       {apiServer(), func(n *node) { n.must(os.Remove(n.sim + "/endpointslices")) }, []string{"does not show its API servers and pods to /etc/kubernetes/pki/apiserver-kubelet-client.crt"}},
		"more API servers": {apiServer(), func(n *node) {
			n.setSim("endpointslices", `{"endpoints":[{"addresses":["10.99.0.12"]},{"addresses":["10.99.0.13"]}]}`)
		}, []string{"API servers run at 10.99.0.12 10.99.0.13", "controlPlane: true"}},
		"a pod has it": {apiServer(), func(n *node) {
			n.setSim("pods", `{"metadata":{},"items":[`+podWithPort("web", "in", 80)+","+podWithPort("ingress", "nginx-x1", 443)+`]}`)
		}, []string{"(ingress/nginx-x1): move them"}},
		"pods are not told": {apiServer(), func(n *node) { n.must(os.Remove(n.sim + "/pods")) }, []string{"does not show its API servers and pods"}},
		"another stack":     {apiServer(), func(n *node) { n.write("var/lib/berth/manifest", "owner other/n1\n", 0o600) }, []string{"this node belongs to other/n1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"dash", "busybox"} {
				n := newControlPlane(t, shells(t)[shell], c.manifest)
				c.prepare(n)
				clean := n.snapshot()
				n.fail(PortRange, "apply", portRangeVars(), c.want...)
				n.same(clean)
				if n.apiStarts() != 0 {
					t.Errorf("%d starts", n.apiStarts())
				}
			}
		})
	}
	t.Run("the anchor", func(t *testing.T) {
		t.Parallel()
		n := newAccessNode(t, shells(t)["dash"])
		n.fail(Anchor, "preflight", changed(anchorVars(owner), []Var{{"API", "yes"}}), "no kube-apiserver.yaml of kubeadm's: correct controlPlane")
		n.setSim("listeners", "LISTEN 0 4096 *:443 *:* users:((\"nginx\",pid=7,fd=5))\n")
		n.fail(Anchor, "preflight", changed(anchorVars(owner), []Var{{"NODE_PORTS", "30443 443"}}),
			"port 443 is in use here by users:((\"nginx\",pid=7,fd=5)): choose another berth:registry.nodePort or access.mode")
	})
}

// TestPortRangeRollsBack has the API server not start, on its way there or back.
func TestPortRangeRollsBack(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			n := newControlPlane(t, shells(t)[shell], apiServer())
			clean := n.snapshot()
			n.setSim("api-broken", "443-32767\n")
			n.fail(PortRange, "apply", portRangeVars(), "Error: no such range", "the API server runs again as before",
				"with --service-node-port-range=443-32767 the API server does not run with")
			if got := n.read(apiManifest); got != apiServer() || n.apiStarts() != 2 {
				t.Errorf("after %d starts the manifest is\n%s", n.apiStarts(), got)
			}
			if strings.Contains(n.read("var/lib/berth/manifest"), "range") || n.exists("var/lib/berth/undo-api") {
				t.Errorf("what was taken back is remembered: %s", n.read("var/lib/berth/manifest"))
			}
			n.setSim("api-broken", "")
			n.portRange()

			n.setSim("api-broken", "none\n")
			wide := n.read(apiManifest)
			n.fail(PortRange, "remove", portRangeVars(), "the API server runs again as before", "taken back to none the API server is not ready")
			if n.read(apiManifest) != wide {
				t.Errorf("the manifest is\n%s", n.read(apiManifest))
			}
			n.setSim("api-broken", "")
			n.run(PortRange, "remove", portRangeVars())
			n.must(os.Remove(n.root + "/var/log/pods/kube-system_kube-apiserver-n1_1/kube-apiserver/0.log"))
			n.run(Anchor, "remove", anchorVars(owner))
			n.same(clean)
		})
	}
}

// TestPortRangeStaysWhileItIsUsed: a Service of somebody else has a port that the narrower range lacks.
func TestPortRangeStaysWhileItIsUsed(t *testing.T) {
	t.Parallel()
	n := newControlPlane(t, shells(t)["dash"], apiServer())
	n.portRange()
	wide := n.read(apiManifest)
	for _, services := range []string{serviceWithPort(8080), `{"spec":{"healthCheckNodePort":8080}}`} {
		n.setSim("services", services)
		n.fail(PortRange, "remove", portRangeVars(), "Services have NodePorts that are outside of the range to come (8080): change them first")
		n.fail(Anchor, "remove", anchorVars(owner), "(8080)")
	}
	n.must(os.Remove(n.sim + "/services"))
	n.fail(PortRange, "remove", portRangeVars(), "(nobody tells which)")
	if n.read(apiManifest) != wide || n.apiStarts() != 1 {
		t.Errorf("after %d starts the manifest is\n%s", n.apiStarts(), n.read(apiManifest))
	}
	n.setSim("services", serviceWithPort(32767))
	n.run(PortRange, "remove", portRangeVars())
	if n.read(apiManifest) != apiServer() {
		t.Errorf("the manifest is\n%s", n.read(apiManifest))
	}
}

// TestPortRangeIsUndoneByTheAnchor: the step was killed, and is in no state.
func TestPortRangeIsUndoneByTheAnchor(t *testing.T) {
	t.Parallel()
	eachAccessShell(t, func(t *testing.T, n *node) {
		n = newControlPlane(t, n.shell, apiServer())
		clean := n.snapshot()
		n.portRange()
		n.run(Base, "apply", baseVars(owner, Var{"MODE", "mirror"}))
		n.run(Access, "apply", accessVars("mirror"))
		if _, rest := n.verify(); !strings.HasPrefix(rest, "note the API server still has NodePorts 443-32767") {
			t.Errorf("verify says %q", rest)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
		if n.apiStarts() != 2 {
			t.Errorf("%d starts", n.apiStarts())
		}
	})
}

// TestPortRangeKilledAnywhere kills apply and remove at each tool they call; the next run ends what was begun.
func TestPortRangeKilledAnywhere(t *testing.T) {
	t.Parallel()
	// Of a tool that is called often, not each call is tried.
	for tool, step := range map[string]int{"mv": 1, "cp": 1, "sed": 9, "sleep": 1, "curl": 1} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			for count := 1; ; count += step {
				n := newControlPlane(t, shells(t)["dash"], apiServer())
				clean := n.snapshot()
				n.killAt(tool)
				kill := func(verb string) bool {
					n.setSim("count", "")
					n.env = []string{"KILL_AT=" + strings.Repeat("x", count)}
					killed := n.try(PortRange, verb, portRangeVars()).err != nil
					n.env = []string{"KILL_AT="}
					if manifest := n.read(apiManifest); manifest != apiServer() && !strings.HasSuffix(manifest, "    name: kube-apiserver") {
						t.Fatalf("%s, call %d: half a manifest:\n%s", verb, count, manifest)
					}
					return killed
				}
				killed := kill("apply")
				if count%2 == 0 {
					n.run(PortRange, "apply", portRangeVars())
					killed = kill("remove") || killed
					n.run(PortRange, "remove", portRangeVars())
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(clean)
				if t.Failed() {
					t.Fatalf("call %d of %s", count, tool)
				}
				if !killed && count%2 == 0 {
					return
				}
			}
		})
	}
}
