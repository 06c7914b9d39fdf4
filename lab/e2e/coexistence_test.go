package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/lab/cluster"
)

// others are what an administrator may have on a node beside berth, by path. The texts are odd in the ways that an edit would even out.
var others = map[string]string{
	"etc/systemd/system/containerd.service.d/10-site.conf": "# of the site\n[Service]\nEnvironment=SITE=e2e   \n",
	"etc/containerd/certs.d/mirror.example/hosts.toml":     "server = \"https://mirror.example\"\n\n# no newline at the end",
	"etc/containerd/site.note":                             "\ttabs\r\n",
}

// siteComment is in config.toml, at its end.
const siteComment = "\n  # of the site,  with odd blanks\t\n"

// TestCoexistence has an administrator's own files on a node, and then the distribution's package once more: what is theirs stays
// theirs to the byte, and what runs stays ours.
func TestCoexistence(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	s := newSuite(t, watchLeaks(t))
	n := s.node(t, "worker1")
	config := filepath.Join(n.Root(), "etc/containerd/config.toml")
	stock := readFile(t, config)
	t.Cleanup(func() {
		check(t, os.WriteFile(config, []byte(stock), 0o644))
		for name := range others {
			check(t, os.Remove(filepath.Join(n.Root(), name)))
		}
		run(t, n, `rmdir -p --ignore-fail-on-non-empty /etc/containerd/certs.d/mirror.example /etc/systemd/system/containerd.service.d
systemctl daemon-reload; systemctl restart containerd`)
	})
	check(t, os.WriteFile(config, []byte(stock+siteComment), 0o644))
	for name, text := range others {
		path := filepath.Join(n.Root(), name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(text), 0o644))
	}
	run(t, n, `systemctl daemon-reload && systemctl restart containerd`)
	untouched := func(when string) {
		t.Helper()
		if got := readFile(t, config); got != stock+siteComment {
			t.Errorf("%s config.toml is %q", when, got)
		}
		for name, text := range others {
			if got := readFile(t, filepath.Join(n.Root(), name)); got != text {
				t.Errorf("%s %s is %q", when, name, got)
			}
		}
		environment := run(t, n, `tr '\0' '\n' </proc/$(systemctl show -p MainPID --value containerd)/environ`)
		if !strings.Contains(environment, "SITE=e2e") {
			t.Errorf("%s containerd runs without the drop-in of the site", when)
		}
	}

	s.needUp(t)
	untouched("after the up")
	ours := containerdOf(t, n)
	reinstall(t, n)
	now := containerdOf(t, n)
	if now.exe != ours.exe || now.pid == ours.pid {
		t.Errorf("after the package was installed again %+v runs, before it was %+v", now, ours)
	}
	serves(t, n)
	untouched("after the package was installed again")
	s.pulumi.must(t, "preview", "--expect-no-changes")
	s.prunes(t)

	s.needDown(t)
	untouched("after the destroy")
	if got := containerdOf(t, n); got.exe != stockContainerd {
		t.Errorf("after the destroy %s runs", got.exe)
	}
}

// prunes has builds of earlier times in the registry, and others' images beside them, when the stack is next changed.
func (s *suite) prunes(t *testing.T) {
	t.Helper()
	const builds = "berth/containerd:"
	for _, tag := range []string{"1.7.1-berth.1-linux-amd64", "1.7.2-berth.1-linux-amd64", "site"} {
		s.push(t, s.newImage(t), builds+tag)
	}
	s.setPort(t, secondPort)
	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	if _, err := s.inspect(t, builds+"1.7.1-berth.1-linux-amd64"); err == nil {
		t.Error("the registry keeps more than the build before the last")
	}
	// As the README has it, in the namespace of the lab.
	s.kube.must(t, "", "-n", "default", "exec", "deploy/docker-registry", "--", "registry", "garbage-collect", "/etc/berth/config.yml")
	for _, kept := range []string{builds + "1.7.2-berth.1-linux-amd64", builds + "site", "nginx:v1"} {
		if _, err := s.inspect(t, kept); err != nil {
			t.Errorf("%s is gone: %v", kept, err)
		}
	}
	for name, version := range versions {
		if _, err := s.skopeo(t, "inspect", "--raw", "docker://"+s.registry(t)+"/"+builds+version+"-berth.1-linux-amd64"); err != nil {
			t.Errorf("the build that %s runs is gone: %v", name, err)
		}
	}
}

// reinstall has dpkg install the package once more, which restarts its service. The node has no network but the cluster's, so this machine
// fetches it.
func reinstall(t *testing.T, n *cluster.Node) {
	t.Helper()
	dir := filepath.Join(n.Root(), "var/tmp/e2e")
	check(t, os.MkdirAll(dir, 0o755))
	release := run(t, n, `. /etc/os-release && echo "$VERSION_CODENAME"`)
	download := exec.CommandContext(t.Context(), "apt-get", "download", "--quiet", "containerd/"+release)
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		t.Skipf("this machine's apt has no containerd of %s: %v\n%s", release, err, out)
	}
	run(t, n, `DEBIAN_FRONTEND=noninteractive dpkg --install --force-confold /var/tmp/e2e/containerd_*.deb && rm /var/tmp/e2e/containerd_*.deb`)
}
