package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPartIsMadeOncePerKey(t *testing.T) {
	t.Parallel()
	b := &Builder{Cache: t.TempDir(), Progress: &strings.Builder{}}
	made := 0
	part := func(key string, err error) error {
		return b.Part(t.Context(), "part", key, func(context.Context) error { made++; return err })
	}
	broken := errors.New("broken")
	for _, step := range []struct {
		key  string
		err  error
		made int
	}{
		{"a", broken, 1}, // a failure is not remembered as done
		{"a", nil, 2},
		{"a", nil, 2},
		{"b", broken, 3},
		{"a", nil, 4}, // nor does it leave the stamp of what it may have overwritten
	} {
		if err := part(step.key, step.err); !errors.Is(err, step.err) {
			t.Errorf("key %s: error %v, want %v", step.key, err, step.err)
		}
		if made != step.made {
			t.Errorf("key %s: made %d times, want %d", step.key, made, step.made)
		}
	}
}

func TestKeyDependsOnNamesAndContents(t *testing.T) {
	t.Parallel()
	write := func(name, content string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := Key([]string{dir}, "word")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	base := write("a", "1")
	if write("a", "1") != base {
		t.Error("the same file in another folder gives another key")
	}
	if write("b", "1") == base || write("a", "2") == base {
		t.Error("another name or content gives the same key")
	}
}

func TestDebianSite(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ targets, want string }{
		"debian first":      {"http://a/debian Debian main\n", "http://a/debian"},
		"security is none":  {"http://a/security Debian-Security main\n", ""},
		"others in between": {"http://x Other main\nhttp://a/debian Debian contrib\nhttp://b/debian Debian main\n", "http://b/debian"},
		"nothing":           {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := debianSite(tt.targets); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The version constants only name what the modules require; a module moved on without them would lie about itself.
func TestVersionsAreThoseOfTheModules(t *testing.T) {
	t.Parallel()
	for file, lines := range map[string][]string{
		"../kube/go.mod": {
			"k8s.io/kubernetes " + KubernetesVersion, "go.etcd.io/etcd/server/v3 " + EtcdVersion, "sigs.k8s.io/cri-tools " + CrictlVersion,
		},
		"../registry/go.mod": {"github.com/distribution/distribution/v3 " + RegistryVersion},
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(data), line) {
				t.Errorf("%s does not require %q", file, line)
			}
		}
	}
}
