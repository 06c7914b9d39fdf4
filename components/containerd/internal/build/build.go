// Package build makes the artifact: containerd and ctr, patched, static and reproducible, packed as one layer.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/internal/layer"
	"berth/components/containerd/patches"
	"berth/components/containerd/portmap"
	"berth/components/containerd/release"
)

// tags are containerd's own for a static build, without cgo's resolver and without generated manual pages.
const tags = "urfave_cli_no_docs osusergo netgo static_build"

// programs are built from containerd's cmd folder and packed below bin/.
var programs = []string{"containerd", "ctr"}

// Result is a finished artifact.
type Result struct {
	// Digest is that of the file at Path, which is the layer as it is published.
	Digest string
	Path   string
	// Maker is the node that built it; empty is this machine.
	Maker string
}

// job is all that decides about an artifact, and its place in the cache.
type job struct {
	request release.BuildRequest
	line    patches.Line
	hash    string
	tool    *gotool.Tool
	cached  entry
}

func plan(ctx context.Context, dir string, log io.Writer, request release.BuildRequest) (job, error) {
	line, err := release.LineOf(request.Version)
	if err != nil {
		return job{}, err
	}
	if err := release.SupportedArch(request.Arch); err != nil {
		return job{}, err
	}
	hash, err := PatchHash(request.Version)
	if err != nil {
		return job{}, err
	}
	tool, err := gotool.New(ctx, release.Toolchain, log)
	if err != nil {
		return job{}, err
	}
	key := cacheKey(request, tool.Pinned(), ldflags(line, request.Version, hash))
	name := fmt.Sprintf("%s-%s.tar.gz", release.ArtifactTag(request.Version, request.Arch), key[:16])
	return job{request, line, hash, tool, entry{path: filepath.Join(dir, "containerd", name)}}, nil
}

// finish names what could not be built.
func (j job) finish(digest string, err error) (Result, error) {
	if err != nil {
		return Result{}, fmt.Errorf("building containerd %s for %s: %w", release.FullVersion(j.request.Version), j.request.Arch, err)
	}
	return Result{Digest: digest, Path: j.cached.path, Maker: j.cached.madeBy()}, nil
}

// Artifact returns the artifact of a release and architecture, from the cache below dir or built now. Progress goes to
// log, a line at a time.
func Artifact(ctx context.Context, dir string, log io.Writer, request release.BuildRequest) (Result, error) {
	j, err := plan(ctx, dir, log, request)
	if err != nil {
		return Result{}, err
	}
	return j.finish(j.cached.once(ctx, log, func(work string) (string, string, error) {
		return assemble(ctx, j.tool, log, j.line, request, j.hash, work)
	}))
}

// Import returns the artifact from the cache below dir, or has fetch bring what a node, the maker, built: fetch writes it, and returns the
// digest that it has there. What was written is kept only if it has that digest.
func Import(ctx context.Context, dir string, log io.Writer, request release.BuildRequest, maker string,
	fetch func(w io.Writer) (string, error),
) (Result, error) {
	j, err := plan(ctx, dir, log, request)
	if err != nil {
		return Result{}, err
	}
	j.cached.maker = maker
	return j.finish(j.cached.once(ctx, log, func(work string) (string, string, error) {
		file := filepath.Join(work, "artifact.tar.gz")
		out, err := os.Create(file)
		if err != nil {
			return "", "", fmt.Errorf("keeping what %s built: %w", maker, err)
		}
		defer func() { _ = out.Close() }()
		want, err := fetch(out)
		if err != nil {
			return "", "", err
		}
		if err := out.Close(); err != nil {
			return "", "", fmt.Errorf("keeping what %s built: %w", maker, err)
		}
		got, err := fileDigest(file)
		if err == nil && got != want {
			err = fmt.Errorf("what came from %s has the digest %s instead of %s, which it has there", maker, got, want)
		}
		return file, got, err
	}))
}

// assemble builds in the folder work and returns the packed file with its digest.
func assemble(ctx context.Context, tool *gotool.Tool, log io.Writer, line patches.Line,
	request release.BuildRequest, hash, work string,
) (string, string, error) {
	start := time.Now()
	_, _ = fmt.Fprintf(log, "building containerd %s for linux/%s with %s\n",
		release.FullVersion(request.Version), request.Arch, release.Toolchain)
	source := filepath.Join(work, "source")
	if err := Source(ctx, tool, line, request.Version, source); err != nil {
		return "", "", err
	}
	bin := filepath.Join(work, "bin")
	if err := os.Mkdir(bin, 0o750); err != nil {
		return "", "", fmt.Errorf("creating the output folder: %w", err)
	}
	args := []string{
		"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", tags,
		"-ldflags", ldflags(line, request.Version, hash), "-o", bin + string(filepath.Separator),
	}
	files := []layer.File{}
	for _, program := range programs {
		args = append(args, "./cmd/"+program)
		files = append(files, layer.File{Name: "bin/" + program, Mode: 0o755, Path: filepath.Join(bin, program)})
	}
	if _, err := tool.Run(ctx, source, request.Arch, args...); err != nil {
		return "", "", err
	}
	packed := filepath.Join(work, "artifact.tar.gz")
	out, err := os.Create(packed)
	if err != nil {
		return "", "", fmt.Errorf("packing the artifact: %w", err)
	}
	defer func() { _ = out.Close() }()
	result, err := layer.Write(out, files)
	if err != nil {
		return "", "", fmt.Errorf("packing the artifact: %w", err)
	}
	if err := out.Close(); err != nil {
		return "", "", fmt.Errorf("packing the artifact: %w", err)
	}
	_, _ = fmt.Fprintf(log, "built in %.0f s: %s%.1f MB packed\n",
		time.Since(start).Seconds(), sizes(files), float64(result.Size)/1e6)
	return packed, result.Digest, nil
}

func sizes(files []layer.File) string {
	var text strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file.Path); err == nil {
			fmt.Fprintf(&text, "%s %.1f MB, ", filepath.Base(file.Path), float64(info.Size())/1e6)
		}
	}
	return text.String()
}

// ldflags are the linker's flags: no symbol table, the version that containerd reports, and the mapping file's path.
func ldflags(line patches.Line, version, hash string) string {
	set := func(name, value string) string { return " -X " + line.Module + "/" + name + "=" + value }
	return "-s -w" +
		set("version.Version", release.FullVersion(version)) +
		set("version.Revision", "berth-"+hash[:12]) +
		set("version.Package", line.Module) +
		set(portmapDir+".File", release.MappingFile)
}

// PatchHash identifies all that is changed in a release: SHA-256 in hex over the patches and the added file.
func PatchHash(version string) (string, error) {
	line, err := release.LineOf(version)
	if err != nil {
		return "", err
	}
	hash, err := line.Hash()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s\n", hash)
	sum.Write(portmap.Source)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// cacheKey is SHA-256 in hex over everything that decides what comes out: ldflags has the version and the patches.
func cacheKey(request release.BuildRequest, pinned map[string]string, ldflags string) string {
	// Where it is built decides nothing.
	request.On = nil
	text, err := json.Marshal([]any{request, pinned, tags, ldflags, programs})
	if err != nil {
		panic(err) // strings alone: cannot fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
