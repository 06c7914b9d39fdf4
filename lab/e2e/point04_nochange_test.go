package e2e

import (
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// noChange: what stands is left alone, from wherever it is looked at.
func (s *suite) noChange(t *testing.T) {
	s.needUp(t)
	t.Run("second-up", func(t *testing.T) {
		before := s.touched(t)
		s.pulumi.must(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
		s.pulumi.must(t, "preview", "--expect-no-changes")
		s.untouched(t, before, 2)
	})
	t.Run("second-checkout", func(t *testing.T) {
		before := s.touched(t)
		elsewhere := *s.pulumi
		elsewhere.dir = s.secondCheckout(t)
		cache := t.TempDir()
		elsewhere.env = slices.Concat(elsewhere.env, []string{"BERTH_CACHE=" + cache})
		elsewhere.must(t, "preview", "--expect-no-changes")
		elsewhere.must(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
		s.untouched(t, before, 2)
		if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
			t.Errorf("the cache has %d entries: something was built (%v)", len(left), err)
		}
	})
	t.Run("another-api-address", func(t *testing.T) { s.otherAPIAddress(t) })
}

// otherAPIAddress reaches the same cluster through another address. A provider that took it for another cluster would delete the
// namespace and all that is in it.
func (s *suite) otherAPIAddress(t *testing.T) {
	t.Helper()
	kubeconfig := readFile(t, s.cluster.Kubeconfig)
	_, rest, ok := strings.Cut(kubeconfig, "server: ")
	if !ok {
		t.Fatalf("no server in %s", s.cluster.Kubeconfig)
	}
	server := strings.Fields(rest)[0]
	u, err := url.Parse(server)
	check(t, err)
	// The certificate does not name the loopback address, so the file says which name it is to have.
	moved := strings.Replace(kubeconfig, "server: "+server, "server: https://"+relay(t, u.Host)+"\n    tls-server-name: kubernetes", 1)
	before, versions, touched := s.pulumi.config, s.kube.versions(t), s.touched(t)
	config := filepath.Join(t.TempDir(), "Pulumi.lab.yaml")
	check(t, os.WriteFile(config, []byte(readFile(t, before)), 0o600))
	s.pulumi.config = config
	defer func() { s.pulumi.config = before }()
	s.pulumi.set(t, "berth:kubernetes.kubeconfig", moved, true)

	changes := s.pulumi.plan(t).changes()
	if len(changes) != 1 || !strings.HasPrefix(changes[0], "update ") || !strings.Contains(changes[0], "pulumi:providers:kubernetes") {
		t.Errorf("another address of the API server changes %q, want an update of the provider alone", changes)
		return
	}
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.untouched(t, touched, 2)
	if now := s.kube.versions(t); !maps.Equal(versions, now) {
		t.Errorf("another address of the API server changed the cluster:\n%v\n%v", versions, now)
	}
	s.pulumi.config = before
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	s.untouched(t, touched, 3)
}

// relay passes TCP connections on to address until the test ends, and returns where it listens.
func relay(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return l.Addr().String()
}

// secondCheckout copies the project, as git sees it, to another folder, with the image archive and no other cache.
func (s *suite) secondCheckout(t *testing.T) string {
	t.Helper()
	if s.checkout != "" {
		return s.checkout
	}
	dir := filepath.Join(s.temporary, "checkout")
	list, err := exec.CommandContext(t.Context(), "git", "-C", s.project, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	check(t, err)
	files := strings.Split(strings.Trim(string(list), "\x00"), "\x00")
	archive, err := filepath.Rel(s.project, s.cluster.RegistryArchive)
	check(t, err)
	for _, name := range append(files, archive) {
		info, err := os.Stat(filepath.Join(s.project, name))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		check(t, err)
		data, err := os.ReadFile(filepath.Join(s.project, name))
		check(t, err)
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), data, info.Mode()))
	}
	s.checkout = dir
	return dir
}
