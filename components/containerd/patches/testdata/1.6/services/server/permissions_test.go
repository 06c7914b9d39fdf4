package server

import (
	"os"
	"path/filepath"
	"testing"

	srvconfig "github.com/containerd/containerd/services/server/config"
	"github.com/stretchr/testify/require"
)

// TestTopLevelPermissions makes the folders new, and anew where an older release has left them open.
func TestTopLevelPermissions(t *testing.T) {
	for _, test := range []struct {
		name string
		// before is the mode that root and temp have, 0 where they are missing; temp is what the latter has afterwards.
		before, temp os.FileMode
	}{
		{"new", 0, 0o700},
		{"of an older release", 0o711, 0o700},
		// Such as /tmp, which may be configured.
		{"of somebody else", 0o777 | os.ModeSticky, 0o777 | os.ModeSticky},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TMPDIR", os.TempDir())
			dir := t.TempDir()
			config := &srvconfig.Config{
				Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), TempDir: filepath.Join(dir, "temp"),
			}
			if test.before != 0 {
				for _, name := range []string{config.Root, config.TempDir} {
					require.NoError(t, os.Mkdir(name, 0o700))
					require.NoError(t, os.Chmod(name, test.before))
				}
			}
			require.NoError(t, CreateTopLevelDirectories(config))
			for name, want := range map[string]os.FileMode{config.Root: 0o700, config.State: 0o711, config.TempDir: test.temp} {
				info, err := os.Stat(name)
				require.NoError(t, err)
				require.Equal(t, want, info.Mode()&^os.ModeDir, name)
			}
		})
	}
}
