package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/release"
)

// Program builds one source file that needs the standard library alone, static and stripped like the artifact, and
// returns the path of the program in the cache below dir.
func Program(ctx context.Context, dir string, log io.Writer, name, arch string, source []byte) (string, error) {
	tool, err := gotool.New(ctx, release.Toolchain, log)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%v %s\n", tool.Pinned(), arch)
	sum.Write(source)
	cached := entry{path: filepath.Join(dir, name, arch+"-"+hex.EncodeToString(sum.Sum(nil))[:16])}
	_, err = cached.once(ctx, log, func(work string) (string, string, error) {
		// A module of its own, so that one above the cache folder has no say.
		for file, content := range map[string][]byte{"main.go": source, "go.mod": []byte("module " + name + "\n")} {
			if err := os.WriteFile(filepath.Join(work, file), content, 0o644); err != nil {
				return "", "", fmt.Errorf("writing the source: %w", err)
			}
		}
		out := filepath.Join(work, name)
		if _, err := tool.Run(ctx, work, arch,
			"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "."); err != nil {
			return "", "", err
		}
		digest, err := fileDigest(out)
		return out, digest, err
	})
	if err != nil {
		return "", fmt.Errorf("building %s for %s: %w", name, arch, err)
	}
	return cached.path, nil
}
