package oci

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/containers"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
)

// TestUserFilesAreBounded reads what a hostile image has in place of its passwd and group files, in each way that they are read.
func TestUserFilesAreBounded(t *testing.T) {
	line := "someone:x:1000:1000:::\n"
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"too large": {func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat(line, maxUserFile/len(line)+1)), 0o600)
		}, "exceeds"},
		"sparse": {func(path string) error {
			if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		}, "exceeds"},
		"a pipe": {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "is not a regular file"},
		// As large as any real one.
		"allowed": {func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat(line, maxUserFile/len(line))), 0o600)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o700))
			for _, file := range []string{"passwd", "group"} {
				require.NoError(t, test.make(filepath.Join(root, "etc", file)))
			}
			for way, read := range map[string]func() error{
				"user":   func() error { _, err := UserFromPath(root, nil); return err },
				"group":  func() error { _, err := GIDFromPath(root, nil); return err },
				"groups": func() error { _, err := getSupplementalGroupsFromPath(root, nil); return err },
				"appended": func() error {
					spec := &Spec{Root: &specs.Root{Path: root}, Linux: &specs.Linux{}}
					return WithAppendAdditionalGroups("someone")(context.Background(), nil, &containers.Container{}, spec)
				},
			} {
				if err := read(); test.want == "" {
					require.NoError(t, err, way)
				} else {
					require.ErrorContains(t, err, test.want, way)
				}
			}
		})
	}
}
