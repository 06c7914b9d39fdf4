package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/lab/cluster"
)

// portAndPassword: both are changed in place, and no containerd is built or restarted for it.
func (s *suite) portAndPassword(t *testing.T) {
	s.needUp(t)
	t.Run("port", func(t *testing.T) { s.changePort(t) })
	t.Run("password", func(t *testing.T) { s.changePassword(t) })
	s.leaks.collect(t, s)
}

func (s *suite) changePort(t *testing.T) {
	t.Helper()
	daemons, built := s.containerds(t), s.builds(t)
	// Nodes switch one after the other, so each of them pulls all the time: the one that is last among them.
	loops := map[string]*pullLoop{}
	for _, n := range s.cluster.Nodes {
		loops[n.Name] = s.startPulls(t, n, registryHost)
	}
	time.Sleep(2 * time.Second)
	old := s.port
	s.setPort(t, secondPort)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	time.Sleep(2 * time.Second)
	for name, loop := range loops {
		pulled, failed := loop.stop(t)
		if len(failed) > 0 {
			t.Errorf("%s: %d pulls went well and %d failed:\n%s", name, pulled, len(failed), strings.Join(failed, "\n"))
		}
		if pulled < 10 {
			t.Errorf("%s pulled only %d times", name, pulled)
		}
		t.Logf("%s pulled %d times", name, pulled)
	}
	for _, n := range s.cluster.Nodes {
		if now := containerdOf(t, n); now != daemons[n.Name] {
			t.Errorf("containerd on %s was %+v and is %+v", n.Name, daemons[n.Name], now)
		}
	}
	if now := s.builds(t); now != built {
		t.Errorf("containerd was built again:\nbefore %s\nafter  %s", built, now)
	}
	s.pulledOnEveryNode(t)
	address := net.JoinHostPort(s.node(t, "master1").Address, strconv.Itoa(old))
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = c.Close()
		t.Errorf("the old port still answers at %s", address)
	}
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// builds says when the build in the state was made last.
func (s *suite) builds(t *testing.T) string {
	t.Helper()
	var all []string
	for _, r := range s.pulumi.state(t) {
		if strings.Contains(r.URN, "berth:containerd:Build") {
			all = append(all, r.URN+" "+r.Modified)
		}
	}
	if len(all) < 2 {
		t.Fatalf("the state has no build: %q", all)
	}
	slices.Sort(all) // the state lists them as they ended
	return strings.Join(all, "\n")
}

func (s *suite) changePassword(t *testing.T) {
	t.Helper()
	daemons := s.containerds(t)
	s.setPassword(t, secondPassword)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	s.pulledOnEveryNode(t)
	for _, n := range s.cluster.Nodes {
		if now := containerdOf(t, n); now != daemons[n.Name] {
			t.Errorf("containerd on %s was %+v and is %+v", n.Name, daemons[n.Name], now)
		}
	}
	// The old password is out of use.
	now := s.password
	s.password = firstPassword
	if _, err := s.inspect(t, "nginx:v1"); err == nil || !strings.Contains(err.Error(), "unauthorized") && !strings.Contains(err.Error(), "401") {
		t.Errorf("the old password: %v, want a refusal", err)
	}
	s.password = now
	s.pulumi.must(t, "preview", "--expect-no-changes")
}

// pullLoop pulls nginx:v1 by plain names on a node, over and over, each time from the registry.
type pullLoop struct {
	node *cluster.Node
	done chan string
}

func (s *suite) startPulls(t *testing.T, n *cluster.Node, names ...string) *pullLoop {
	t.Helper()
	login := temporary(t, n, "login", registryUser+":"+s.password)
	l := &pullLoop{node: n, done: make(chan string, 1)}
	_ = os.Remove(l.stopFile())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), pulumiLimit)
	t.Cleanup(cancel)
	go func() {
		// The login goes through the environment, which other users cannot read.
		out, err := n.Run(ctx, `export CRICTL_CREDS="$(cat `+login+`)"
while [ ! -e /var/tmp/e2e/stop ]; do
	for name in `+strings.Join(names, " ")+`; do
		crictl rmi $name/nginx:v1 >/dev/null 2>&1 || :
		if said=$(crictl pull $name/nginx:v1 2>&1); then echo pulled; else echo "$(date +%T) $said" | tr '\n' ' '; echo; fi
		# Pulls are slow. A moment in which the mapping names a port where nobody answers is seen between them.
		for i in 1 2 3 4 5 6 7 8 9 10; do
			port=$(awk -v name=$name '$1 == name { print $2 }' /etc/containerd/berth.ports)
			curl -sk -o /dev/null --max-time 5 "https://$name:$port/" || echo "$(date +%T) nobody answers at the mapped port $port of $name"
			sleep 0.03
		done
	done
done`)
		if err != nil {
			out += "\nthe loop itself: " + err.Error()
		}
		l.done <- out
	}()
	return l
}

func (l *pullLoop) stopFile() string { return filepath.Join(l.node.Root(), "var/tmp/e2e/stop") }

// stop ends the loop and returns how many pulls went well, and what the others said.
func (l *pullLoop) stop(t *testing.T) (int, []string) {
	t.Helper()
	pulled, failed := 0, []string{}
	check(t, os.WriteFile(l.stopFile(), nil, 0o600))
	select {
	case out := <-l.done:
		for _, line := range lines(out) {
			if line == "pulled" {
				pulled++
			} else {
				failed = append(failed, line)
			}
		}
	case <-time.After(time.Minute):
		t.Fatalf("the pulls on %s do not end", l.node.Name)
	}
	check(t, os.RemoveAll(filepath.Dir(l.stopFile())))
	return pulled, failed
}
