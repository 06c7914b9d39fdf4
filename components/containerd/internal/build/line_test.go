package build

import (
	"bytes"
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/internal/layer"
	"berth/components/containerd/patches"
	"berth/components/containerd/release"
)

// testdata is the folder of the tests that run inside containerd's tree.
const testdata = "../../patches/testdata"

// TestSource applies every patch to the release that it is for.
func TestSource(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("downloads containerd")
	}
	for version, line := range releases(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			tool, dir := newTool(t), filepath.Join(t.TempDir(), "source")
			if err := Source(t.Context(), tool, line, version, dir); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{
				"go.mod": "module " + line.Module + "\n", "pkg/portmap/portmap.go": "package portmap\n",
			} {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil || !strings.Contains(string(text), want) {
					t.Errorf("%s lacks %q: %v", name, want, err)
				}
			}
		})
	}
}

// TestEveryTestIsUsed finds tests of a line that its line.json forgot.
func TestEveryTestIsUsed(t *testing.T) {
	t.Parallel()
	folders, err := os.ReadDir(testdata)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, line := range releases(t) {
		for _, name := range line.Tests {
			used[name] = true
		}
	}
	for _, folder := range folders {
		if !used[folder.Name()] {
			t.Errorf("no line runs the tests of %s", folder.Name())
		}
	}
}

func TestSourceFails(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("downloads containerd")
	}
	line, err := release.LineOf("1.7.36")
	if err != nil {
		t.Fatal(err)
	}
	tool := newTool(t)

	wrong := line
	wrong.Versions = map[string]string{"1.7.36": "h1:other"}
	err = Source(t.Context(), tool, wrong, "1.7.36", filepath.Join(t.TempDir(), "source"))
	if err == nil || !strings.Contains(err.Error(), "instead of h1:other") {
		t.Errorf("another checksum: %v", err)
	}
	err = Source(t.Context(), tool, line, "1.7.0-no.such", filepath.Join(t.TempDir(), "source"))
	if err == nil || !strings.Contains(err.Error(), "GOPROXY") {
		t.Errorf("no such release: %v", err)
	}
	// The patches of one line do not fit another.
	other, err := release.LineOf("1.6.38")
	if err != nil {
		t.Fatal(err)
	}
	line.Name = other.Name
	err = Source(t.Context(), tool, line, "1.7.36", filepath.Join(t.TempDir(), "source"))
	if err == nil || !strings.Contains(err.Error(), "patching containerd 1.7.36: applying patch 1.6/") {
		t.Errorf("patches of another line: %v", err)
	}
}

// TestLine does for each line all that can be known without a node: it runs containerd's own tests of what the patch
// touches and those of testdata in the patched tree, builds for every architecture, and builds a second time in another
// folder with an empty compiler cache. A line takes minutes, so one that passed as it stands is left out;
// BERTH_TEST_CONTAINERD=1 asks for all and records what passed.
//
//nolint:paralleltest // one compiler at a time
func TestLine(t *testing.T) {
	all := os.Getenv("BERTH_TEST_CONTAINERD") != ""
	for version, line := range releases(t) {
		t.Run(line.Name, func(t *testing.T) {
			record, now := readRecord(t, line), inputs(t, line, version)
			if record.Inputs == now && !all {
				t.Skip("passed before, and nothing of it has changed")
			}
			if testing.Short() {
				t.Skip("takes minutes")
			}
			passed := t.Run("tree", func(t *testing.T) { testTree(t, line, version) })
			digests := map[string]string{}
			passed = t.Run("builds", func(t *testing.T) { testBuilds(t, version, digests) }) && passed
			switch {
			case passed && all:
				tested{Version: version, Inputs: now, Digests: digests}.write(t, line)
			case passed && record.Inputs != now:
				t.Log("record that it passes: make test-containerd")
			}
			for arch, digest := range record.Digests {
				if record.Inputs == now && digests[arch] != digest {
					t.Errorf("linux/%s: built %s here and %s where it was recorded", arch, digests[arch], digest)
				}
			}
		})
	}
}

