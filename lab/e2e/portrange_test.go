package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	// controlPlane is the lab's node with the API server.
	controlPlane = "master1"
	apiServer    = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	widened      = "--service-node-port-range=443-32767"
)

// portRangeIs fails the test unless the API server's manifest has the wide range, or has it not, and the API server does so, too.
func (s *suite) portRangeIs(t *testing.T, wide bool) {
	t.Helper()
	n := s.node(t, controlPlane)
	if manifest := run(t, n, "cat "+apiServer); strings.Contains(manifest, "    - "+widened+"\n") != wide {
		t.Errorf("the manifest of the API server, whose range is to be wide: %t:\n%s", wide, manifest)
	}
	if strays := run(t, n, "ls -A /etc/kubernetes/manifests /etc/kubernetes | grep -i berth || :"); strays != "" {
		t.Errorf("the kubelet of %s may run %s", n.Name, strays)
	}
	if problem := s.portRange(t, wide); problem != "" {
		t.Error(problem)
	}
	config := s.kubeadmConfig(t)
	if strings.Contains(config, "  - name: service-node-port-range\n    value: 443-32767\n") != wide || !wide && config != s.kubeadm {
		t.Errorf("what kubeadm remembers, whose range is to be wide: %t:\n%s", wide, config)
	}
}

// kubeadmConfig is what kubeadm remembers of the cluster, with the annotations of others.
func (s *suite) kubeadmConfig(t *testing.T) string {
	t.Helper()
	return s.kube.must(t, "", "get", "configmap", "kubeadm-config", "-n", "kube-system", "-o",
		"jsonpath={.data.ClusterConfiguration}{.metadata.annotations}")
}

// portRange says why the API server does not take a NodePort below its usual range, or does not refuse it; "" where all is well. A dry run
// would not tell: the range is not looked at there.
func (s *suite) portRange(t *testing.T, wide bool) string {
	t.Helper()
	said, err := s.kube.run(t.Context(), "", "create", "service", "nodeport", "e2e", "--tcp=1", "--node-port=444")
	if _, gone := s.kube.run(t.Context(), "", "delete", "service", "e2e", "--ignore-not-found"); gone != nil {
		return gone.Error()
	}
	if wide && err != nil || !wide && (err == nil || !strings.Contains(err.Error(), "provided port is not in the valid range")) {
		return fmt.Sprintf("a Service with NodePort 444, which is to be taken: %t: %s %v", wide, said, err)
	}
	return ""
}

// upgradeAPIServer: kubeadm writes the manifest anew on an upgrade, with the range that it remembers. Where that is lost all the same, the
// nodes go on pulling, the next preview says so, and up brings it back.
func (s *suite) upgradeAPIServer(t *testing.T, mode string) {
	s.setMode(t, mode)
	s.needUp(t)
	n := s.node(t, controlPlane)
	file := temporary(t, n, "kubeadm.yaml", s.kube.must(t, "", "get", "configmap", "kubeadm-config", "-n", "kube-system", "-o",
		"jsonpath={.data.ClusterConfiguration}"))
	said := run(t, n, "mkdir -p /var/tmp/e2e/manifests && KUBEADM_INIT_DRYRUN_DIR=/var/tmp/e2e/manifests "+
		"kubeadm init phase control-plane apiserver --dry-run --config "+file+" >&2 && cat /var/tmp/e2e/manifests/kube-apiserver.yaml")
	contains(t, "what kubeadm writes", said, "    - "+widened+"\n")
	const upgrade = "cp -a %[1]s /etc/kubernetes/e2e; sed '/%[2]s/d' %[1]s >/etc/kubernetes/e2e; mv /etc/kubernetes/e2e %[1]s"
	run(t, n, fmt.Sprintf(upgrade, apiServer, widened))
	eventually(t, 3*time.Minute, func() string { return s.portRange(t, false) })
	s.pulledOnEveryNode(t)
	said = s.pulumi.must(t, "preview", "--diff").text()
	contains(t, "the preview", said, "repair after", "the NodePorts 443-32767 are not in kube-apiserver.yaml")
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	s.modeHolds(t, mode)
}
