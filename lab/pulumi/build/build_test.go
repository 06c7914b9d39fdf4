package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakePulumi installs plugins from a folder as the CLI does, and published ones only where it may.
const fakePulumi = `#!/bin/sh
set -eu
dir=$PULUMI_HOME/plugins/resource-$4-v$5
case "$*" in
*" -f "*) rm -rf "$dir"; mkdir -p "$dir"; cp -R "$8/." "$dir" ;;
*) [ -e "$0.online" ] || exit 1; mkdir -p "$dir"; : >"$dir/pulumi-resource-$4" ;;
esac
`

var tiny = part{name: "tiny", version: "1.2.3", pkg: "./build/testdata/tiny", note: standIn, variable: "main.version"}

func newBuilder(t *testing.T) (*builder, *bytes.Buffer) {
	t.Helper()
	out := t.TempDir()
	var progress bytes.Buffer
	b := &builder{module: "..", bin: filepath.Join(out, "bin"), home: filepath.Join(out, "home"), progress: &progress}
	require.NoError(t, os.MkdirAll(b.bin, 0o755))
	write(t, filepath.Join(b.bin, "pulumi"), fakePulumi)
	return b, &progress
}

func write(t *testing.T, file, body string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(body), 0o755))
}

// says checks the last progress line, and forgets it.
func says(t *testing.T, progress *bytes.Buffer, words ...string) {
	t.Helper()
	for _, word := range words {
		assert.Contains(t, progress.String(), word)
	}
	progress.Reset()
}

func TestBinaryIsBuiltOnce(t *testing.T) {
	t.Parallel()
	b, progress := newBuilder(t)
	require.NoError(t, b.binary(t.Context(), tiny))
	says(t, progress, "tiny (stand-in)", "v1.2.3", "built", " s\n")
	out, err := exec.CommandContext(t.Context(), filepath.Join(b.bin, "tiny")).Output()
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", string(out))

	require.NoError(t, b.binary(t.Context(), tiny))
	says(t, progress, "there")

	next := tiny
	next.version = "1.2.4"
	require.NoError(t, b.binary(t.Context(), next))
	says(t, progress, "v1.2.4", "built")
}

func TestPluginIsBuiltOnce(t *testing.T) {
	t.Parallel()
	b, progress := newBuilder(t)
	require.NoError(t, b.plugin(t.Context(), tiny))
	says(t, progress, "tiny plugin (stand-in)", "built")
	assert.FileExists(t, filepath.Join(b.home, "plugins", "resource-tiny-v1.2.3", "pulumi-resource-tiny"))
	require.NoError(t, b.plugin(t.Context(), tiny))
	says(t, progress, "there")

	rest, err := filepath.Glob(filepath.Join(filepath.Dir(b.bin), "plugin-*"))
	require.NoError(t, err)
	assert.Empty(t, rest, "staging is left behind")
}

func TestABrokenBuildShowsTheCompilersWords(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	broken := tiny
	broken.pkg = "./build/testdata/none"
	err := b.plugin(t.Context(), broken)
	require.ErrorContains(t, err, "testdata/none")
	assert.NoDirExists(t, filepath.Join(b.home, "plugins"))
}

func TestInstalledPulumiInstallsWhatItCan(t *testing.T) {
	b, progress := newBuilder(t)
	genuine := t.TempDir()
	write(t, filepath.Join(genuine, "pulumi"), fakePulumi)
	t.Setenv("PATH", genuine+":"+os.Getenv("PATH"))
	assert.Empty(t, installed(b.bin), "it has no language host")
	write(t, filepath.Join(genuine, "pulumi-language-go"), "#!/bin/sh\n")
	b.installed = installed(b.bin)
	require.Equal(t, filepath.Join(genuine, "pulumi"), b.installed)
	require.NoError(t, b.link())
	says(t, progress, genuine)

	// It reaches no download: a stand-in.
	require.NoError(t, b.plugin(t.Context(), tiny))
	says(t, progress, "tiny plugin (stand-in)", "built")

	write(t, filepath.Join(b.bin, "pulumi.online"), "")
	other := tiny
	other.version = "2.0.0"
	require.NoError(t, b.plugin(t.Context(), other))
	says(t, progress, "tiny plugin, published", "installed")
	require.NoError(t, b.plugin(t.Context(), other))
	says(t, progress, "tiny plugin, published", "there")
}

func TestWhatWasBuiltHereIsNotAnInstalledPulumi(t *testing.T) {
	b, _ := newBuilder(t)
	t.Setenv("PATH", b.bin+":"+os.Getenv("PATH"))
	write(t, filepath.Join(b.bin, "pulumi-language-go"), "#!/bin/sh\n")
	assert.Empty(t, installed(b.bin))
	elsewhere := t.TempDir()
	assert.NotEmpty(t, installed(elsewhere))
	write(t, filepath.Join(b.bin, ".pulumi."+stampFile), "key")
	assert.Empty(t, installed(elsewhere))
}

func TestKeyFollowsTheSources(t *testing.T) {
	t.Parallel()
	first, err := tiny.key("..")
	require.NoError(t, err)
	again, err := tiny.key("..")
	require.NoError(t, err)
	assert.Equal(t, first, again)
	other := tiny
	other.sources = []string{"tlsprovider"}
	third, err := other.key("..")
	require.NoError(t, err)
	assert.NotEqual(t, first, third)
}
