package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInventory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runtimes     []string
		want, stderr string
	}{
		"one line": {
			[]string{"containerd://1.7.24~ds1", "containerd://1.7.27"},
			"  # the newest release of containerd 1.7 that berth builds; nodes run 1.7.24~ds1 1.7.27\n  berth:containerd: {version: \"1.7.36\"}\n", "",
		},
		"two lines": {
			[]string{"containerd://1.7.24", "containerd://2.1.4"},
			"  berth:containerd: {version: \"2.1.9\", allowMinorUpgrade: true}\n", "",
		},
		"too new": {
			[]string{"containerd://1.7.99", "containerd://1.6.20"}, `{version: "FILL-IN", allowMinorUpgrade: true}`, "no release of its line that berth builds is as new",
		},
		"ours": {[]string{"containerd://1.7.36+berth.1", "cri-o://1.30"}, `{version: "1.7.36"}`, "some nodes run berth's containerd already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			stub := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			var rows strings.Builder
			for i, runtime := range c.runtimes {
				rows.WriteString("echo 'n" + string(rune('1'+i)) + " 10.0.0.1 amd64 " + runtime + " map[]'\n")
			}
			stub("kubectl", rows.String())
			stub("ssh-keyscan", "echo '10.0.0.1 ssh-ed25519 AAAA'")
			stub("ssh-keygen", "echo '256 SHA256:x y (ED25519)'")
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "operator/inventory.sh")
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), c.want) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("%v\n%s\n%s", err, out, stderr.String())
			}
			if !strings.HasPrefix(string(out), "config:\n") || strings.Count(string(out), "- {name: n") != len(c.runtimes) {
				t.Errorf("printed\n%s", out)
			}
		})
	}
}
