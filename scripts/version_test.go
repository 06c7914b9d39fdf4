package scripts

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What berth's builds have fixed of the CVEs that Debian's packages name, and what upstream's 1.6.38 has.
const (
	fixed         = "24-25621 24-40635 25-64329"
	fixedUpstream = "24-40635"
)

// debian installs one of Debian's packages with its own changelog.
func (n *node) debian(version, changelog string) {
	n.t.Helper()
	n.setSim("package", "containerd "+version+"\n")
	text, err := os.ReadFile(filepath.Join("testdata", "changelog", changelog))
	n.must(err)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err = w.Write(text)
	n.must(err)
	n.must(w.Close())
	n.write("usr/share/doc/containerd/changelog.Debian.gz", zipped.String(), 0o644)
}

func TestVersionPolicy(t *testing.T) {
	t.Parallel()
	bookworm := func(n *node) { n.debian("1.6.20~ds1-1+deb12u3", "bookworm") }
	trixie := func(n *node) { n.debian("1.7.24~ds1-6+deb13u1", "trixie") }
	docker := func(n *node) {
		n.setSim("rpm", "containerd.io 1.7.27\n")
		n.setSim("rpm-changelog", "* Mon Mar 17 2025 - 1.7.27-3.1\n- Update containerd to v1.7.27 (CVE-2024-40635)\n- Update runc to v1.2.5 (CVE-2023-28642)\n")
	}
	const remedy = "take another berth:containerd.version"
	for name, c := range map[string]struct {
		prepare        func(n *node)
		version, allow string
		// want is empty where the version is let pass.
		want []string
	}{
		"the package's line": {trixie, "1.7.36", fixed, nil},
		"a later line": {
			bookworm, "1.7.36", fixed,
			[]string{"1.7.36+berth.1 is of a later line than the package's 1.6.20~ds1-1+deb12u3", remedy, "allowMinorUpgrade"},
		},
		"a later line, allowed":              {bookworm, "1.7.36", fixed + " minor", nil},
		"another major, allowed":             {trixie, "2.4.2", fixed + " minor", nil},
		"the package's line, with its fixes": {bookworm, "1.6.38", fixed, nil},
		"fixes lost": {
			bookworm, "1.6.38", fixedUpstream,
			[]string{"1.6.38+berth.1 lacks fixes of the package's 1.6.20~ds1-1+deb12u3: CVE-2024-25621 CVE-2025-64329: take", remedy, "acceptCVE"},
		},
		"fixes lost, accepted": {bookworm, "1.6.38", fixedUpstream + " 24-25621 25-64329", nil},
		"an older line":        {trixie, "1.6.38", fixed + " minor", []string{"1.6.38+berth.1 is older than the package's 1.7.24~ds1-6+deb13u1", remedy}},
		"an older release":     {trixie, "1.7.20", fixed, []string{"1.7.20+berth.1 is older than the package's"}},
		"an epoch": {
			func(n *node) { n.debian("1:1.7.40-1", "trixie") }, "1.7.36", fixed, []string{"older than the package's 1:1.7.40-1"},
		},
		"an older line than the running": {
			func(n *node) {
				bookworm(n)
				n.write("var/lib/berth/manifest", "owner dev/n1\nversion 1.7.36+berth.1\n", 0o600)
			},
			"1.6.38", fixed,
			[]string{"1.6.38+berth.1 is of an older line than the running 1.7.36+berth.1", remedy},
		},
		"no changelog": {
			func(n *node) { n.setSim("package", "moby-containerd 1.7.27+azure-ubuntu22.04u1\n") }, "1.7.36", fixed,
			[]string{"lacks fixes of the package's 1.7.27+azure-ubuntu22.04u1: unknown (no changelog): take", "acceptCVE"},
		},
		"no changelog, accepted": {
			func(n *node) { n.setSim("package", "moby-containerd 1.7.27+azure-ubuntu22.04u1\n") }, "1.7.36", "unknown", nil,
		},
		"RPM":              {docker, "1.7.36", "24-40635", nil},
		"RPM, a fix lost":  {docker, "1.7.36", "", []string{"lacks fixes of the package's 1.7.27: CVE-2024-40635: take"}},
		"RPM, none to see": {func(n *node) { n.setSim("rpm", "containerd 1.7.27\n") }, "1.7.36", "", []string{"unknown (no changelog)"}},
		"no package":       {func(*node) {}, "1.7.36", "", nil},
		"no package, older": {
			func(n *node) { n.write("usr/bin/containerd", containerdScript("2.1.0", 0, "cri"), 0o755) }, "1.7.36", "",
			[]string{"older than the package's 2.1.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachShell(t, func(t *testing.T, n *node) {
				c.prepare(n)
				before := n.snapshot()
				vars := changed(anchorVars(owner), []Var{{"VERSION", c.version + "+berth.1"}, {"ALLOW", c.allow}})
				if c.want != nil {
					n.fail(Anchor, "preflight", vars, c.want...)
				} else if got := n.run(Anchor, "preflight", vars); !strings.Contains(got, ", containerd ") {
					t.Errorf("said %q", got)
				}
				n.same(before)
			})
		})
	}
}
