package machine

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

var spec = Spec{
	Address: netip.MustParsePrefix("10.99.0.11/24"),
	Gateway: netip.MustParseAddr("10.99.0.1"),
	Routes:  []Route{{To: netip.MustParsePrefix("10.244.2.0/24"), Via: netip.MustParseAddr("10.99.0.12")}},
	Hosts:   map[string]netip.Addr{"worker1": netip.MustParseAddr("10.99.0.12"), "master1": netip.MustParseAddr("10.99.0.11")},
}

func TestHostsFileNamesItselfOnce(t *testing.T) {
	t.Parallel()
	want := "127.0.0.1\tlocalhost\n10.99.0.11\tmaster1\n10.99.0.12\tworker1\n"
	if got := hostsFile("master1", spec); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNetworkFile(t *testing.T) {
	t.Parallel()
	want := `auto lo
iface lo inet loopback

auto host0
iface host0 inet static
	address 10.99.0.11/24
	gateway 10.99.0.1
	up echo 1 >/proc/sys/net/ipv4/ip_forward
	up ip route add 10.244.2.0/24 via 10.99.0.12
`
	if got := networkFile(spec); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWriteFileReplacesALinkInsteadOfFollowingIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside, link := filepath.Join(dir, "outside"), filepath.Join(dir, "link")
	if err := os.WriteFile(outside, []byte("host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, "machine's", 0o444); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(outside); string(got) != "host's" {
		t.Errorf("the file that the link pointed to now holds %q", got)
	}
	info, err := os.Lstat(link)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o444 {
		t.Errorf("mode is %v, want a plain file with 0444", info.Mode())
	}
}

func TestNewSSHKeyIsAPair(t *testing.T) {
	t.Parallel()
	private, public, err := NewSSHKey("root@master1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	if string(key.Marshal()) != string(signer.PublicKey().Marshal()) || comment != "root@master1" {
		t.Errorf("public key %q does not belong to the private one", public)
	}
}

func TestCreateLinksSharedPartsAndCopiesTheRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"template/etc/hostname": "template", "template/usr/bin/tool": "tool", "shared/var/blobs/a": "blob",
	} {
		if err := WriteFile(filepath.Join(dir, path), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "template/var"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := &Machine{Name: "master1", Dir: filepath.Join(dir, "machine")}
	s := spec
	s.Template, s.SharedDir, s.Shared, s.AuthorizedKey = filepath.Join(dir, "template"), filepath.Join(dir, "shared"), []string{"var/blobs"}, "key\n"
	if err := m.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"etc/hostname": "master1\n", "usr/bin/tool": "tool", "var/blobs/a": "blob", "root/.ssh/authorized_keys": "key\n",
	} {
		if got, err := os.ReadFile(filepath.Join(m.Root(), path)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
		}
	}
	for path, linked := range map[string]bool{"var/blobs/a": true, "usr/bin/tool": false} {
		from := "template"
		if linked {
			from = "shared"
		}
		if sameFile(t, filepath.Join(dir, from, path), filepath.Join(m.Root(), path)) != linked {
			t.Errorf("%s: shared is %v, want %v", path, !linked, linked)
		}
	}
	if info, err := os.Stat(filepath.Join(m.Root(), "var")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder around a shared part: %v, %v; want its own mode 0700", info.Mode(), err)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	infoB, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(infoA, infoB)
}
