package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContainerdsSandboxImageIsImported(t *testing.T) {
	t.Parallel()
	config, err := files.ReadFile("files/etc/containerd/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if want := `sandbox_image = "` + PauseImage + `"`; !strings.Contains(string(config), want) {
		t.Errorf("config.toml lacks %s: pods would wait for an image that is not there", want)
	}
}

func TestFilesGetTheirModes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := writeFiles(root); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		"etc/sudoers.d/ops":                  0o440, // sudo ignores a file that others may write
		"etc/systemd/system/kubelet.service": 0o644,
		"etc/containerd/config.toml":         0o644,
	} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	for path := range modes {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("a mode is given for a file that is not there: %v", err)
		}
	}
}

func TestKubernetesImageAnswersToEveryProgramsName(t *testing.T) {
	t.Parallel()
	img := kubernetesImage("kube")
	links := map[string]string{}
	for _, f := range img.Files {
		links[filepath.Base(f.Path)] = f.Link
	}
	for _, name := range img.Names {
		program := strings.TrimPrefix(name[:strings.LastIndex(name, ":")], "registry.k8s.io/")
		if links[program] != "kube" {
			t.Errorf("image %s has no program %s", name, program)
		}
	}
}
