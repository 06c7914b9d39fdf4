package e2e

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"
)

// preview changes nothing anywhere and says, in a readable line, what it would do to each node.
func (s *suite) preview(t *testing.T) {
	s.needDown(t)
	touchedBefore, objectsBefore := s.touched(t), s.kube.versions(t)

	names := s.pulumi.must(t, "preview").text()
	details := s.pulumi.must(t, "preview", "--diff").text()
	for _, n := range s.cluster.Nodes {
		contains(t, "the preview", names, "node-"+n.Name+"-anchor", "node-"+n.Name+"-base", "node-"+n.Name+"-containerd", "node-"+n.Name+"-verify")
	}
	contains(t, "the preview with --diff", details,
		"preflight",
		fmt.Sprintf("apply base %s port %d trust os", registryHost, firstPort),
		"apply containerd 1.6.38+berth.",
		"apply containerd 1.7.36+berth.",
		"apply containerd 2.2.9+berth.",
		"build containerd 1.6.38+berth.",
		"build containerd 1.7.36+berth.",
		"build containerd 2.2.9+berth.",
		"publish containerd 1.6.38+berth.",
		"remove older builds of containerd from "+registryHost,
		"apply image docker.io/library/registry:3.1.2",
		"sign "+registryHost)

	s.untouched(t, touchedBefore, 2)
	s.sameFiles(t, s.clean)
	if now := s.kube.versions(t); !maps.Equal(objectsBefore, now) {
		t.Errorf("preview changed the cluster:\n%v\n%v", objectsBefore, now)
	}
	if n := s.pulumi.resources(t); n != 0 {
		t.Errorf("preview left %d resources in the state", n)
	}
	address := net.JoinHostPort(s.node(t, "master1").Address, strconv.Itoa(firstPort))
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = c.Close()
		t.Errorf("something answers at %s", address)
	}
}
