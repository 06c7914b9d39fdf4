// Package scripts holds what berth runs on nodes: POSIX shell, embedded here and sent over SSH on stdin.
//
// A node runs `/bin/sh -s -- VERB SUMMARY...` and reads the result of [Stdin]. Scripts look at VERB alone; the
// summary is for people who read a plan, an error or a process list. Data reaches a script as quoted assignments
// in front of its text and is never templated into it.
package scripts

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Script names one of the scripts that run on a node.
type Script string

const (
	// Anchor checks a node without changing it (verb preflight) and takes berth off it again (verb remove).
	// Variables: OWNER, IDENTITY (of the Pulumi state), NODE_PORTS (those of the registry, with blanks between), NODE_IP, ARCH (amd64
	// or arm64), VERSION (empty where the node keeps its containerd), API (empty unless an API server of kubeadm's must be here), and
	// ALLOW, words of what is let pass: the CVEs, as YY-NNNN, whose fixes are in VERSION or not missed; unknown, where a package has no
	// changelog; minor, for a VERSION of a later line than the package's; gpu, for a reload of systemd on a node with NVIDIA GPUs.
	Anchor Script = "anchor"
	// Base checks what pulls by the registry's name depend on, then installs the CA, the hosts entry and, for MODE patch,
	// the port mapping (verb apply).
	// Variables: OWNER, IDENTITY (of the Pulumi state), NAMES (of the registry, with blanks between), NODE_PORT, HOSTS_IP (empty for
	// no hosts entry), CA_PEM, TRUST (os or containerd), MODE.
	Base Script = "base"
	// Containerd fetches the patched containerd and switches the node to it (verb apply). Verb stage does what can be done
	// before that and changes nothing that runs; its stdout is "restart" or "settled", which is what apply will do.
	// Variables: OWNER, VERSION, DIGEST, ARTIFACT, REGISTRY_HOST, NODE_PORT, NODE_IP, PULL_USER, PULL_PASSWORD,
	// CA_PEM, TRUST, ALLOW (of which gpu counts).
	Containerd Script = "containerd"
	// Access leads the packaged containerd to the registry, in place of a patched one (verb apply). Verb stage is as for Containerd.
	// Variables: OWNER, MODE (mirror, cluster-ip or port-range), NAMES (of the registry, with blanks between), NODE_PORT, ADDRESS
	// (where the names are to lead, which serves port 443; empty where they lead as base has it), CA_PEM, TRUST, ALLOW (of which gpu counts).
	Access Script = "access"
	// PortRange widens the range of NodePorts of a control-plane node's API server down to 443 (verb apply), and takes that back
	// (verb remove). A change restarts the API server; where it is not well in time it gets back what it had, and the script fails.
	// Variables: OWNER, SERVERS (how many control-plane nodes the stack has).
	PortRange Script = "port-range"
	// Verify says how a node differs from what was installed on it, and changes nothing (verb verify). Its stdout is
	// "applies N" or "absent N", then a line "base REASON", "containerd REASON", "port-range REASON" or "note REASON" per difference.
	// Variables: OWNER.
	Verify Script = "verify"
	// ImportImage imports an image archive that lies on the node (verb apply).
	// Variables: OWNER, ARCHIVE, IMAGE, SHA256.
	ImportImage Script = "import-image"
	// SignCSR signs a certificate request with the CA key of this machine (verb sign). It prints the certificate
	// and the CA's certificate; the same request gets the same one, until GENERATION is another.
	// Variables: CSR_PEM, DAYS, SANS, GENERATION, CA_CERT, CA_KEY.
	SignCSR Script = "sign-csr"
)

// Var is one value handed to a script.
type Var struct {
	// Name is the shell variable: an upper-case letter, then upper-case letters, digits and underscores.
	Name string
	// Value may hold any bytes except NUL. No value is ever expanded or evaluated.
	Value string
}

//go:embed *.sh
var files embed.FS

// part lists what a script is joined from and the variables it gets.
type part struct {
	files, required []string
}

var parts = map[Script]part{
	Anchor: {
		files:    []string{"lib.sh", "lib-unit.sh", "lib-trust.sh", "lib-hosts.sh", "lib-remove.sh", "lib-check.sh", "anchor.sh"},
		required: []string{"OWNER", "IDENTITY", "NODE_PORTS", "NODE_IP", "ARCH", "VERSION", "API", "ALLOW"},
	},
	Base: {
		files:    []string{"lib.sh", "lib-apply.sh", "lib-trust.sh", "lib-hosts.sh", "lib-base.sh", "lib-check.sh", "base.sh"},
		required: []string{"OWNER", "IDENTITY", "NAMES", "NODE_PORT", "HOSTS_IP", "CA_PEM", "TRUST", "MODE"},
	},
	Containerd: {
		files: []string{"lib.sh", "lib-apply.sh", "lib-unit.sh", "lib-dropin.sh", "lib-switch.sh", "containerd.sh"},
		required: []string{
			"OWNER", "VERSION", "DIGEST", "ARTIFACT", "REGISTRY_HOST", "NODE_PORT", "NODE_IP",
			"PULL_USER", "PULL_PASSWORD", "CA_PEM", "TRUST", "ALLOW",
		},
	},
	Access: {
		files:    []string{"lib.sh", "lib-apply.sh", "lib-unit.sh", "lib-switch.sh", "lib-certs.sh", "lib-config.sh", "access.sh"},
		required: []string{"OWNER", "MODE", "NAMES", "NODE_PORT", "ADDRESS", "CA_PEM", "TRUST", "ALLOW"},
	},
	PortRange: {
		files:    []string{"lib.sh", "lib-apply.sh", "lib-check.sh", "port-range.sh"},
		required: []string{"OWNER", "SERVERS"},
	},
	Verify: {
		files:    []string{"lib.sh", "lib-unit.sh", "lib-base.sh", "lib-dropin.sh", "lib-certs.sh", "verify.sh"},
		required: []string{"OWNER"},
	},
	ImportImage: {
		files:    []string{"lib.sh", "lib-apply.sh", "import-image.sh"},
		required: []string{"OWNER", "ARCHIVE", "IMAGE", "SHA256"},
	},
	SignCSR: {
		files:    []string{"sign-csr.sh"},
		required: []string{"CSR_PEM", "DAYS", "SANS", "GENERATION", "CA_CERT", "CA_KEY"},
	},
}

