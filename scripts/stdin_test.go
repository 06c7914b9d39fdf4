package scripts

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testCA is a certificate of the size that kubeadm makes (RSA 2048).
const testCA = `-----BEGIN CERTIFICATE-----
` + testCABody + `
-----END CERTIFICATE-----
`

var realistic = map[Script][]Var{
	Anchor: {
		{"OWNER", "production-eu-west/worker-node-17.example.internal"},
		{"IDENTITY", testIdentity},
		{"NODE_PORTS", "30443 443"},
		{"NODE_IP", "fd00:1234:5678:9abc:def0:1234:5678:9abc"},
		{"ARCH", "amd64"},
		{"VERSION", "1.7.36+berth.1"},
		{"API", "yes"},
		// As many fixes as the latest releases have, and two more.
		{"ALLOW", strings.Repeat("24-40635 ", 24) + "minor"},
	},
	Base: {
		{"OWNER", "production-eu-west/worker-node-17.example.internal"},
		{"IDENTITY", testIdentity},
		// As many names as a stack may have.
		{"NAMES", "Yuan.com registry.platform.example.internal"},
		{"NODE_PORT", "30443"},
		{"HOSTS_IP", "10.131.82.155"},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"MODE", "patch"},
	},
	Access: {
		{"OWNER", "production-eu-west/worker-node-17.example.internal"},
		{"MODE", "cluster-ip"},
		{"NAMES", "registry.platform.example.internal"},
		{"NODE_PORT", "30443"},
		{"ADDRESS", "10.131.64.155"},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"ALLOW", ""},
	},
	Containerd: {
		{"OWNER", "production-eu-west/worker-node-17.example.internal"},
		{"VERSION", "1.7.36+berth.1"},
		{"DIGEST", "sha256:" + strings.Repeat("a", 64)},
		{"ARTIFACT", "berth/containerd"},
		{"REGISTRY_HOST", "registry.platform.example.internal"},
		{"NODE_PORT", "30443"},
		{"NODE_IP", "10.131.82.155"},
		{"PULL_USER", "berth"},
		{"PULL_PASSWORD", strings.Repeat("p", 40)},
		{"CA_PEM", testCA},
		{"TRUST", "containerd"},
		{"ALLOW", ""},
	},
	PortRange: {{"OWNER", "production-eu-west/control-plane-3.example.internal"}, {"SERVERS", "3"}},
	Verify:    {{"OWNER", "production-eu-west/worker-node-17.example.internal"}},
	ImportImage: {
		{"OWNER", "production-eu-west/worker-node-17.example.internal"},
		{"ARCHIVE", "/var/lib/berth-upload/registry-0123456789abcdef.tar"},
		{"IMAGE", "docker.io/library/registry:3.1.2"},
		{"SHA256", strings.Repeat("b", 64)},
	},
	SignCSR: {
		{"CSR_PEM", testCA},
		{"DAYS", "5000"},
		{"GENERATION", "1"},
		{"SANS", "DNS:Yuan.com,DNS:registry.berth-registry.svc,DNS:registry.berth-registry.svc.cluster.local,IP:10.131.82.155"},
		{"CA_CERT", "/etc/kubernetes/pki/ca.crt"},
		{"CA_KEY", "/etc/kubernetes/pki/ca.key"},
	},
}

// shells are those that nodes have as /bin/sh.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, argv := range map[string][]string{"dash": {"dash"}, "busybox": {"busybox", "sh"}, "bash": {"bash", "--posix"}} {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			t.Fatalf("%s is needed for these tests: %v", argv[0], err)
		}
		out[name] = append([]string{path}, argv[1:]...)
	}
	return out
}

// maxStdin is about 9 KB: the state keeps the stdin of every step, and is written anew for each of them.
const maxStdin = 9 << 10

// longer are the limits of scripts that may have more.
var longer = map[Script]int{Access: 9<<10 + 384}

func TestStdinIsShort(t *testing.T) {
	t.Parallel()
	for s, vars := range realistic {
		out, err := Stdin(s, vars)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", s, len(out))
		if limit := max(maxStdin, longer[s]); len(out) > limit {
			t.Errorf("%s: stdin has %d bytes, %d are allowed", s, len(out), limit)
		}
		again, err := Stdin(s, vars)
		if err != nil || again != out {
			t.Errorf("%s: the same input gave other bytes (%v)", s, err)
		}
		for line := range strings.Lines(out) {
			if len(line) > 400 {
				t.Errorf("%s: a line of %d bytes", s, len(line))
			}
		}
	}
}

