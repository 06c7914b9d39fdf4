package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth/lab/cluster"
)

// serviceIP is a free address of the lab's Service range.
const serviceIP = "10.96.0.43"

// TestModes goes through the modes of access, on nodes of three lines of containerd: each from nothing or from another one, with pulls
// going on at every node, and back to nothing.
func TestModes(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	packageUpstreams(t, startLab(t))
	s := newSuite(t, watchLeaks(t))
	s.kubeadm = s.kubeadmConfig(t)
	s.pulumi.set(t, "berth:access.clusterIP", serviceIP, false)
	for i, n := range s.cluster.Nodes {
		s.pulumi.set(t, fmt.Sprintf("berth:nodes[%d].containerdVersion", i), patchedLines[n.Name], false)
		if n.Name == controlPlane {
			s.pulumi.set(t, fmt.Sprintf("berth:nodes[%d].controlPlane", i), "true", false)
		}
	}
	for _, step := range []struct { //nolint:paralleltest // the steps build on each other
		name, mode string
		check      func(*suite, *testing.T, string)
	}{
		{"mirror", "mirror", (*suite).modeFromNothing},
		{"mirror-to-patch", "patch", (*suite).changeMode},
		{"patch-to-cluster-ip", "cluster-ip", (*suite).changeMode},
		{"destroy-cluster-ip", "", (*suite).destroyMode},
		{"cluster-ip", "cluster-ip", (*suite).modeFromNothing},
		{"cluster-ip-to-mirror", "mirror", (*suite).changeMode},
		{"mirror-to-cluster-ip", "cluster-ip", (*suite).changeMode},
		{"cluster-ip-to-patch", "patch", (*suite).changeMode},
		{"patch-to-mirror", "mirror", (*suite).changeMode},
		{"destroy-mirror", "", (*suite).destroyMode},
		{"port-range", "port-range", (*suite).modeFromNothing},
		{"port-range-to-patch", "patch", (*suite).changeMode},
		{"patch-to-port-range", "port-range", (*suite).changeMode},
		{"port-range-after-an-upgrade", "port-range", (*suite).upgradeAPIServer},
		{"port-range-to-mirror", "mirror", (*suite).changeMode},
		{"mirror-to-port-range", "port-range", (*suite).changeMode},
		{"destroy-port-range", "", (*suite).destroyMode},
	} {
		t.Run(step.name, func(t *testing.T) { step.check(s, t, step.mode) })
	}
}

func (s *suite) setMode(t *testing.T, mode string) {
	t.Helper()
	s.pulumi.set(t, "berth:access.mode", mode, false)
}

func (s *suite) modeFromNothing(t *testing.T, mode string) {
	s.setMode(t, mode)
	stock := s.containerds(t)
	s.needUp(t)
	for _, n := range s.cluster.Nodes {
		// Debian's configuration has no config_path, and containerd does not know the CA: one start, of the same binary.
		if d := containerdOf(t, n); d.exe != stockContainerd || d.pid == stock[n.Name].pid {
			t.Errorf("containerd on %s was %+v and is %+v", n.Name, stock[n.Name], d)
		}
	}
	s.modeHolds(t, mode)
}

// changeMode changes the mode while every node pulls all the time.
func (s *suite) changeMode(t *testing.T, mode string) {
	s.setMode(t, mode)
	if mode != "patch" {
		said := s.pulumi.must(t, "preview", "--diff").text()
		contains(t, "the preview", said, "apply containerd of the package, mode "+mode+" to ", "access mode "+mode+": ")
		if mode == "port-range" {
			contains(t, "the preview", said, "not recommended", "apply port-range from 443 on, which restarts the API server")
		}
	}
	loops := map[string]*pullLoop{}
	for _, n := range s.cluster.Nodes {
		loops[n.Name] = s.startPlainPulls(t, n)
	}
	time.Sleep(2 * time.Second)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	time.Sleep(6 * time.Second)
	for name, loop := range loops {
		pulled, failed := loop.stop(t)
		for _, line := range failed {
			// A restart of containerd is seen by those who pull at that moment, and the kubelet tries again.
			if !restarting.MatchString(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
		t.Logf("%s pulled %d times, and %d times met a containerd that was restarted", name, pulled, len(failed))
		if pulled < 3 {
			t.Errorf("%s pulled only %d times", name, pulled)
		}
	}
	s.modeHolds(t, mode)
}

// restarting is what a client of containerd's socket says while containerd is restarted.
var restarting = regexp.MustCompile(`Unavailable|Unimplemented|containerd\.sock|not initialized|unexpected EOF|closing|code = Canceled`)

// startPlainPulls pulls nginx:v1 by plain name on a node, over and over, each time from the registry.
func (s *suite) startPlainPulls(t *testing.T, n *cluster.Node) *pullLoop {
	t.Helper()
	login := temporary(t, n, "login", registryUser+":"+s.password)
	l := &pullLoop{node: n, done: make(chan string, 1)}
	_ = os.Remove(l.stopFile())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), pulumiLimit)
	t.Cleanup(cancel)
	go func() {
		out, err := n.Run(ctx, `export CRICTL_CREDS="$(cat `+login+`)"
while [ ! -e /var/tmp/e2e/stop ]; do
	crictl rmi `+registryHost+`/nginx:v1 >/dev/null 2>&1 || :
	if said=$(crictl pull `+registryHost+`/nginx:v1 2>&1); then echo pulled; else echo "$(date +%T) $said" | tr '\n' ' '; echo; fi
	sleep 0.2
done`)
		if err != nil {
			out += "\nthe loop itself: " + err.Error()
		}
		l.done <- out
	}()
	return l
}

