// Package build makes the lab's parts from source and keeps them in a cache folder.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Builder makes parts. Its methods may be called at the same time.
type Builder struct {
	Source   string    // the lab's source folder
	Cache    string    // where parts are kept
	Progress io.Writer // gets a line per part
	Verbose  io.Writer // gets what the tools print; default: nothing

	mu sync.Mutex
}

// BinDir holds the programs that were built.
func (b *Builder) BinDir() string { return filepath.Join(b.Cache, "bin") }

// Part makes one part unless it was made from the same key before, and says on Progress which of the two. The key names all
// that the result depends on.
func (b *Builder) Part(ctx context.Context, name, key string, do func(context.Context) error) error {
	if err := os.MkdirAll(b.BinDir(), 0o755); err != nil {
		return fmt.Errorf("creating the cache: %w", err)
	}
	stamp := filepath.Join(b.Cache, name+".key")
	if old, err := os.ReadFile(stamp); err == nil && string(old) == key {
		b.Say("%-14s cached", name)
		return nil
	}
	// An interrupted build must not pass for a finished one.
	if err := os.Remove(stamp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("building %s: %w", name, err)
	}
	b.Say("%-14s ...", name)
	start := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("building %s: %w", name, err)
	}
	if err := os.WriteFile(stamp, []byte(key), 0o644); err != nil {
		return fmt.Errorf("building %s: %w", name, err)
	}
	b.Say("%-14s built in %.0f s", name, time.Since(start).Seconds())
	return nil
}

// Say writes one line of progress.
func (b *Builder) Say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.Progress, "lab: "+format+"\n", args...)
}

// Key condenses the files (a folder stands for all that is below it) and words that a part depends on.
func Key(paths []string, words ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		// A file is the only thing in a tree of its own.
		tree, root := os.DirFS(path), "."
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			tree, root = os.DirFS(filepath.Dir(path)), filepath.Base(path)
		}
		err := fs.WalkDir(tree, root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := fs.ReadFile(tree, file)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%q %d\n", file, len(content))
			h.Write(content)
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("reading what a build depends on: %w", err)
		}
	}
	for _, w := range words {
		fmt.Fprintf(h, "%q\n", w)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
