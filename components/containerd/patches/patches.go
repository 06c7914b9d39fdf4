// Package patches holds the changes that berth makes to containerd, one folder per release line.
//
// A folder such as 1.7 has a line.json (which releases were tested, and the checksum of each) and patch files in the
// unified format, applied in the order of their names. A new line is a new folder; no code changes.
package patches

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed [0-9]*/line.json [0-9]*/*.patch
var files embed.FS

// Line is one release line of containerd.
type Line struct {
	// Name is the folder's name: major.minor, such as "1.7".
	Name string `json:"-"`
	// Module is the Go module's path, with /v2 on the lines from 2.0.
	Module string `json:"module"`
	// Versions maps each tested release ("1.7.36") to the checksum of its module, in go.sum's form.
	Versions map[string]string `json:"versions"`
	// Tests names the folders of testdata that are laid over the patched tree before its tests run.
	Tests []string `json:"tests"`
	// Folders maps folders of the tests, which have the names of the lines before 2.0, to where this line has them.
	Folders map[string]string `json:"folders"`
	// Touched are the package patterns whose own tests must still pass, relative to the module.
	Touched []string `json:"touched"`
}

// Patch is one patch file.
type Patch struct {
	Name    string
	Content []byte
}

// Lines returns all lines, oldest first.
func Lines() ([]Line, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("listing the release lines: %w", err)
	}
	lines := make([]Line, 0, len(entries))
	for _, entry := range entries {
		text, err := fs.ReadFile(files, path.Join(entry.Name(), "line.json"))
		if err != nil {
			return nil, fmt.Errorf("reading release line %s: %w", entry.Name(), err)
		}
		line := Line{Name: entry.Name()}
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fmt.Errorf("reading release line %s: %w", entry.Name(), err)
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b Line) int { return CompareVersions(a.Name, b.Name) })
	return lines, nil
}

// Patches returns the line's patch files in the order in which they apply.
func (l Line) Patches() ([]Patch, error) {
	names, err := fs.Glob(files, path.Join(l.Name, "*.patch"))
	if err != nil {
		return nil, fmt.Errorf("listing the patches of %s: %w", l.Name, err)
	}
	slices.Sort(names)
	list := make([]Patch, 0, len(names))
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading a patch of %s: %w", l.Name, err)
		}
		list = append(list, Patch{Name: name, Content: content})
	}
	return list, nil
}

// Hash identifies the line's patches: SHA-256 in hex over the names, lengths and contents of the patch files.
func (l Line) Hash() (string, error) {
	list, err := l.Patches()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, p := range list {
		_, _ = fmt.Fprintf(sum, "%s %d\n", p.Name, len(p.Content))
		sum.Write(p.Content)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// CompareVersions orders dotted numeric versions ("1.6" before "1.10"). A part that is no number counts as zero.
func CompareVersions(a, b string) int {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(left), len(right)) {
		if c := number(left, i) - number(right, i); c != 0 {
			return c
		}
	}
	return 0
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}
