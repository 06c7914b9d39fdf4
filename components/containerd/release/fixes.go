package release

import (
	"regexp"
	"slices"
	"strings"

	"berth/components/containerd/patches"
)

// fix is a vulnerability and the first releases without it.
type fix struct {
	id string
	// releases are the first with the fix, one on each line that got it, oldest line first. A line that is not among them and
	// younger than all of them had it from the start; any other lacks it, as far as is known.
	releases []string
}

// fixes are the vulnerabilities of containerd from 2022 on; 1.6.0, the first release of the oldest line here, has the fixes of
// all before. Where nothing else is said, the source is the release's own notes: releases/v*.toml in containerd's tree, or on its
// GitHub page. A test holds the table to those notes.
var fixes = []fix{
	{"CVE-2022-23648", []string{"1.5.10", "1.6.1"}},
	{"CVE-2022-24769", []string{"1.5.11", "1.6.2"}},
	// GHSA-5ffw-gxpp-mxpf
	{"CVE-2022-31030", []string{"1.5.13", "1.6.6"}},
	{"CVE-2022-23471", []string{"1.5.16", "1.6.12"}},
	{"CVE-2023-25153", []string{"1.5.18", "1.6.18"}},
	{"CVE-2023-25173", []string{"1.5.18", "1.6.18"}},
	// GHSA-265r-hfxg-fhmg, whose advisory names the three releases
	{"CVE-2024-40635", []string{"1.6.38", "1.7.27", "2.0.4"}},
	// GHSA-cxfp-7pvr-95ff
	{"CVE-2025-47291", []string{"2.0.5"}},
	{"CVE-2025-47290", []string{"2.1.1"}},
	// GHSA-pwhc-rpq9-4c8w
	{"CVE-2024-25621", []string{"1.7.29", "2.0.7", "2.1.5"}},
	// GHSA-m6hq-p25p-ffr2
	{"CVE-2025-64329", []string{"1.7.29", "2.0.7", "2.1.5"}},
	// spdystream
	{"CVE-2026-35469", []string{"1.7.31", "2.0.8", "2.1.7", "2.2.3"}},
	{"CVE-2026-46680", []string{"1.7.32", "2.0.9", "2.1.8", "2.2.4", "2.3.1"}},
	// go-jose
	{"CVE-2026-34986", []string{"1.7.33", "2.2.4"}},
	{"CVE-2026-47262", []string{"1.7.33", "2.0.10", "2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53488", []string{"1.7.33", "2.0.10", "2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-50195", []string{"2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53489", []string{"2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53492", []string{"2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53495", []string{"1.7.35", "2.0.12", "2.2.8", "2.3.5"}},
	{"CVE-2026-53493", []string{"1.7.36", "2.0.13", "2.2.9", "2.3.6", "2.4.1"}},
	{"CVE-2026-95839", []string{"2.3.7", "2.4.2"}},
}

// elsewhere are vulnerabilities that packages of containerd name although containerd's binary has none of them: those of runc,
// which is the package's own also under berth, and of Go before Toolchain.
var elsewhere = []string{
	"CVE-2022-29162", // runc 1.1.2
	"CVE-2022-41716", // Go 1.18.8: notes of containerd 1.6.10
	"CVE-2023-25809", // runc 1.1.5, as the two that follow
	"CVE-2023-27561",
	"CVE-2023-28642",
	"CVE-2024-21626", // runc 1.1.12: notes of containerd 1.6.28 and 1.7.13
	"CVE-2024-45310", // runc 1.1.14
	"CVE-2025-31133", // runc 1.2.8, as the two that follow: notes of containerd 1.7.29
	"CVE-2025-52565",
	"CVE-2025-52881",
}

// Fixes lists the CVEs that berth's build of an upstream version has no more, by containerd's fixes and by berth's own patches, and
// those that no containerd binary has. A CVE that is not known is not among them.
func Fixes(upstream string) []string {
	ids := slices.Clone(elsewhere)
	for _, f := range fixes {
		if f.in(upstream) {
			ids = append(ids, f.id)
		}
	}
	ids = append(ids, backports(lineName(upstream))...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (f fix) in(version string) bool {
	line := lineName(version)
	for _, first := range f.releases {
		if lineName(first) == line {
			return patches.CompareVersions(version, first) >= 0
		}
	}
	return patches.CompareVersions(line, lineName(f.releases[len(f.releases)-1])) > 0
}

var cveID = regexp.MustCompile(`CVE-\d{4}-\d{4,}`)

// backports are the fixes that a line's patches bring: their files carry the ids in their names.
func backports(line string) []string {
	var ids []string
	for _, l := range mustLines() {
		if l.Name != line {
			continue
		}
		list, err := l.Patches()
		if err != nil {
			panic(err) // only where the files that are compiled in are broken, which a test rules out
		}
		for _, p := range list {
			ids = append(ids, cveID.FindAllString(p.Name, -1)...)
		}
	}
	return ids
}

// lineName is the line of a version: "1.7" for "1.7.36".
func lineName(version string) string {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return major + "." + minor
}
