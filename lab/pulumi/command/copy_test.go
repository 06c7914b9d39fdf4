package command_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const copyToRemote = "remote:CopyToRemote"

// TestCopyToRemote pins what the published plugin does, point by point. "Remote" is a folder of the test: the server
// lends this machine's files.
func TestCopyToRemote(t *testing.T) {
	t.Parallel()
	type fixture struct {
		*plug
		*sshServer
		from, to string
		in       func(source resource.PropertyValue, to string) resource.PropertyMap
	}
	tests := map[string]func(t *testing.T, f fixture){
		"a preview reads and dials nothing": func(t *testing.T, f fixture) {
			_, err := f.create(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/file"), true)
			require.NoError(t, err)
			assert.Zero(t, f.dialled())
			assert.NoFileExists(t, f.to+"/file")
		},
		"a file arrives, and parents are made": func(t *testing.T, f fixture) {
			f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/a/b/file"))
			assert.Equal(t, "one", read(t, f.to+"/a/b/file"))
		},
		"an existing folder takes the file in": func(t *testing.T, f fixture) {
			f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to))
			assert.Equal(t, "one", read(t, f.to+"/source"))
		},
		"a text arrives": func(t *testing.T, f fixture) {
			f.created(t, copyToRemote, f.in(text(t, "words"), f.to+"/a/text"))
			assert.Equal(t, "words", read(t, f.to+"/a/text"))
		},
		"a text into a folder is an error": func(t *testing.T, f fixture) {
			_, err := f.create(t, copyToRemote, f.in(text(t, "words"), f.to), false)
			require.ErrorContains(t, err, "is a directory")
		},
		"the mode is not copied": func(t *testing.T, f fixture) {
			source := asset(t, f.from, "#!/bin/sh\n")
			require.NoError(t, os.Chmod(f.from+"/source", 0o755))
			f.created(t, copyToRemote, f.in(source, f.to+"/tool"))
			info, err := os.Stat(f.to + "/tool")
			require.NoError(t, err)
			assert.Zero(t, info.Mode()&0o111)
		},
		"an existing file is written over in place": func(t *testing.T, f fixture) {
			require.NoError(t, os.WriteFile(f.to+"/file", []byte("something longer"), 0o600))
			before, err := os.Stat(f.to + "/file")
			require.NoError(t, err)
			f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/file"))
			after, err := os.Stat(f.to + "/file")
			require.NoError(t, err)
			assert.True(t, os.SameFile(before, after))
			assert.Equal(t, "one", read(t, f.to+"/file"))
		},
		"a folder arrives under its name": func(t *testing.T, f fixture) {
			f.created(t, copyToRemote, f.in(folder(t, f.from, ""), f.to+"/x"))
			assert.Equal(t, "deep", read(t, f.to+"/x/dir/sub/file"))
		},
		"a folder with a slash gives its content": func(t *testing.T, f fixture) {
			f.created(t, copyToRemote, f.in(folder(t, f.from, "/"), f.to+"/x"))
			assert.Equal(t, "deep", read(t, f.to+"/x/sub/file"))
		},
		"an archive file is not unpacked": func(t *testing.T, f fixture) {
			require.NoError(t, os.WriteFile(f.from+"/a.tar", make([]byte, 1024), 0o600)) // an empty tar
			archive, err := resource.NewPathArchive(f.from + "/a.tar")
			require.NoError(t, err)
			f.created(t, copyToRemote, f.in(resource.NewArchiveProperty(archive), f.to+"/b.tar"))
			assert.Len(t, read(t, f.to+"/b.tar"), 1024)
		},
		"changed content is copied again": func(t *testing.T, f fixture) {
			old := f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/file"))
			next := f.in(asset(t, f.from, "two"), f.to+"/file")
			diff := f.diff(t, copyToRemote, old, next)
			assert.Equal(t, rpc.DiffResponse_DIFF_SOME, diff.GetChanges())
			assert.Empty(t, diff.GetReplaces())
			f.updated(t, copyToRemote, old, next)
			assert.Equal(t, "two", read(t, f.to+"/file"))
		},
		"another remote path is copied to, and the old copy stays": func(t *testing.T, f fixture) {
			source := asset(t, f.from, "one")
			old := f.created(t, copyToRemote, f.in(source, f.to+"/old"))
			f.updated(t, copyToRemote, old, f.in(source, f.to+"/new"))
			assert.FileExists(t, f.to+"/old")
			assert.FileExists(t, f.to+"/new")
		},
		"another connection alone copies nothing": func(t *testing.T, f fixture) {
			inputs := f.in(asset(t, f.from, "one"), f.to+"/file")
			old := f.created(t, copyToRemote, inputs)
			require.NoError(t, os.Remove(f.to+"/file"))
			inputs["connection"] = object(map[string]any{"c": f.connection(map[string]any{"dialErrorLimit": 1.0})})["c"]
			assert.Equal(t, rpc.DiffResponse_DIFF_SOME, f.diff(t, copyToRemote, old, inputs).GetChanges())
			f.updated(t, copyToRemote, old, inputs)
			assert.NoFileExists(t, f.to+"/file")
			assert.Equal(t, 1, f.dialled())
		},
		"delete leaves the file": func(t *testing.T, f fixture) {
			state := f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/file"))
			require.NoError(t, f.delete(t, copyToRemote, state))
			assert.FileExists(t, f.to+"/file")
			assert.Equal(t, 1, f.dialled())
		},
		"a source that is not known yet is refused": func(t *testing.T, f fixture) {
			_, failures := f.check(t, copyToRemote, f.in(resource.MakeComputed(resource.NewStringProperty("")), f.to+"/file"))
			require.NotEmpty(t, failures)
			assert.Equal(t, "either asset or archive must be set", failures[len(failures)-1].GetReason())
		},
		"the connection is secret, and closed at the end": func(t *testing.T, f fixture) {
			state := f.created(t, copyToRemote, f.in(asset(t, f.from, "one"), f.to+"/file"))
			assert.True(t, state["connection"].IsSecret())
			assert.Eventually(t, func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.open == 0
			}, waitLimit, waitStep)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSSHServer(t)
			test(t, fixture{newPlug(t), s, t.TempDir(), t.TempDir(), func(source resource.PropertyValue, to string) resource.PropertyMap {
				inputs := object(map[string]any{"connection": s.connection(nil), "remotePath": to})
				inputs["source"] = source
				return inputs
			}})
		})
	}
}

func asset(t *testing.T, dir, content string) resource.PropertyValue {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "source"), []byte(content), 0o600))
	a, err := resource.NewPathAsset(filepath.Join(dir, "source"))
	require.NoError(t, err)
	return resource.NewAssetProperty(a)
}

func text(t *testing.T, content string) resource.PropertyValue {
	t.Helper()
	a, err := resource.NewTextAsset(content)
	require.NoError(t, err)
	return resource.NewAssetProperty(a)
}

func folder(t *testing.T, dir, slash string) resource.PropertyValue {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "dir", "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dir", "sub", "file"), []byte("deep"), 0o600))
	a, err := resource.NewPathArchive(filepath.Join(dir, "dir") + slash)
	require.NoError(t, err)
	return resource.NewArchiveProperty(a)
}

func read(t *testing.T, file string) string {
	t.Helper()
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(body)
}
