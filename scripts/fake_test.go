package scripts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	testVersion = "1.7.36+berth.1"
	testUnit    = `[Unit]
Description=containerd container runtime
[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/bin/containerd --config "/etc/containerd/config.toml" \
  --log-level info
Type=notify
KillMode=process
`
)

// node is a fake root with a simulated systemd and containerd (testdata/stubs).
type node struct {
	t     *testing.T
	root  string
	sim   string
	shell []string
	path  string
	env   []string
	// patched is the version that mode patch brings.
	patched string
}

// newNode returns a node that runs a packaged containerd 1.7.20.
func newNode(t *testing.T, shell []string) *node {
	t.Helper()
	stubs, err := filepath.Abs("testdata/stubs")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &node{t: t, root: filepath.Join(dir, "root"), sim: filepath.Join(dir, "sim"), shell: shell, patched: testVersion}
	n.path = filepath.Join(dir, "stubs")
	if err := os.CopyFS(n.path, os.DirFS(stubs)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(n.sim, 0o700); err != nil {
		t.Fatal(err)
	}
	n.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.9 other.example", 0o664)
	n.write("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n", 0o644)
	n.write("etc/containerd/config.toml", "version = 2\n", 0o600)
	n.write("lib/systemd/system/containerd.service", testUnit, 0o644)
	n.write("usr/bin/containerd", containerdScript("1.7.20", 0, "cri"), 0o755)
	n.write("usr/bin/containerd-shim-runc-v2", "#!/bin/sh\n", 0o755)
	for _, d := range []string{"etc/systemd/system", "usr/local/bin", "usr/local/share", "run/systemd/system", "proc/4242", "var/lib", "dev"} {
		n.mkdir(d)
	}
	if err := os.Symlink(n.root+"/usr/bin/containerd", n.root+"/proc/4242/exe"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"active": "active\n", "exec": "/usr/bin/containerd --config /etc/containerd/config.toml --log-level info\n", "dropins": "", "environment": "",
		"starts": "", "calls": "", "journal": "", "images": "REF TYPE DIGEST SIZE PLATFORMS LABELS\n",
	} {
		n.setSim(name, text)
	}
	return n
}

func containerdScript(version string, startRC int, plugins ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\ncase $1 in\n--version) echo 'containerd github.com/containerd/containerd v%s 0123' ;;\nstart)\n", version)
	if startRC != 0 {
		b.WriteString("echo 'time=\"now\" level=info msg=\"starting containerd\"'\necho 'level=fatal msg=\"no such config: BROKEN\"'\n")
	}
	fmt.Fprintf(&b, "exit %d ;;\nplugins)\n", startRC)
	for _, p := range append([]string{"introspection"}, plugins...) {
		fmt.Fprintf(&b, "echo 'io.containerd.grpc.v1 %s linux/amd64 ok'\n", p)
	}
	// Each version has an internal plugin that no other has, as the release lines do.
	fmt.Fprintf(&b, "echo 'io.containerd.internal.v1 only-in-%s - ok'\n", version)
	b.WriteString("echo 'io.containerd.snapshotter.v1 zfs linux/amd64 skip'\n;;\n--config)\n[ \"$3 $4\" = 'config dump' ]\n" + configDump + ";;\nesac\n")
	return b.String()
}

// configDump shows a configuration as containerd does: without comments, with what is not said in it, and with an error for a table that
// is there twice.
const configDump = `
[ -e "$2" ] || set -- - /dev/null
awk -v name='[plugins."io.containerd.grpc.v1.cri".registry]' '
	BEGIN { print "version = 2"; print "imports = [\"" ARGV[1] "\"]" }
	{ sub(/^[ \t]+/, ""); sub(/[ \t]*#.*/, "") }
	$0 == "" || /^version/ || /^imports/ { next }
	/^\[/ { if (tables[$0]++) exit failed = 1; table = $0; if (table == name) next }
	table == name { if ($1 in keys) exit failed = 1; keys[$1] = $0; next }
	{ print "  " $0 }
	END {
		if (failed) exit 1
		if (!("config_path" in keys)) keys["config_path"] = "config_path = \"\""
		print "  " name
		for (key in keys) print "    " keys[key]
	}' "$2"
`

