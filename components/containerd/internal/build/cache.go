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

// Lock takes the lock of a file that stands for something that one process at a time may do, and returns what lets go of it. Where
// another has it, text goes to log and the lock is waited for until ctx ends.
func Lock(ctx context.Context, path string, log io.Writer, text string) (func(), error) {
	lock := flock.New(path)
	held, err := lock.TryLock()
	if err == nil && !held {
		_, _ = fmt.Fprintln(log, text)
		_, err = lock.TryLockContext(ctx, 500*time.Millisecond)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// The lock file stays: removing it would let two processes hold locks on two files of one name.
	return func() { _ = lock.Close() }, nil
}

// entry is one file of the cache. Beside it stand its digest, a lock, and a working folder while it is being made.
type entry struct {
	path string
	// maker is the node that makes the file; empty is this machine.
	maker string
}

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
	if words := strings.Fields(string(want)); len(words) == 0 || got != words[0] {
		return "", nil
	}
	return got, nil
}

// madeBy is the node that made the cached file; empty is this machine.
func (e entry) madeBy() string {
	text, _ := os.ReadFile(e.path + ".digest")
	_, maker, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return maker
}

// store moves a finished file, which is on the same file system, into the cache.
func (e entry) store(file, digest string) error {
	// A reader between the two renames sees a digest that does not fit, and takes the entry as missing.
	if err := os.Rename(file, e.path); err != nil {
		return fmt.Errorf("writing the cache: %w", err)
	}
	if err := os.WriteFile(file+".digest", []byte(strings.TrimSpace(digest+" "+e.maker)+"\n"), 0o644); err != nil {
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
	unlock, err := Lock(ctx, e.path+".lock", log, "another process is building "+filepath.Base(e.path)+"; waiting for it")
	if err != nil {
		return "", err
	}
	defer unlock()
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
