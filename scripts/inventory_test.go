package scripts

import (
	"fmt"
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
			var rows []string
			for i, runtime := range c.runtimes {
				rows = append(rows, fmt.Sprintf("n%d 10.0.0.%d amd64 %s map[]", i+1, i+1, runtime))
			}
			out, stderr := inventory(t, rows, nil)
			if !strings.Contains(out, c.want) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("%s\n%s", out, stderr)
			}
			if !strings.HasPrefix(out, "config:\n") || strings.Count(out, "- {name: n") != len(c.runtimes) {
				t.Errorf("printed\n%s", out)
			}
		})
	}
}

func TestInventoryBehindABastion(t *testing.T) {
	t.Parallel()
	rows := []string{"n1 10.0.0.1 amd64 containerd://1.7.24 map[]", "n2 10.0.0.2 amd64 containerd://1.7.24 map[]", "n9 10.0.0.9 amd64 containerd://1.7.24 map[]"}
	out, stderr := inventory(t, rows, []string{"BASTION=-p 2222 jump@bastion", "SSH_PORT=2022"})
	for _, want := range []string{
		"  # SHA256:direct\n  berth:ssh: {bastion: {address: \"bastion.example.com\", port: 2222, user: \"jump\", hostKey: ssh-ed25519 direct}}\n  berth:nodes:\n",
		"- {name: n1, address: 10.0.0.1, hostKey: ssh-ed25519 behind, port: 2022}\n",
		"- {name: n2, address: 10.0.0.2, hostKey: ecdsa-sha2-nistp256 behind, port: 2022}\n",
		"- {name: n9, address: 10.0.0.9, hostKey: FILL-IN, port: 2022}\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, want := range []string{"inventory: ssh: connect failed", "n9: no ed25519 or ecdsa host key answers at 10.0.0.9 port 2022"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
}

// inventory runs the script where kubectl lists these nodes, and ssh and its tools answer at once: for the bastion directly, for
// nodes through the bastion alone.
func inventory(t *testing.T, rows, env []string) (string, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kubectl":     "cat <<'EOF'\n" + strings.Join(rows, "\n") + "\nEOF",
		"ssh-keyscan": `[ -z "$BASTION" ] || [ "$*" = "-T 5 -p 2222 -t ed25519,ecdsa bastion.example.com" ] || exit 9; echo "h ssh-ed25519 direct"`,
		"ssh-keygen":  `read -r KIND KEY; echo "256 SHA256:$KEY y (ED25519)"`,
		"ssh": `case "$*" in
"-G -p 2222 jump@bastion") printf 'user jump\nhostname bastion.example.com\nport 2222\n'; exit 0 ;;
"-o ProxyCommand=ssh -W '[%h]:%p' -p 2222 jump@bastion -o "*" -p 2022 10.0.0."?" true") ;;
*) exit 9 ;;
esac
for WORD; do
	case $WORD in UserKnownHostsFile=*) FILE=${WORD#*=} ;; esac
done
case "$*" in
*"10.0.0.1 true") echo "|1|hash= ssh-ed25519 behind" >"$FILE" ;;
*"10.0.0.2 true") echo "|1|hash= ecdsa-sha2-nistp256 behind" >"$FILE" ;;
*) echo "connect failed" >&2 ;;
esac
exit 255`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "operator/inventory.sh")
	cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH")}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	return string(out), stderr.String()
}
