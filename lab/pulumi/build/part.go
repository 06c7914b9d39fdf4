package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// stampFile lies beside what this program built, and holds the key that it was built from.
const stampFile = "berth-build"

// A part is one executable.
type part struct {
	name, version string
	pkg           string   // Go package of its main
	variable      string   // set at link time to prefix+version
	prefix        string   //
	note          string   // follows the name in progress lines
	sources       []string // folders of this module that it is built from, beside its main
	// finish puts further files beside the executable.
	finish func(ctx context.Context, b *builder, dir string, p part) error
}

type builder struct {
	module    string // folder of this module
	bin, home string
	installed string // an installed pulumi, "" where there is none
	progress  io.Writer
	together  []part // are compiled at once, before the first of them is built
	modfile   string // in place of the module's go.mod; "" means that one
}

// binary builds a part into the bin folder.
func (b *builder) binary(ctx context.Context, p part) error {
	start := time.Now()
	key, err := p.key(b.module)
	if err != nil {
		return err
	}
	file, stamp := filepath.Join(b.bin, p.name), filepath.Join(b.bin, "."+p.name+"."+stampFile)
	if _, err := os.Stat(file); err == nil && stamped(stamp, key) {
		b.report(p.name+p.note, p.version, "there", start)
		return nil
	}
	// A link to an installed pulumi would be followed.
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := b.build(ctx, p, file); err != nil {
		return err
	}
	if err := os.WriteFile(stamp, []byte(key), 0o644); err != nil {
		return err
	}
	b.report(p.name+p.note, p.version, "built", start)
	return nil
}

// plugin installs a part into PULUMI_HOME: the published one where there is an installed pulumi that can fetch it.
func (b *builder) plugin(ctx context.Context, p part) error {
	start := time.Now()
	key, err := p.key(b.module)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.home, "plugins", "resource-"+p.name+"-v"+p.version)
	stamp := filepath.Join(dir, stampFile)
	if _, err := os.Stat(filepath.Join(dir, "pulumi-resource-"+p.name)); err == nil {
		_, err := os.Stat(stamp)
		switch { // only what is built here has a stamp
		case b.installed != "" && os.IsNotExist(err):
			b.report(p.name+" plugin, published", p.version, "there", start)
			return nil
		case stamped(stamp, key):
			b.report(p.name+" plugin"+p.note, p.version, "there", start)
			return nil
		}
	}
	if b.installed != "" && b.fetch(ctx, p) == nil {
		b.report(p.name+" plugin, published", p.version, "installed", start)
		return nil
	}

	staging, err := os.MkdirTemp(filepath.Dir(b.bin), "plugin-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(staging) }()
	if err := b.build(ctx, p, filepath.Join(staging, "pulumi-resource-"+p.name)); err != nil {
		return err
	}
	if p.finish != nil {
		if err := p.finish(ctx, b, staging, p); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(staging, stampFile), []byte(key), 0o644); err != nil {
		return err
	}
	if err := b.pulumi(ctx, "plugin", "install", "resource", p.name, p.version, "--reinstall", "-f", staging); err != nil {
		return err
	}
	b.report(p.name+" plugin"+p.note, p.version, "built", start)
	return nil
}

// build compiles and links. The settings, which are the environment's, and the versions in go.mod are those of the lab's other builds: a
// thousand packages that Kubernetes has too are then compiled once.
func (b *builder) build(ctx context.Context, p part, file string) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	args := append([]string{"build", "-ldflags", "-s -w -X " + p.variable + "=" + p.prefix + p.version, "-o", file}, b.flags()...)
	return command(b.golang(ctx, append(args, p.pkg)...))
}

// key tells whether a part must be built again.
func (p part) key(module string) (string, error) {
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.version, p.pkg)
	roots := append([]string{"go.mod", "go.sum", "build"}, p.sources...)
	if strings.HasPrefix(p.pkg, "./") {
		roots = append(roots, p.pkg)
	}
	files := os.DirFS(module)
	for _, root := range roots {
		err := fs.WalkDir(files, path.Clean(root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			body, err := fs.ReadFile(files, path)
			_, _ = fmt.Fprintf(hash, "%s %x\n", path, sha256.Sum256(body))
			return err
		})
		if err != nil {
			return "", fmt.Errorf("hashing the sources: %w", err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func stamped(file, key string) bool {
	body, err := os.ReadFile(file)
	return err == nil && string(body) == key
}

// tlsSchema lets the built plugin write the schema that it serves.
func tlsSchema(ctx context.Context, _ *builder, dir string, p part) error {
	out := filepath.Join(dir, "out") // it writes more than the schema
	if err := command(exec.CommandContext(ctx, filepath.Join(dir, "pulumi-resource-"+p.name), "schema", "--out", out)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(out, "schema.json"), filepath.Join(dir, "schema.json")); err != nil {
		return err
	}
	return os.RemoveAll(out)
}

// kubernetesFiles copies the two files that the published plugin embeds, with the version set in the schema.
func kubernetesFiles(ctx context.Context, b *builder, dir string, p part) error {
	module, err := b.moduleDir(ctx, "github.com/pulumi/pulumi-kubernetes/provider/v4")
	if err != nil {
		return err
	}
	from := filepath.Join(module, "cmd", "pulumi-resource-kubernetes")
	schema, err := os.ReadFile(filepath.Join(from, "schema.json"))
	if err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(schema, &fields); err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	fields["version"] = json.RawMessage(`"` + p.version + `"`)
	if schema, err = json.Marshal(fields); err != nil {
		return fmt.Errorf("writing the schema: %w", err)
	}
	mapping, err := os.ReadFile(filepath.Join(from, "terraform-mapping.json"))
	if err != nil {
		return err
	}
	for name, body := range map[string][]byte{"schema.json": schema, "terraform-mapping.json": mapping} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// command runs cmd and puts what it printed into the error.
func command(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(2, len(cmd.Args))], " "), err, out)
	}
	return nil
}
