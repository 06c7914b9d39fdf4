package build

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"berth/components/containerd/release"
)

func produce(content string, count *atomic.Int32) func(string) (string, string, error) {
	return func(work string) (string, string, error) {
		count.Add(1)
		file := filepath.Join(work, "out")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return "", "", err
		}
		digest, err := fileDigest(file)
		return file, digest, err
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sub")
	cached := entry{path: filepath.Join(dir, "file")}
	var count atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			digest, err := cached.once(t.Context(), io.Discard, produce("content", &count))
			if err != nil || !strings.HasPrefix(digest, "sha256:ed7002b439e9ac845f") {
				t.Errorf("once = %q, %v", digest, err)
			}
		})
	}
	group.Wait()
	if count.Load() != 1 {
		t.Errorf("made %d times", count.Load())
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 3 {
		t.Errorf("left in the cache: %q, %v; want the file, its digest and the lock", names, err)
	}

	// A damaged file is made again.
	if err := os.WriteFile(cached.path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cached.once(t.Context(), io.Discard, produce("content", &count)); err != nil || count.Load() != 2 {
		t.Errorf("after damage: made %d times, %v", count.Load(), err)
	}
	if text, _ := os.ReadFile(cached.path); string(text) != "content" {
		t.Errorf("after damage: %q", text)
	}
}

func TestOnceFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cached := entry{path: filepath.Join(dir, "file")}
	// As a killed process leaves it.
	if err := os.MkdirAll(cached.path+".work/old", 0o700); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	_, err := cached.once(t.Context(), io.Discard, func(work string) (string, string, error) {
		if entries, err := os.ReadDir(work); err != nil || len(entries) != 0 {
			t.Errorf("working folder: %v, %v; want an empty one", entries, err)
		}
		return "", "", broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(cached.path + ".work"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the working folder is left: %v", err)
	}
	var count atomic.Int32
	if _, err := cached.once(t.Context(), io.Discard, produce("content", &count)); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestOnceWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	cached := entry{path: filepath.Join(t.TempDir(), "file")}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := cached.once(t.Context(), io.Discard, func(string) (string, string, error) {
		cancel()
		_, err := cached.once(ctx, io.Discard, func(string) (string, string, error) {
			t.Error("two at once")
			return "", "", nil
		})
		return "", "", err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestCacheKey(t *testing.T) {
	t.Parallel()
	base := release.BuildRequest{Version: "1.7.36", Arch: "amd64"}
	pinned := map[string]string{"GOTOOLCHAIN": "go1.26.8", "GOAMD64": "v1"}
	keys := map[string]string{}
	for name, key := range map[string]string{
		"base":         cacheKey(base, pinned, "flags"),
		"version":      cacheKey(release.BuildRequest{Version: "1.7.37", Arch: "amd64"}, pinned, "flags"),
		"architecture": cacheKey(release.BuildRequest{Version: "1.7.36", Arch: "arm64"}, pinned, "flags"),
		"toolchain":    cacheKey(base, map[string]string{"GOTOOLCHAIN": "go1.26.9", "GOAMD64": "v1"}, "flags"),
		"flags":        cacheKey(base, pinned, "other"),
	} {
		if other, ok := keys[key]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		keys[key] = name
	}
	again := maps.Clone(pinned)
	if _, ok := keys[cacheKey(base, again, "flags")]; !ok {
		t.Error("the key changes by itself")
	}
	base.On = &release.Host{Name: "worker1"}
	if _, ok := keys[cacheKey(base, again, "flags")]; !ok {
		t.Error("the key changes with the place")
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("BERTH_CACHE", "relative")
	dir, err := CacheDir()
	if err != nil || !filepath.IsAbs(dir) || filepath.Base(dir) != "relative" {
		t.Errorf("CacheDir = %q, %v", dir, err)
	}
	t.Setenv("BERTH_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if dir, err := CacheDir(); err != nil || dir != "/xdg/berth" {
		t.Errorf("CacheDir = %q, %v", dir, err)
	}
}
