package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/lab/machine"
)

func TestMountsBelowDeepestFirst(t *testing.T) {
	t.Parallel()
	const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:30 / /srv/lab rw - tmpfs tmpfs rw
41 22 0:31 / /srv/lab/a rw - tmpfs tmpfs rw
42 41 0:32 / /srv/lab/a/b\040c rw - tmpfs tmpfs rw
43 22 0:33 / /srv/laboratory rw - tmpfs tmpfs rw
`
	got := mountsBelow(mountinfo, "/srv/lab")
	if want := []string{"/srv/lab/a/b c", "/srv/lab/a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCNIConfigIsJSONWithTheNodesSubnet(t *testing.T) {
	t.Parallel()
	var config struct {
		Plugins []struct {
			IPAM struct {
				Ranges [][]struct{ Subnet string }
			}
		}
	}
	if err := json.Unmarshal([]byte(cniConfig(nodes[1])), &config); err != nil {
		t.Fatal(err)
	}
	if got := config.Plugins[0].IPAM.Ranges[0][0].Subnet; got != "10.244.2.0/24" {
		t.Errorf("subnet is %q", got)
	}
}

func TestTokenHasKubeadmsForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
	a, b := newToken(), newToken()
	if !form.MatchString(a) || a == b {
		t.Errorf("tokens %q and %q", a, b)
	}
}

func TestKubeadmConfigs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		got  string
		want []string
	}{
		"init": {
			initConfig(nodes[0], "abcdef.0123456789abcdef"),
			[]string{"name: master1\n", "advertiseAddress: 10.99.0.11,", "node-ip, value: 10.99.0.11}", "token: abcdef.0123456789abcdef\n", "imagefs.available: 1%}"},
		},
		"join": {
			joinConfig(nodes[2], nodes[0], "abcdef.0123456789abcdef", "sha256:00"),
			[]string{"name: worker2\n", "apiServerEndpoint: 10.99.0.11:6443\n", "node-ip, value: 10.99.0.13}", "caCertHashes: [sha256:00]\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, want := range tt.want {
				if !strings.Contains(tt.got, want) {
					t.Errorf("lacks %q:\n%s", want, tt.got)
				}
			}
		})
	}
}

func TestCAHashRefusesWhatIsNoCertificate(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if hash, err := caHash([]byte(text)); err == nil {
			t.Errorf("%q has the hash %q", text, hash)
		}
	}
}

func TestRecordSurvivesARoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &Cluster{Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), Nodes: []*Node{{Name: "master1", Address: "10.99.0.11", HostKey: "ssh-ed25519 AAAA"}}}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	got, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kubeconfig != c.Kubeconfig || got.Nodes[0].HostKey != "ssh-ed25519 AAAA" {
		t.Errorf("read %+v", got)
	}
	if want := filepath.Join(dir, "machines/master1/root"); got.Nodes[0].Root() != want {
		t.Errorf("root is %q, want %q", got.Nodes[0].Root(), want)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "master1 is off") {
		t.Errorf("loading a cluster that does not run: %v", err)
	}
}

func TestLoadSaysHowToMakeACluster(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "lab up") {
		t.Errorf("error is %v", err)
	}
}

func TestLockKeepsASecondRunOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lock(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var said strings.Builder
	if _, err := lock(ctx, dir, &said); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(said.String(), "waiting") {
		t.Errorf("the second run got %v and said %q", err, said.String())
	}
	time.AfterFunc(200*time.Millisecond, unlock)
	unlock, err = lock(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestRestoreSysctlsLeavesEqualValuesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := restoreSysctls(dir); err != nil {
		t.Errorf("with nothing kept: %v", err)
	}
	// A read-only setting with its own value: writing it would fail.
	value, err := os.ReadFile("/proc/sys/kernel/version")
	if err != nil {
		t.Skip("no sysctls here")
	}
	if err := machine.WriteFile(filepath.Join(dir, "sysctls"), "kernel/version "+string(value), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restoreSysctls(dir); err != nil {
		t.Error(err)
	}
}
