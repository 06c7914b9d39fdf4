package gotool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	usual := filepath.Join(t.TempDir(), "go")
	_, err := find("go1.26.8", usual)
	if err == nil || !strings.Contains(err.Error(), "install go1.26.8 in ") ||
		!strings.Contains(err.Error(), "on the PATH "+os.Getenv("PATH")) {
		t.Errorf("err = %v, want a remedy", err)
	}
	if err := os.WriteFile(usual, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := find("go1.26.8", usual); err != nil || path != usual {
		t.Errorf("find = %q, %v", path, err)
	}
}
