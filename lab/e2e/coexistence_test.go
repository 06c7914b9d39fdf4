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

// laterVersion is upstream's, of a later line than any package that the lab's nodes have.
const laterVersion = "2.2.9"

// siteComment is in config.toml, at its end.
const siteComment = "\n  # of the site,  with odd blanks\t\n"

// TestCoexistence has an administrator's own files on a node, and then the distribution's package once more, and in a later version: what
// is theirs stays theirs to the byte, and what runs stays ours.
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
	s.packageMovesOn(t, n)
	untouched("after the package went on and back")
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

// packageMovesOn has dpkg install a package of a later version than the containerd that berth has there: it runs on, and each look tells
// that it is behind. The distribution's own package comes back at the end.
func (s *suite) packageMovesOn(t *testing.T, n *cluster.Node) {
	t.Helper()
	ours := containerdOf(t, n)
	install(t, n, s.laterPackage(t, fetchPackage(t, n)))
	if got := run(t, n, "dpkg-query -W -f '${Version}' containerd"); got != laterVersion+"-1" {
		t.Fatalf("%s has package %s", n.Name, got)
	}
	if now := containerdOf(t, n); now.exe != ours.exe {
		t.Errorf("after an upgrade of the package %s runs, before it was %s", now.exe, ours.exe)
	}
	serves(t, n)
	said := s.pulumi.must(t, "preview", "--expect-no-changes").text()
	contains(t, "the preview", said, n.Name+": ", "the package brings containerd "+laterVersion+": berth:containerd.version is behind")
	reinstall(t, n)
}

// laterPackage is the distribution's package with upstream's programs of another line, and their version.
func (s *suite) laterPackage(t *testing.T, archive string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "package")
	built := buildUpstream(t, s.cluster, laterVersion)
	later := filepath.Join(t.TempDir(), "containerd_later.deb")
	for _, args := range [][]string{
		{"dpkg-deb", "--raw-extract", archive, dir},
		{"cp", filepath.Join(built, "containerd"), filepath.Join(built, "ctr"), filepath.Join(dir, "usr/bin")},
		{"sed", "-i", "s/^Version: .*/Version: " + laterVersion + "-1/", filepath.Join(dir, "DEBIAN/control")},
		{"dpkg-deb", "--build", "-Znone", "--root-owner-group", dir, later},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return later
}

// reinstall has dpkg install the distribution's package, which restarts its service.
func reinstall(t *testing.T, n *cluster.Node) {
	t.Helper()
	install(t, n, fetchPackage(t, n))
}

// fetchPackage fetches the package of a node's release. The node has no network but the cluster's, so this machine does.
func fetchPackage(t *testing.T, n *cluster.Node) string {
	t.Helper()
	release := run(t, n, `. /etc/os-release && echo "$VERSION_CODENAME"`)
	download := exec.CommandContext(t.Context(), "apt-get", "download", "--quiet", "containerd/"+release)
	download.Dir = t.TempDir()
	// apt drops its rights, to a user who must be able to write there.
	check(t, os.Chmod(download.Dir, 0o777))
	if out, err := download.CombinedOutput(); err != nil {
		t.Skipf("this machine's apt has no containerd of %s: %v\n%s", release, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(download.Dir, "containerd_*.deb"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("apt has fetched %v: %v", archives, err)
	}
	return archives[0]
}

// install has dpkg install an archive on a node.
func install(t *testing.T, n *cluster.Node, archive string) {
	t.Helper()
	const place = "/var/tmp/e2e/containerd.deb"
	check(t, os.MkdirAll(filepath.Dir(n.Root()+place), 0o755))
	check(t, exec.CommandContext(t.Context(), "cp", archive, n.Root()+place).Run())
	run(t, n, "DEBIAN_FRONTEND=noninteractive dpkg --install --force-confold --force-downgrade "+place+" && rm "+place)
}
