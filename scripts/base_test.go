package scripts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	encodingpem "encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBaseLooksFirst holds base to saying all that is wrong, with nothing changed.
func TestBaseLooksFirst(t *testing.T) {
	t.Parallel()
	shell := shells(t)["dash"]
	for name, c := range map[string]struct {
		prepare func(n *node)
		want    []string
	}{
		"immutable": {func(n *node) { n.setSim("immutable", "") }, []string{"chattr -i /etc/hosts"}},
		"btrfs":     {func(n *node) { n.config(` snapshotter = "btrfs"`) }, []string{"snapshotter btrfs"}},
		"both": {
			func(n *node) {
				n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n config_path = \"/c\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"x\"]")
			},
			[]string{"both config_path and registry.mirrors"},
		},
		"mirror": {
			func(n *node) { n.config("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"Yuan.com\"]") },
			[]string{"sends Yuan.com elsewhere"},
		},
		"hosts.toml": {
			func(n *node) {
				n.config(`config_path = "/etc/containerd/certs.d"`)
				n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://Yuan.com\"\n[host.\"https://10.0.0.1:30443\"]\n", 0o644)
			},
			[]string{"hosts.toml sends pulls to https://10.0.0.1:30443"},
		},
		"hosts.toml in the second of a list": {
			func(n *node) {
				n.config(`config_path = "/a:/b"`)
				n.write("b/_default/hosts.toml", "[host.\"https://mirror.example\"]\n", 0o644)
			},
			[]string{"/b/_default/hosts.toml sends pulls to https://mirror.example"},
		},
		"hosts.toml of Docker": {
			func(n *node) {
				n.write("etc/docker/certs.d/Yuan.com/hosts.toml", "server = \"http://Yuan.com\"\n", 0o644)
			},
			[]string{"/etc/docker/certs.d/Yuan.com/hosts.toml sends pulls to http://Yuan.com"},
		},
		"half a block": {func(n *node) { n.write("etc/hosts", "# BEGIN berth\n", 0o644) }, []string{"half a berth block"}},
		"no answer": {
			func(n *node) {
				n.stub("sleep", `echo "$1" >>"$SIM/slept"`)
				n.setSim("registry", "connect:errno=111\n")
			},
			[]string{"the registry does not answer at 10.99.0.12:30443"},
		},
		"all at once": {
			func(n *node) {
				n.write("etc/hosts", "10.5.5.5 yuan.com\n", 0o644)
				n.write("etc/cloud/cloud.cfg", " manage_etc_hosts: localhost\n", 0o644)
				n.config(` snapshotter = "btrfs"`)
				n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://elsewhere\"\n", 0o644)
				n.setSim("registry", "depth=1 CN = x\nverify error:num=10:certificate has expired\nnotAfter=x\n")
			},
			[]string{
				"/etc/hosts names the registry already (10.5.5.5 yuan.com)", "cloud-init", "btrfs", "elsewhere", "certificate has expired",
				"nothing is changed on this node",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shell)
			c.prepare(n)
			before := n.snapshot()
			n.fail(Base, "apply", baseVars(owner), c.want...)
			n.same(before)
			for _, left := range []string{"run/berth.ca", "run/berth.bundle"} {
				if n.exists(left) {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		eachShell(t, func(t *testing.T, n *node) {
			n.config("# snapshotter = \"btrfs\"\nconfig_path = \"/etc/containerd/certs.d:/other\"\n")
			n.write("etc/containerd/certs.d/Yuan.com/hosts.toml", "server = \"https://yuan.com\"\n[host.\"https://Yuan.com:443\"]\n", 0o644)
			n.write("etc/containerd/certs.d/docker.io/hosts.toml", "server = \"https://mirror.example\"\n", 0o644)
			n.setSim("dns", "10.99.0.12      STREAM Yuan.com\n192.0.2.7       STREAM\n192.0.2.7       DGRAM\n")
			r := n.try(Base, "apply", baseVars(owner))
			if r.err != nil || !strings.Contains(r.stderr, "note: DNS knows Yuan.com as 192.0.2.7: this node") {
				t.Errorf("%v\n%s", r.err, r.stderr)
			}
			if calls := n.getSim("calls"); !strings.Contains(calls, "HEAD / HTTP/1.0\r\n\r\n") || !strings.Contains(calls, "-connect 10.99.0.12:30443\n") {
				t.Errorf("the registry was not asked: %s", calls)
			}
		})
	})
}

// TestRegistryAsTheNodeSeesIt runs the real openssl against a real server.
func TestRegistryAsTheNodeSeesIt(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		change  func(leaf *x509.Certificate)
		off     time.Duration
		otherCA bool
		want    string
	}{
		"good":          {func(l *x509.Certificate) { l.DNSNames = append(l.DNSNames, "images.example.com") }, 0, false, ""},
		"no alias":      {func(*x509.Certificate) {}, 0, false, "does not do for images.example.com at 127.0.0.1:"},
		"a little off":  {func(l *x509.Certificate) { l.DNSNames = append(l.DNSNames, "images.example.com") }, -4 * time.Minute, false, ""},
		"other name":    {func(l *x509.Certificate) { l.DNSNames = []string{"other.com"} }, 0, false, "hostname mismatch"},
		"expired":       {func(l *x509.Certificate) { l.NotAfter = now.Add(-time.Minute) }, 0, false, "certificate has expired"},
		"of tomorrow":   {func(l *x509.Certificate) { l.NotBefore = now.Add(time.Hour) }, 0, false, "certificate is not yet valid"},
		"another CA":    {func(*x509.Certificate) {}, 0, true, "certificate signature failure"},
		"clock behind":  {func(*x509.Certificate) {}, time.Hour, false, "s away from that of the registry's node"},
		"clock forward": {func(*x509.Certificate) {}, -time.Hour, false, "s away from that"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, leaf := certify(t, c.change)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(c.off).UTC().Format(http.TimeFormat))
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
			server.StartTLS()
			defer server.Close()
			if c.otherCA {
				ca, _ = certify(t, c.change)
			}
			for _, argv := range shells(t) {
				n := newNode(t, argv)
				n.stub("openssl", `exec /usr/bin/openssl "$@"`)
				_, port, err := net.SplitHostPort(server.Listener.Addr().String())
				n.must(err)
				vars := baseVars(owner, Var{"HOSTS_IP", "127.0.0.1"}, Var{"NODE_PORT", port}, Var{"CA_PEM", ca}, Var{"NAMES", aliases})
				if c.want == "" {
					n.run(Base, "apply", vars)
				} else {
					before := n.snapshot()
					n.fail(Base, "apply", vars, c.want, "nothing is changed")
					n.same(before)
				}
			}
		})
	}
}

// certify makes a CA, as PEM, and a certificate for Yuan.com that it signs.
func certify(t *testing.T, change func(*x509.Certificate)) (string, tls.Certificate) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, caKey := issue(ca, ca, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Yuan.com"}, DNSNames: []string{"Yuan.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(leaf)
	der, key := issue(leaf, ca, caKey)
	return string(encodingpem.EncodeToMemory(&encodingpem.Block{Type: "CERTIFICATE", Bytes: caDER})), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
