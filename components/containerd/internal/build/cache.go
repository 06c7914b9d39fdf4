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
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// CacheDir returns the folder for finished builds: $BERTH_CACHE, else berth in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("BERTH_CACHE"); dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("finding the cache folder: %w", err)
		}
		return absolute, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder (set BERTH_CACHE to choose one): %w", err)
	}
	return filepath.Join(dir, "berth"), nil
}

// entry is one file of the cache. Beside it stand its digest, a lock, and a working folder while it is being made.
type entry struct{ path string }

// load returns the digest of the cached file. Not cached, or not what was written: an empty digest.
func (e entry) load() (string, error) {
	want, err := os.ReadFile(e.path + ".digest")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the cache: %w", err)
	}
	got, err := fileDigest(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the cache: %w", err)
	}
	if got != strings.TrimSpace(string(want)) {
		return "", nil
	}
	return got, nil
}

// store moves a finished file, which is on the same file system, into the cache.
func (e entry) store(file, digest string) error {
	// A reader between the two renames sees a digest that does not fit, and takes the entry as missing.
	if err := os.Rename(file, e.path); err != nil {
		return fmt.Errorf("writing the cache: %w", err)
	}
	if err := os.WriteFile(file+".digest", []byte(digest+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the cache: %w", err)
	}
	if err := os.Rename(file+".digest", e.path+".digest"); err != nil {
		return fmt.Errorf("writing the cache: %w", err)
	}
	return nil
}

// once returns the digest of the cached file, after produce has made it where it is missing. produce is given an empty
// folder and returns the finished file in it with its digest. Of several processes one works, the others wait.
func (e entry) once(ctx context.Context, log io.Writer, produce func(work string) (file, digest string, err error)) (string, error) {
	if digest, err := e.load(); err != nil || digest != "" {
		return digest, err
	}
	if err := os.MkdirAll(filepath.Dir(e.path), 0o750); err != nil {
		return "", fmt.Errorf("creating the cache folder: %w", err)
	}
	lock := flock.New(e.path + ".lock")
	held, err := lock.TryLock()
	if err == nil && !held {
		_, _ = fmt.Fprintf(log, "another process is building %s; waiting for it\n", filepath.Base(e.path))
		held, err = lock.TryLockContext(ctx, 500*time.Millisecond)
	}
	if err != nil || !held {
		return "", fmt.Errorf("locking %s: %w", e.path, err)
	}
	// The lock file stays: removing it would let two processes hold locks on two files of one name.
	defer func() { _ = lock.Close() }()
	if digest, err := e.load(); err != nil || digest != "" {
		return digest, err
	}
	// What a killed process left is in the way; the lock says that nobody uses it.
	work := e.path + ".work"
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("cleaning the working folder: %w", err)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return "", fmt.Errorf("creating the working folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	file, digest, err := produce(work)
	if err != nil {
		return "", err
	}
	return digest, e.store(file, digest)
}

func fileDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
