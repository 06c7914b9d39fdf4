package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/components/containerd/patches"
	"berth/components/containerd/release"
)

// tested is what a passed TestLine leaves behind in a line's folder, for those who need not run it again.
type tested struct {
	Version string `json:"version"`
	// Inputs condenses all that the test depends on: another value, and the line is tested again.
	Inputs string `json:"inputs"`
	// Digests are the artifacts that were built, by architecture. Any machine must build the same.
	Digests map[string]string `json:"digests"`
}

func recordFile(line patches.Line) string {
	return filepath.Join("../../patches", line.Name, "tested.json")
}

func readRecord(t *testing.T, line patches.Line) tested {
	t.Helper()
	var record tested
	text, err := os.ReadFile(recordFile(line))
	if errors.Is(err, fs.ErrNotExist) {
		return record
	}
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func (r tested) write(t *testing.T, line patches.Line) {
	t.Helper()
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordFile(line), append(text, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inputs condenses what the test of a line depends on: its patches and tests, how it is built, and the code that does both.
func inputs(t *testing.T, line patches.Line, version string) string {
	t.Helper()
	hash, err := PatchHash(version)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, version, hash, release.Toolchain, tags, ldflags(line, version, hash))
	roots := []string{filepath.Join("../../patches", line.Name, "line.json"), ".", "../gotool", "../layer", "../patch"}
	for _, name := range line.Tests {
		roots = append(roots, filepath.Join(testdata, name))
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			// Of the tests beside this one only line_test.go is part of what a line is tested with.
			if !strings.HasPrefix(name, testdata) && strings.HasSuffix(name, "_test.go") && name != "line_test.go" {
				return nil
			}
			text, err := os.ReadFile(name)
			fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}