func (n *node) mkdir(name string) {
	n.t.Helper()
	dir := n.root
	for _, part := range strings.Split(name, "/") {
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) write(name, text string, mode fs.FileMode) {
	n.t.Helper()
	n.mkdir(filepath.Dir(name))
	path := filepath.Join(n.root, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) read(name string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.root, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

func (n *node) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(n.root, name))
	return err == nil
}

func (n *node) setSim(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.sim, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) getSim(name string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.sim, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

// stub puts a tool in front of those of testdata/stubs.
func (n *node) stub(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.path, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		n.t.Fatal(err)
	}
}

// command is what the node would run over SSH.
func (n *node) command(s Script, verb string, vars []Var) *exec.Cmd {
	n.t.Helper()
	in, err := stdin(s, n.root, vars)
	if err != nil {
		n.t.Fatal(err)
	}
	// The id of the script's process group is left for those who kill it.
	args := slices.Concat([]string{"-c", `echo $$ >"$SIM/main"; exec "$@"`, "sh"}, n.shell, []string{"-s", "--", verb, "a", "summary"})
	cmd := exec.CommandContext(n.t.Context(), "/bin/sh", args...)
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = append([]string{"PATH=" + n.path + ":" + os.Getenv("PATH"), "FAKE=" + n.root, "SIM=" + n.sim}, n.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

type result struct {
	stdout, stderr string
	err            error
}

func (n *node) try(s Script, verb string, vars []Var) result {
	n.t.Helper()
	cmd := n.command(s, verb, vars)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return result{out.String(), errs.String(), err}
}

// run wants success and one line on stdout, and returns that line.
func (n *node) run(s Script, verb string, vars []Var) string {
	n.t.Helper()
	r := n.try(s, verb, vars)
	if r.err != nil {
		n.t.Fatalf("%s %s: %v\n%s%s", s, verb, r.err, r.stdout, r.stderr)
	}
	line, rest, ok := strings.Cut(r.stdout, "\n")
	if !ok || rest != "" || line == "" {
		n.t.Fatalf("%s %s: stdout is not one line: %q", s, verb, r.stdout)
	}
	return line
}

// fail wants an error that says every one of want, and nothing on stdout.
func (n *node) fail(s Script, verb string, vars []Var, want ...string) {
	n.t.Helper()
	r := n.try(s, verb, vars)
	if r.err == nil || r.stdout != "" {
		n.t.Fatalf("%s %s: wanted failure, got %v, stdout %q\n%s", s, verb, r.err, r.stdout, r.stderr)
	}
	for _, w := range want {
		if !strings.Contains(r.stderr, w) {
			n.t.Errorf("%s %s: the error does not say %q:\n%s", s, verb, w, r.stderr)
		}
	}
}

// snapshot lists path, type, mode, owner, link target and content of everything but /run and /proc.
func (n *node) snapshot() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, n.root)
		if name == "/run" || name == "/proc" {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if name == "/var/lib/berth/manifest" {
				// Every apply counts itself.
				data = regexp.MustCompile(`(?m)^applies \d+\n`).ReplaceAll(data, nil)
			}
			what += fmt.Sprintf(" %x", sha256.Sum256(data))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " " + target
		}
		out[name] = what
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n *node) same(before map[string]string) {
	n.t.Helper()
	after := n.snapshot()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if before[name] != after[name] {
			n.t.Errorf("%s was %q and is %q", name, before[name], after[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			n.t.Errorf("%s was not there and is %q", name, after[name])
		}
	}
}

// running is the binary that the simulated systemd runs.
func (n *node) running() string {
	n.t.Helper()
	target, err := os.Readlink(n.root + "/proc/4242/exe")
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimPrefix(target, n.root)
}

func (n *node) starts() int { return strings.Count(n.getSim("starts"), "\n") }

// publish makes the registry of the simulation serve an artifact with this containerd.
func (n *node) publish(containerd string) string {
	n.t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for _, file := range []struct{ name, text string }{{"bin/containerd", containerd}, {"bin/ctr", "#!/bin/sh\necho ctr\n"}} {
		if err := archive.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.text))}); err != nil {
			n.t.Fatal(err)
		}
		if _, err := archive.Write([]byte(file.text)); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		n.t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.setSim("blob", b.String())
	sum := sha256.Sum256(b.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// machine is the architecture that tests run on: uname is the real one.
func machine() string { return runtime.GOARCH }

// testIdentity has the form of a real one.
const testIdentity = "SHA256:uNiVztksCsDhcc0u9e8BrrJQDj8SQyn2X9/bYzhSmPo"

func anchorVars(owner string) []Var {
	return []Var{
		{"OWNER", owner},
		{"IDENTITY", testIdentity},
		{"NODE_PORTS", "30443"},
		{"NODE_IP", "10.99.0.12"},
		{"ARCH", machine()},
		{"VERSION", testVersion},
		{"API", ""},
		{"ALLOW", ""},
	}
}

func baseVars(owner string, change ...Var) []Var {
	return changed([]Var{
		{"OWNER", owner},
		{"IDENTITY", testIdentity},
		{"NAMES", "Yuan.com"},
		{"NODE_PORT", "30443"},
		{"HOSTS_IP", "10.99.0.12"},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"MODE", "patch"},
	}, change)
}

const testPassword = `Abcd"12\3'456`

func containerdVars(owner, digest string, change ...Var) []Var {
	return changed([]Var{
		{"OWNER", owner},
		{"VERSION", testVersion},
		{"DIGEST", digest},
		{"ARTIFACT", "berth/containerd"},
		{"REGISTRY_HOST", "Yuan.com"},
		{"NODE_PORT", "30443"},
		{"NODE_IP", "10.99.0.12"},
		{"PULL_USER", "Yuan"},
		{"PULL_PASSWORD", testPassword},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"ALLOW", ""},
	}, change)
}

func changed(vars, change []Var) []Var {
	for _, c := range change {
		i := slices.IndexFunc(vars, func(v Var) bool { return v.Name == c.Name })
		vars[i] = c
	}
	return vars
}

const owner = "dev/n1"

// eachShell runs a test on a fresh node for each shell that nodes have.
func eachShell(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newNode(t, argv))
		})
	}
}

// install does what an up does.
func (n *node) install() {
	n.t.Helper()
	digest := n.publish(containerdScript(testVersion, 0, "cri"))
	n.run(Anchor, "preflight", anchorVars(owner))
	n.run(Base, "apply", baseVars(owner))
	n.run(Containerd, "apply", containerdVars(owner, digest))
}

func (n *node) waitFor(ready func() bool) {
	n.t.Helper()
	for range 400 {
		if ready() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	n.t.Fatal("waited in vain")
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) config(text string) {
	n.t.Helper()
	n.write("etc/containerd/config.toml", "version = 2\n"+text+"\n", 0o644)
}