// modeHolds: every path of the mode pulls on every node, nothing of another mode is left, and a second up changes nothing.
func (s *suite) modeHolds(t *testing.T, mode string) {
	t.Helper()
	s.pulledOnEveryNode(t)
	for _, n := range s.cluster.Nodes {
		s.cells(t, n, mode)
		for _, of := range []struct{ mode, path string }{
			{"patch", "/etc/containerd/berth.ports"},
			{"patch", "/etc/systemd/system/containerd.service.d/zz-berth.conf"},
			{"patch", "/usr/local/bin/ctr"},
			{"mirror", "/etc/containerd/certs.d/" + registryHost + "/hosts.toml"},
		} {
			if there := run(t, n, "[ ! -e "+of.path+" ] || echo there") != ""; there != (of.mode == mode) {
				t.Errorf("%s on %s, which is for mode %s: there is %t", of.path, n.Name, of.mode, there)
			}
		}
		tells, dropIn := "config_path", ""
		if strings.HasPrefix(upstreams[n.Name], "2.") {
			tells, dropIn = `imports = ["/etc/containerd/conf.d/zz-berth*.toml"]`, "/etc/containerd/conf.d/zz-berth.toml"
		}
		if config := run(t, n, "cat /etc/containerd/config.toml"); strings.Contains(config, tells) != (mode == "mirror") {
			t.Errorf("the configuration of containerd on %s in mode %s:\n%s", n.Name, mode, config)
		}
		if there := run(t, n, "ls /etc/containerd/conf.d/zz-berth.toml 2>/dev/null || :"); mode == "mirror" && there != dropIn || mode != "mirror" && there != "" {
			t.Errorf("the drop-in on %s in mode %s is %q", n.Name, mode, there)
		}
		serves(t, n)
	}
	s.portRangeIs(t, mode == "port-range")
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// cells runs the four commands of the seed case, and says of each whether it pulls, or why it cannot in this mode.
func (s *suite) cells(t *testing.T, n *cluster.Node, mode string) {
	t.Helper()
	version := strings.TrimPrefix(run(t, n, `"$(readlink "/proc/$(systemctl show -p MainPID --value containerd)/exe")" --version | cut -d' ' -f3`), "v")
	fmt.Printf("cell %s %s kubelet ok on %s\n", version, mode, n.Name)
	withPort := fmt.Sprintf("%s:%d/nginx:v1", registryHost, s.port)
	login := registryUser + ":" + s.password
	reason := ""
	if mode == "mirror" {
		reason = "ctr reads certs.d with --hosts-dir alone"
	}
	for _, path := range []struct{ name, command, reason string }{
		{"crictl", "crictl pull --creds " + login + " " + registryHost + "/nginx:v1", ""},
		{"crictl-port", "crictl pull --creds " + login + " " + withPort, ""},
		{"ctr-port", "ctr i pull --user " + login + " " + withPort, ""},
		{"ctr", "ctr i pull --user " + login + " " + registryHost + "/nginx:v1", reason},
		{"ctr-hosts-dir", "ctr i pull --hosts-dir /etc/containerd/certs.d --user " + login + " " + registryHost + "/nginx:v1", ""},
	} {
		if path.name == "ctr-hosts-dir" && mode != "mirror" {
			continue
		}
		s.removeImages(t, n)
		var out string
		var err error
		s.leaks.quiet(func() { out, err = n.Run(t.Context(), path.command+" 2>&1") })
		verdict := "ok"
		switch {
		case path.reason != "":
			verdict = "n/a " + path.reason
			if err == nil || !strings.Contains(out+err.Error(), ":443: connect: connection refused") {
				t.Errorf("%s on %s in mode %s was to be refused at 443: %v\n%s", path.name, n.Name, mode, err, out)
			}
		case err != nil:
			verdict = "failed"
			t.Errorf("%s on %s in mode %s: %v\n%s", path.name, n.Name, mode, err, strings.ReplaceAll(out, s.password, "…"))
		}
		fmt.Printf("cell %s %s %s %s on %s\n", version, mode, path.name, verdict, n.Name)
	}
	s.removeImages(t, n)
	said := fails(t, n, "crictl pull "+registryHost+"/nginx:v1")
	// containerd 1.6 says the latter of a host in certs.d.
	if !strings.Contains(said, "authorization failed") && !strings.Contains(said, "401 Unauthorized") {
		t.Errorf("a pull without credentials on %s in mode %s: %s", n.Name, mode, said)
	}
}

// destroyMode puts nodes and cluster back from a mode, with a line of somebody else's in a file that berth changed.
func (s *suite) destroyMode(t *testing.T, _ string) {
	for _, n := range s.cluster.Nodes {
		s.removeImages(t, n)
	}
	n := s.node(t, "worker1")
	run(t, n, `printf '# e2e\n' >>/etc/containerd/config.toml`)
	s.pulumi.must(t, "destroy", "--yes", "--skip-preview")
	s.up = false
	if config := readFile(t, n.Root()+"/etc/containerd/config.toml"); !strings.HasSuffix(config, "\n# e2e\n") {
		t.Errorf("the line of somebody else is gone from config.toml of %s:\n%s", n.Name, config)
	}
	run(t, n, `cp -a /etc/containerd/config.toml /run/e2e-config; sed '$d' /run/e2e-config >/etc/containerd/config.toml; rm /run/e2e-config`)
	s.asBefore(t)
}
