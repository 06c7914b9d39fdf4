package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/lab/cluster"
	"berth/lab/image"
)

const busyboxImage = "docker.io/library/busybox:lab"

// skopeo runs the standard client against the registry's NodePort, with the CA and the login in files that only root reads.
func (s *suite) skopeo(t *testing.T, verb string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(s.node(t, "master1").Root(), "etc/kubernetes/pki/ca.crt"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600))
	login := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + s.password))
	authFile := filepath.Join(dir, "auth.json")
	check(t, os.WriteFile(authFile, []byte(fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.registry(t), login)), 0o600))
	certDir := "--cert-dir"
	if verb == "copy" {
		certDir = "--dest-cert-dir"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "skopeo", append([]string{verb, "--authfile", authFile, certDir, dir}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("skopeo %s: %w\n%s", verb, err, stderr.String())
	}
	return stdout.String(), nil
}

// registry is the registry's address for a client outside the cluster.
func (s *suite) registry(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%s:%d", s.node(t, "master1").Address, s.port)
}

// push sends an OCI archive to the registry.
func (s *suite) push(t *testing.T, archive, name string) {
	t.Helper()
	_, err := s.skopeo(t, "copy", "oci-archive:"+archive, "docker://"+s.registry(t)+"/"+name)
	check(t, err)
}

// inspect returns the digest of an image in the registry.
func (s *suite) inspect(t *testing.T, name string) (string, error) {
	t.Helper()
	out, err := s.skopeo(t, "inspect", "--format", "{{.Digest}}", "docker://"+s.registry(t)+"/"+name)
	return strings.TrimSpace(out), err
}

// newImage writes an OCI archive whose layer no machine has seen yet.
func (s *suite) newImage(t *testing.T) string {
	t.Helper()
	unique := make([]byte, 64<<10)
	_, _ = rand.Read(unique) // never fails
	archive := filepath.Join(t.TempDir(), "day.tar")
	check(t, image.Write(archive, image.Image{
		Names:        []string{"docker.io/library/day:v1"},
		Architecture: runtime.GOARCH,
		Files: []image.File{
			{Path: "/bin/busybox", Source: filepath.Join(s.node(t, "master1").Root(), "usr/bin/busybox")},
			{Path: "/unique", Content: string(unique)},
		},
		Config: v1.ImageConfig{Cmd: []string{"/bin/busybox", "sleep", "1000000"}},
	}))
	return archive
}

// removeImages takes all images from the registry off a node, so that the next pull is a real one.
func (s *suite) removeImages(t *testing.T, n *cluster.Node) {
	t.Helper()
	run(t, n, `for ns in k8s.io default; do
	ctr -n $ns images ls -q | { grep -i -e '^`+registryHost+`' -e '^`+aliasHost+`' || :; } | while read -r ref; do ctr -n $ns images rm --sync "$ref" >/dev/null; done
done
crictl images -q >/dev/null`)
}

// pulledOnEveryNode has the kubelet of every node pull nginx:v1 by plain name, nothing of the image being there yet.
func (s *suite) pulledOnEveryNode(t *testing.T) {
	t.Helper()
	s.pulledBy(t, registryHost)
}

// pulledBy does so by one of the registry's names.
func (s *suite) pulledBy(t *testing.T, host string) {
	t.Helper()
	ref := host + "/nginx:v1"
	var pods []pod
	for _, n := range s.cluster.Nodes {
		s.removeImages(t, n)
		pods = append(pods, pod{name: unique("pull-" + n.Name), node: n.Name, image: ref, pullSecret: pullSecret})
	}
	s.kube.running(t, pods...)
	for _, p := range pods {
		contains(t, "the kubelet's events about "+p.name, s.kube.events(t, p.name), "Successfully pulled image")
		s.kube.remove(t, p.name)
	}
}
