package e2e

import (
	"fmt"
	"strings"
	"testing"

	"berth/lab/cluster"
)

// firstUp: one up, and every node pulls by plain name.
func (s *suite) firstUp(t *testing.T) {
	s.needDown(t)
	var witnesses []pod
	for _, n := range s.cluster.Nodes {
		witnesses = append(witnesses, pod{
			name: unique("witness-" + n.Name), node: n.Name, image: busyboxImage, policy: "Never",
			command: []string{"sleep", "1000000"},
		})
	}
	s.kube.running(t, witnesses...)
	containers, stock := s.kube.containers(t), s.containerds(t)

	s.needUp(t)

	for _, n := range s.cluster.Nodes {
		if logins := touched(t, n); strings.Contains(logins, "logins 0\n") {
			t.Errorf("up came by SSH, and this was not seen: later checks that nothing ran would be blind\n%s", logins)
		}
		d := containerdOf(t, n)
		if d.pid == stock[n.Name].pid || !strings.HasPrefix(d.exe, "/usr/local/bin/containerd-berth-"+versions[n.Name]) {
			t.Errorf("containerd on %s was %+v and is %+v", n.Name, stock[n.Name], d)
		}
		serves(t, n)
	}
	now := s.kube.containers(t)
	for name, ids := range containers {
		if now[name] != ids {
			t.Errorf("the containers of pod %s were %q and are %q", name, ids, now[name])
		}
	}
	for _, w := range witnesses {
		if now["default/"+w.name] == "" {
			t.Errorf("pod %s has no containers", w.name)
		}
		s.kube.remove(t, w.name)
	}

	s.pulledOnEveryNode(t)
	for _, n := range s.cluster.Nodes {
		s.fourCommands(t, n)
	}
	s.otherHostsDial443(t, s.node(t, "worker1"))
	s.leaks.collect(t, s)
}

// fourCommands are those of the seed case. Two of them failed there, for want of credentials too.
func (s *suite) fourCommands(t *testing.T, n *cluster.Node) {
	t.Helper()
	login := registryUser + ":" + s.password
	withPort := fmt.Sprintf("%s:%d/nginx:v1", registryHost, s.port)
	for _, command := range []string{
		"crictl pull " + registryHost + "/nginx:v1 --creds " + login,
		"ctr i pull " + withPort + " --user " + login,
		"crictl pull " + withPort + " --creds " + login,
		"ctr i pull " + registryHost + "/nginx:v1 --user " + login,
	} {
		s.removeImages(t, n)
		// Flags go before the name for the programs to see them.
		words := strings.Fields(command)
		command = strings.Join(append(append(words[:len(words)-3:len(words)-3], words[len(words)-2:]...), words[len(words)-3]), " ")
		var out string
		var err error
		s.leaks.quiet(func() { out, err = n.Run(t.Context(), command+" 2>&1") })
		if err != nil {
			t.Errorf("on %s: %s: %v\n%s", n.Name, strings.ReplaceAll(command, s.password, "…"), err, out)
		}
	}
	s.removeImages(t, n)
	// Without credentials the registry refuses: the pulls above did use them.
	contains(t, "a pull without credentials", fails(t, n, "crictl pull "+registryHost+"/nginx:v1"), "authorization failed")
}

// otherHostsDial443: for names that berth was not asked for, the patched programs do what the stock ones do.
func (s *suite) otherHostsDial443(t *testing.T, n *cluster.Node) {
	t.Helper()
	// The lab's machines know no name servers; an address of the lab with nothing on 443 stands in for the internet's.
	address := s.node(t, "worker2").Address
	withHosts(t, n, address+" registry-1.docker.io", func() {
		for _, command := range []string{"ctr images pull docker.io/library/e2e:v1", "crictl pull docker.io/library/e2e:v1"} {
			contains(t, command, fails(t, n, command), "dial tcp "+address+":443: connect: connection refused")
		}
	})
}