// Stdin returns what a node's `/bin/sh -s` reads: the values as quoted assignments, then the script without its
// comments, compressed and wrapped at 380 columns. All of it is one compound command, so a shell that receives only
// the beginning runs nothing. The same input gives the same bytes.
//
// It fails for an unknown script, for a variable that is missing, unknown, named twice or not a shell name, and for a
// value that holds NUL, which no shell can carry. No error holds a value.
func Stdin(s Script, vars []Var) (string, error) {
	return stdin(s, "", vars)
}

func stdin(s Script, root string, vars []Var) (string, error) {
	p, ok := parts[s]
	if !ok {
		return "", fmt.Errorf("rendering script %q: no such script", s)
	}
	given := make([]string, 0, len(vars))
	for _, v := range vars {
		if !slices.Contains(p.required, v.Name) {
			return "", fmt.Errorf("rendering script %q: unknown variable %q", s, v.Name)
		}
		given = append(given, v.Name)
	}
	for _, name := range p.required {
		if !slices.Contains(given, name) {
			return "", fmt.Errorf("rendering script %q: missing variable %s", s, name)
		}
	}
	text, err := source(p.files)
	if err != nil {
		return "", fmt.Errorf("rendering script %q: %w", s, err)
	}
	if s == Containerd || s == Access {
		vars = fingerprint(vars)
	}
	// Scripts prefix every path with $ROOT, which only tests set: a value inherited from the node's environment must
	// not count.
	out, err := wrap(text, append([]Var{{Name: "ROOT", Value: root}}, vars...))
	if err != nil {
		return "", fmt.Errorf("rendering script %q: %w", s, err)
	}
	return out, nil
}

// fingerprint puts the digest of the CA in place of the CA: base has installed the certificate itself by then, and a
// short stdin keeps the state small. The digest is that of the file which base writes.
func fingerprint(vars []Var) []Var {
	out := slices.Clone(vars)
	for i, v := range out {
		if v.Name == "CA_PEM" {
			sum := sha256.Sum256([]byte(strings.TrimRight(v.Value, "\n") + "\n"))
			out[i] = Var{Name: "CA_SHA256", Value: hex.EncodeToString(sum[:])}
		}
	}
	return out
}

// wrap puts the assignments and the packed text into one compound command.
func wrap(text string, vars []Var) (string, error) {
	var b strings.Builder
	b.WriteString("{\n")
	seen := map[string]bool{}
	for _, v := range vars {
		if seen[v.Name] {
			return "", fmt.Errorf("variable %s is given twice", v.Name)
		}
		seen[v.Name] = true
		line, err := assignment(v)
		if err != nil {
			return "", err
		}
		b.WriteString(line)
	}
	packed, err := pack(text)
	if err != nil {
		return "", err
	}
	b.WriteString("SELF=$(printf %s '\n" + packed + "' | base64 -d | gzip -dc)\n")
	b.WriteString("[ \"$SELF\" ] || { echo 'berth: install base64 (coreutils) and gzip' >&2; exit 1; }\n")
	b.WriteString("eval \"$SELF\"\n}\n")
	return b.String(), nil
}

// columns is the length of a line of the packed script. Each line costs a byte of the state.
const columns = 380

var varName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// assignment quotes a value for a POSIX shell: nothing is special inside single quotes except the quote itself.
func assignment(v Var) (string, error) {
	if !varName.MatchString(v.Name) {
		return "", fmt.Errorf("%q is not a name for a shell variable", v.Name)
	}
	if strings.ContainsRune(v.Value, 0) {
		return "", fmt.Errorf("the value of %s holds a NUL byte, which a shell cannot carry", v.Name)
	}
	return v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'\n", nil
}

// source joins files and drops full-line comments, blank lines and indentation. The shell files keep to a form that
// allows it: no line inside a multi-line string starts with blanks that matter or with #.
func source(names []string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("reading embedded script: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "#") {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String(), nil
}

// pack compresses text and encodes it in lines that every base64 and terminal takes. The compressor is pinned with the module: the standard
// library's changes with Go, and then the scripts of two operators would differ and run again on every node in turns.
func pack(text string) (string, error) {
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return "", fmt.Errorf("compressing script: %w", err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return "", fmt.Errorf("compressing script: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("compressing script: %w", err)
	}
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(zipped.Bytes())), columns) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	return b.String(), nil
}