func testTree(t *testing.T, line patches.Line, version string) {
	t.Helper()
	tool, dir := newTool(t), filepath.Join(t.TempDir(), "source")
	if err := Source(t.Context(), tool, line, version, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range line.Tests {
		if err := copyTests(dir, filepath.Join(testdata, name), line); err != nil {
			t.Fatal(err)
		}
	}
	packages := append([]string{"./" + portmapDir + "/..."}, line.Touched...)
	// With the artifact's settings, so that what is tested is what is built, and compiled once for both.
	settings := []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", tags}
	if _, err := tool.Run(t.Context(), dir, "", slices.Concat([]string{"vet"}, settings, packages)...); err != nil {
		t.Error(err)
	}
	output, err := tool.Run(t.Context(), dir, "", slices.Concat([]string{"test", "-v"}, settings, packages)...)
	if err != nil {
		t.Errorf("%v\n%s", err, failures(string(output)))
	}
	cells := regexp.MustCompile(`(?m)cell (.*)$`).FindAllStringSubmatch(string(output), -1)
	for _, cell := range cells {
		t.Logf("cell %s %s", version, cell[1])
	}
	if len(cells) < 100 {
		t.Errorf("only %d cells were run", len(cells))
	}

	// The search for transports must fail on the unpatched tree, or it would find nothing new either.
	stock, err := download(t.Context(), tool, line, version, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := copyTree(dir, stock); err != nil {
		t.Fatal(err)
	}
	output, err = tool.Run(t.Context(), dir, "", "test", "-mod=readonly", "-run=TestTransports", "./"+portmapDir)
	if err == nil || !strings.Contains(string(output), "remotes/docker/config/hosts.go") {
		t.Errorf("the unpatched tree passed: %v\n%s", err, output)
	}
}

// imported matches a package of containerd in an import, apart from those of module version 2.
var imported = regexp.MustCompile(`"github\.com/containerd/containerd/([^"]+)"`)

// copyTests lays a folder of testdata over a line's tree. What the lines share is written with the names that packages
// had before 2.0, and is given those of the line.
func copyTests(dir, from string, line patches.Line) error {
	rename := func(name string) string {
		for before, after := range line.Folders {
			if name == before || strings.HasPrefix(name, before+"/") {
				return after + strings.TrimPrefix(name, before)
			}
		}
		return name
	}
	return fs.WalkDir(os.DirFS(from), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		text = imported.ReplaceAllFunc(text, func(match []byte) []byte {
			folder := string(imported.FindSubmatch(match)[1])
			if strings.HasPrefix(folder, "v2/") {
				return match
			}
			return []byte(strconv.Quote(line.Module + "/" + rename(folder)))
		})
		target := filepath.Join(dir, rename(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o600)
	})
}

func testBuilds(t *testing.T, version string, digests map[string]string) {
	t.Helper()
	first := t.TempDir()
	for _, arch := range release.Architectures {
		start := time.Now()
		result, err := Artifact(t.Context(), first, t.Output(), release.BuildRequest{Version: version, Arch: arch})
		if err != nil {
			t.Fatal(err)
		}
		digests[arch] = result.Digest
		info, err := os.Stat(result.Path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s linux/%s: %s, %.1f MB, %.0f s", version, arch, result.Digest, float64(info.Size())/1e6, time.Since(start).Seconds())
		checkPrograms(t, result.Path, arch, version)
		checkBill(t, result.Path, arch, version)
	}
	// With an empty compiler cache nothing of the first build is used again.
	t.Setenv("GOCACHE", t.TempDir())
	second, err := Artifact(t.Context(), filepath.Join(t.TempDir(), "another", "folder"), t.Output(),
		release.BuildRequest{Version: version, Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if second.Digest != digests["amd64"] {
		t.Errorf("two builds gave %s and %s", digests["amd64"], second.Digest)
	}
}

// checkPrograms unpacks an artifact and looks at what is in it.
func checkPrograms(t *testing.T, path, arch, version string) {
	t.Helper()
	dir := t.TempDir()
	if output, err := exec.CommandContext(t.Context(), "tar", "-xzf", path, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, program := range programs {
		file := filepath.Join(dir, "bin", program)
		binary, err := elf.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = binary.Close() }()
		if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; binary.Machine != want {
			t.Errorf("%s is for %s, want %s", program, binary.Machine, want)
		}
		for _, segment := range binary.Progs {
			if segment.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", program)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{release.FullVersion(version), release.MappingFile} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s lacks %q", program, want)
			}
		}
	}
}

// checkBill looks for what must be in every bill of materials.
func checkBill(t *testing.T, path, arch, version string) {
	t.Helper()
	text, err := Bill(release.BuildRequest{Version: version, Arch: arch}, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"pkg:golang/google.golang.org/grpc@v`, `"pkg:golang/stdlib@` + strings.TrimPrefix(release.Toolchain, "go"), "@v" + version} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the bill of materials lacks %q", want)
		}
	}
	t.Logf("%s linux/%s: %d components in the bill of materials", version, arch, bytes.Count(text, []byte(`"purl"`)))
}

func releases(t *testing.T) map[string]patches.Line {
	t.Helper()
	all := map[string]patches.Line{}
	for _, version := range release.Versions() {
		line, err := release.LineOf(version)
		if err != nil {
			t.Fatal(err)
		}
		all[version] = line
	}
	return all
}

func newTool(t *testing.T) *gotool.Tool {
	t.Helper()
	tool, err := gotool.New(t.Context(), release.Toolchain, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// failures are the lines of a test's output that say what failed.
func failures(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		if regexp.MustCompile(`FAIL|_test\.go:|cells\.go:|panic|^#`).MatchString(line) && !strings.Contains(line, "cell ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[:min(len(lines), 60)], "")
}

// The digest of an artifact is that of its bytes, and the bytes are those of the layer package.
func TestDigestIsTheFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "layer")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	result, err := layer.Write(file, []layer.File{{Name: "bin/ctr", Mode: 0o755, Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fileDigest(path); err != nil || got != result.Digest {
		t.Errorf("fileDigest = %s, %v; want %s", got, err, result.Digest)
	}
}
