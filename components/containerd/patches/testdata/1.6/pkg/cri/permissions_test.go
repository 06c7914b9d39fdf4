package cri

import (
	"context"
	"os"
	"testing"

	criconfig "github.com/containerd/containerd/pkg/cri/config"
	"github.com/containerd/containerd/plugin"
	"github.com/containerd/containerd/services/warning"
	"github.com/stretchr/testify/require"
)

// TestStatePermissions begins to start the plugin, which fails for lack of the services after the folder is made.
func TestStatePermissions(t *testing.T) {
	for name, before := range map[string]os.FileMode{"new": 0, "of an older release": 0o755} {
		t.Run(name, func(t *testing.T) {
			plugins := plugin.NewPluginSet()
			registration := &plugin.Registration{
				Type: plugin.WarningPlugin, ID: plugin.DeprecationsPlugin,
				InitFn: func(*plugin.InitContext) (interface{}, error) { return ignored{}, nil },
			}
			dir := t.TempDir()
			require.NoError(t, plugins.Add(registration.Init(
				plugin.NewContext(context.Background(), registration, plugins, dir, dir))))
			ic := plugin.NewContext(context.Background(), &plugin.Registration{Type: plugin.GRPCPlugin, ID: "cri"}, plugins, dir, dir)
			config := criconfig.DefaultConfig()
			ic.Config = &config
			if before != 0 {
				require.NoError(t, os.Mkdir(ic.State, 0o700))
				require.NoError(t, os.Chmod(ic.State, before))
			}
			_, err := initCRIService(ic)
			require.ErrorContains(t, err, "failed to get services")
			info, err := os.Stat(ic.State)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		})
	}
}

// ignored drops warnings.
type ignored struct{ warning.Service }
