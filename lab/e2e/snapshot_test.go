package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// compared are the folders of a node that berth has to leave as it found them: names, types, modes, owners, link targets,
// extended attributes and contents; times and inode numbers change with every honest edit.
var compared = []string{"etc", "usr", "opt", "root", "lib"}

// excluded are files in them that other programs rewrite when the trust store changes, with the time inside.
var excluded = map[string]bool{"etc/ssl/certs/java/cacerts": true}

// snapshot maps every path of a node to all that counts about it, as one line.
type snapshot map[string]string

func (s *suite) snapshots(t *testing.T) map[string]snapshot {
	t.Helper()
	all := map[string]snapshot{}
	for _, n := range s.cluster.Nodes {
		snap, err := takeSnapshot(n.Root())
		if err != nil {
			t.Fatalf("reading the files of %s: %v", n.Name, err)
		}
		if len(snap) < 1000 {
			t.Fatalf("%s has only %d files below %v: this is not its root", n.Name, len(snap), compared)
		}
		all[n.Name] = snap
	}
	return all
}

// sameFiles fails the test for every difference between the nodes now and as they were.
func (s *suite) sameFiles(t *testing.T, before map[string]snapshot) {
	t.Helper()
	now := s.snapshots(t)
	for _, n := range s.cluster.Nodes {
		if diff := before[n.Name].diff(now[n.Name]); len(diff) > 0 {
			t.Errorf("%s is not as it was:\n%s", n.Name, strings.Join(diff, "\n"))
		}
	}
}

func (s snapshot) diff(now snapshot) []string {
	var all []string
	for _, path := range slices.Sorted(maps.Keys(s)) {
		switch line, ok := now[path]; {
		case !ok:
			all = append(all, "gone: "+path)
		case line != s[path]:
			all = append(all, fmt.Sprintf("changed: %s\n  was %s\n  is  %s", path, s[path], line))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if _, ok := s[path]; !ok {
			all = append(all, "new: "+path+" "+now[path])
		}
	}
	return all
}

func takeSnapshot(root string) (snapshot, error) {
	snap := snapshot{}
	for _, top := range compared {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, root+"/")
			if excluded[name] {
				return nil
			}
			line, err := describe(path)
			snap["/"+name] = line
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return snap, nil
}

func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("no owner of %s", path)
	}
	line := fmt.Sprintf("%s %d:%d", info.Mode(), stat.Uid, stat.Gid)
	switch {
	case info.Mode().IsRegular():
		sum, err := sumOf(path, stat)
		if err != nil {
			return "", err
		}
		attributes, err := xattrs(path)
		return line + " " + sum + attributes, err
	case info.IsDir():
		attributes, err := xattrs(path)
		return line + attributes, err
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return line + " -> " + target, err
	case info.Mode()&fs.ModeDevice != 0:
		return fmt.Sprintf("%s device %d", line, stat.Rdev), nil
	}
	return line, nil
}

// sums remembers contents by inode and change time, which no program can set back: most files are read once for all snapshots.
var sums sync.Map

func sumOf(path string, stat *syscall.Stat_t) (string, error) {
	key := fmt.Sprint(stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim)
	if sum, ok := sums.Load(key); ok {
		return sum.(string), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	sums.Store(key, sum)
	return sum, nil
}

// xattrs lists the extended attributes, file capabilities and access lists among them.
func xattrs(path string) (string, error) {
	names := make([]byte, 4096)
	n, err := syscall.Listxattr(path, names)
	if errors.Is(err, syscall.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("listing the attributes of %s: %w", path, err)
	}
	var all []string
	for name := range strings.SplitSeq(strings.Trim(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := syscall.Getxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("reading attribute %s of %s: %w", name, path, err)
		}
		all = append(all, fmt.Sprintf(" %s=%x", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, ""), nil
}

// The comparison itself has to see what it is for.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "etc", "hosts")
	check(t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(t, os.WriteFile(file, []byte("one\n"), 0o644))
	check(t, os.Symlink("hosts", filepath.Join(root, "etc", "link")))
	before, err := takeSnapshot(root)
	check(t, err)
	for _, test := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"nothing", func() error { return os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)) }, ""},
		{"content", func() error { return os.WriteFile(file, []byte("two\n"), 0o644) }, "changed: /etc/hosts"},
		{"mode", func() error { return errors.Join(os.WriteFile(file, []byte("one\n"), 0o644), os.Chmod(file, 0o600)) }, "changed: /etc/hosts"},
		{"new", func() error { return errors.Join(os.Chmod(file, 0o644), os.Mkdir(filepath.Join(root, "opt"), 0o755)) }, "new: /opt"},
		{"link", func() error {
			link := filepath.Join(root, "etc", "link")
			return errors.Join(os.Remove(filepath.Join(root, "opt")), os.Remove(link), os.Symlink("else", link))
		}, "changed: /etc/link"},
		{"gone", func() error { return os.Remove(filepath.Join(root, "etc", "link")) }, "gone: /etc/link"},
	} {
		check(t, test.change())
		now, err := takeSnapshot(root)
		check(t, err)
		diff := before.diff(now)
		if test.want == "" && len(diff) > 0 || test.want != "" && (len(diff) != 1 || !strings.HasPrefix(diff[0], test.want)) {
			t.Errorf("%s: differences %q, want one that begins with %q", test.name, diff, test.want)
		}
	}
}