func TestStdinRefuses(t *testing.T) {
	t.Parallel()
	without := func(name string) []Var {
		var out []Var
		for _, v := range realistic[Anchor] {
			if v.Name != name {
				out = append(out, v)
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		script Script
		vars   []Var
		want   string
	}{
		"unknown script":   {"nothing", nil, `rendering script "nothing": no such script`},
		"missing variable": {Anchor, without("NODE_IP"), `rendering script "anchor": missing variable NODE_IP`},
		"unknown variable": {Anchor, append(without(""), Var{"PATH", "x"}), `rendering script "anchor": unknown variable "PATH"`},
		"twice":            {Anchor, append(without(""), Var{"ARCH", "arm64"}), `rendering script "anchor": variable ARCH is given twice`},
		"NUL": {
			Anchor, append(without("ARCH"), Var{"ARCH", "se\x00cret"}),
			`rendering script "anchor": the value of ARCH holds a NUL byte, which a shell cannot carry`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := Stdin(c.script, c.vars)
			if err == nil || err.Error() != c.want || out != "" {
				t.Errorf("got %q, %v; want %q", out, err, c.want)
			}
		})
	}
	for _, name := range []string{"", "a", "1A", "A-B", "A B", "A=", "Ä", "A\n"} {
		if line, err := assignment(Var{Name: name}); err == nil {
			t.Errorf("name %q gave %q", name, line)
		}
	}
}

// TestGolden shows a reviewer what a change means for the text that nodes run.
func TestGolden(t *testing.T) {
	t.Parallel()
	for s, p := range parts {
		text, err := source(p.files)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "golden", string(s)+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != text {
			t.Errorf("%s is not what %s renders to; look at it and run go test ./scripts -update", path, s)
		}
	}
}

func TestShellcheck(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "shellcheck", args...).CombinedOutput(); err != nil {
			t.Errorf("shellcheck: %v\n%s", err, out)
		}
	}
	sources, err := filepath.Glob("*.sh")
	if err != nil || len(sources) == 0 {
		t.Fatal("no sources", err)
	}
	t.Run("sources", func(t *testing.T) {
		t.Parallel()
		check(t, append([]string{"-s", "sh"}, sources...)...)
	})
	for s, p := range parts {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			// Comments with reasons for exceptions are gone there: what they excuse is checked in the sources.
			text, err := source(p.files)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "rendered.sh")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o600); err != nil {
				t.Fatal(err)
			}
			check(t, "-s", "sh", "-S", "warning", "-e", "SC2154,SC2034,SC2153,SC2254", path)
		})
	}
}

// TestTruncatedRunsNothing cuts a script's stdin at every length: no shell may run any of it.
func TestTruncatedRunsNothing(t *testing.T) {
	t.Parallel()
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "mark")
			full, err := wrap("touch '"+mark+"'\nmain() { echo \"$V $1\"; }\nmain \"$@\" </dev/null\n", []Var{{"V", "it's"}})
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n <= len(full); n += 7 {
				n := min(n, len(full))
				cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], "-s", "--", "verb", "summary")...)
				cmd.Stdin = strings.NewReader(full[:n])
				out, err := cmd.Output()
				_, statErr := os.Stat(mark)
				if n < len(full)-1 && n > 0 && (err == nil || len(out) > 0 || statErr == nil) {
					t.Fatalf("%d of %d bytes: ran with %v, output %q, mark %v", n, len(full), err, out, statErr)
				}
			}
			cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], "-s", "--", "verb", "summary")...)
			cmd.Stdin = strings.NewReader(full)
			if out, err := cmd.Output(); err != nil || string(out) != "it's verb\n" {
				t.Errorf("whole: %q, %v", out, err)
			}
		})
	}
}

// FuzzQuoting gives a value to a real shell and asks for it back.
func FuzzQuoting(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "it's", "'", "''", `\'`, `"$(id)"`, "`id`", "a\nb\n", "\n", "--", "-n", "$HOME", "\\", "ü€\xff\xfe", "'; exit 3; '", "}\n", "EOF\n",
		"\r\n", "\x01\x7f", strings.Repeat("'", 300),
	} {
		f.Add(seed)
	}
	dash, err := exec.LookPath("dash")
	if err != nil {
		f.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		full, err := wrap("printf %s \"$V\"\n", []Var{{"V", value}})
		if strings.ContainsRune(value, 0) {
			if err == nil {
				t.Fatal("NUL was accepted")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, argv := range [][]string{{dash}, {busybox, "sh"}} {
			cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], "-s")...)
			cmd.Stdin = strings.NewReader(full)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil || string(out) != value {
				t.Fatalf("%v: %q came back as %q (%v, %s)", argv, value, out, err, errs.String())
			}
		}
	})
}
