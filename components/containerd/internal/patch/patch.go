// Package patch applies patch files to a source tree.
package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// Apply changes the files below root as the patch says. It is strict: every hunk must fit at its line, to the letter.
// On an error some files may have been changed already. name stands for the patch in errors.
func Apply(root, name string, content []byte) error {
	files, _, err := gitdiff.Parse(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("reading patch %s: %w", name, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("reading patch %s: it changes no file", name)
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("applying patch %s: %w", name, err)
	}
	defer func() { _ = dir.Close() }()
	for _, file := range files {
		if err := applyFile(dir, file); err != nil {
			return fmt.Errorf("applying patch %s: %w", name, err)
		}
	}
	return nil
}

func applyFile(dir *os.Root, file *gitdiff.File) error {
	// A file that comes or goes needs no patch: whole files are copied.
	if file.IsNew || file.IsDelete || file.IsRename || file.IsBinary || file.OldName != file.NewName {
		return fmt.Errorf("%s: only changes of existing text files are supported", max(file.NewName, file.OldName))
	}
	before, err := dir.ReadFile(file.OldName)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not in this release of containerd", file.OldName)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", file.OldName, err)
	}
	var after bytes.Buffer
	if err := gitdiff.Apply(&after, bytes.NewReader(before), file); err != nil {
		return fmt.Errorf("%s has other text in this release of containerd than the patch expects: %w", file.OldName, err)
	}
	if err := dir.WriteFile(file.NewName, after.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file.NewName, err)
	}
	return nil
}
