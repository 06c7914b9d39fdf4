package release_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/components/containerd/release"
)

var cveID = regexp.MustCompile(`CVE-\d{4}-\d{4,}`)

// TestFixesOfDebiansPackages says what of Debian's packages each build lacks: their changelogs are the ones that nodes have.
func TestFixesOfDebiansPackages(t *testing.T) {
	t.Parallel()
	for changelog, lacking := range map[string]map[string][]string{
		"bookworm": {"1.6.38": nil, "1.7.36": nil, "2.0.14": nil, "2.3.7": nil},
		"trixie":   {"1.7.36": nil, "2.2.9": nil, "2.4.2": nil},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "scripts", "testdata", "changelog", changelog))
		if err != nil {
			t.Fatal(err)
		}
		for version, want := range lacking {
			fixed := release.Fixes(version)
			var lost []string
			for _, id := range cveID.FindAllString(string(text), -1) {
				// Every release that is built has the fixes of the years before 2022.
				if id > "CVE-2022" && !slices.Contains(fixed, id) {
					lost = append(lost, id)
				}
			}
			slices.Sort(lost)
			if !slices.Equal(lost, want) {
				t.Errorf("%s lacks %q of %s, want %q", version, lost, changelog, want)
			}
		}
	}
}

func TestFixes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version, id string
		want        bool
	}{
		{"1.7.28", "CVE-2024-25621", false},
		{"1.7.29", "CVE-2024-25621", true},
		{"2.1.4", "CVE-2024-25621", false},
		{"2.2.0", "CVE-2024-25621", true},
		// By patches of ours.
		{"1.6.38", "CVE-2024-25621", true},
		{"1.6.38", "CVE-2026-53493", false},
		{"2.1.9", "CVE-2026-53495", false},
		{"2.4.0", "CVE-2026-53495", true},
		{"2.4.0", "CVE-2026-53493", false},
		{"2.2.9", "CVE-2026-95839", false},
		{"1.7.36", "CVE-2024-21626", true},
		{"2.4.2", "CVE-2099-0001", false},
	} {
		if got := slices.Contains(release.Fixes(test.version), test.id); got != test.want {
			t.Errorf("%s in %s: %v", test.id, test.version, got)
		}
	}
	for _, version := range release.Versions() {
		ids := release.Fixes(version)
		if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Errorf("%s: not sorted, or twice: %q", version, ids)
		}
		// Scripts on nodes look at the CVEs from 2024 on, since no release that is built lacks an older one.
		for _, id := range release.Fixes("2.4.2") {
			if id < "CVE-2024" && !slices.Contains(ids, id) {
				t.Errorf("%s lacks %s", version, id)
			}
		}
	}
}

func TestEnding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ version, day, want string }{
		{"1.7.36", "2026-06-01", ""},
		{"1.7.36", "2026-08-01", "containerd 1.7 gets no fixes after 2026-09-30"},
		{"1.7.36", "2026-09-30", "gets no fixes after"},
		{"1.7.36", "2026-10-01", "containerd 1.7 has had no fixes since 2026-09-30"},
		{"2.3.7", "2026-10-01", ""},
	} {
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		got := release.Ending(test.version, day)
		if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s on %s: %q, want %q", test.version, test.day, got, test.want)
		}
	}
	for _, version := range release.Versions() {
		if release.Ending(version, time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC)) == "" {
			t.Errorf("no end is known for the line of %s", version)
		}
	}
}
