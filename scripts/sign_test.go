package scripts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	encodingpem "encoding/pem"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// clusterCA puts a CA as kubeadm makes it into the node's fake root.
func clusterCA(t *testing.T, n *node) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(encodingpem.EncodeToMemory(&encodingpem.Block{Type: kind, Bytes: der}))
	}
	n.write("etc/kubernetes/pki/ca.crt", block("CERTIFICATE", der), 0o644)
	n.write("etc/kubernetes/pki/ca.key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), 0o600)
	return cert
}

func request(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Yuan.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(encodingpem.EncodeToMemory(&encodingpem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func signVars(csr string, change ...Var) []Var {
	return changed([]Var{
		{"CSR_PEM", csr},
		{"DAYS", "5000"},
		{"GENERATION", "1"},
		{"SANS", "DNS:Yuan.com,DNS:*.example.com,IP:10.99.0.11,IP:fd00::1"},
		{"CA_CERT", "/etc/kubernetes/pki/ca.crt"},
		{"CA_KEY", "/etc/kubernetes/pki/ca.key"},
	}, change)
}

func TestSignCSR(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		ca := clusterCA(t, n)
		before := n.snapshot()
		temp := t.TempDir()
		n.env = []string{"TMPDIR=" + temp}
		serials := map[string]bool{}
		for range 2 {
			r := n.try(SignCSR, "sign", signVars(request(t)))
			if r.err != nil || r.stderr != "" {
				t.Fatalf("%v\n%s", r.err, r.stderr)
			}
			block, rest := encodingpem.Decode([]byte(r.stdout))
			second, end := encodingpem.Decode(rest)
			if block == nil || second == nil || len(end) != 0 || string(second.Bytes) != string(ca.Raw) || strings.Contains(r.stdout, "KEY") {
				t.Fatalf("not leaf and CA: %s", r.stdout)
			}
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca)
			for _, name := range []string{"Yuan.com", "x.example.com", "10.99.0.11", "[fd00::1]"} {
				if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if !leaf.IPAddresses[0].Equal(net.IPv4(10, 99, 0, 11)) || leaf.IsCA || leaf.Subject.CommonName != "Yuan.com" {
				t.Errorf("leaf: %v, %v, %v", leaf.IPAddresses, leaf.IsCA, leaf.Subject)
			}
			if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days != 5000 {
				t.Errorf("valid for %v days", days)
			}
			if leaf.SerialNumber.BitLen() < 64 || leaf.SerialNumber.BitLen() > 159 {
				t.Errorf("serial has %d bits", leaf.SerialNumber.BitLen())
			}
			serials[leaf.SerialNumber.String()] = true
		}
		if len(serials) != 2 {
			t.Error("serials repeat")
		}
		if err := os.RemoveAll(n.root + "/var/lib/berth"); err != nil { // as remove does
			t.Fatal(err)
		}
		n.same(before)
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("left in the temporary folder: %v, %v", left, err)
		}
	})
}

// Another login key runs the step again: the registry must not get another certificate for it.
func TestSignCSRGivesTheSameRequestTheSameCertificate(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		clusterCA(t, n)
		csr := request(t)
		sign := func(changed ...Var) string {
			r := n.try(SignCSR, "sign", signVars(csr, changed...))
			if r.err != nil {
				t.Fatalf("%v\n%s", r.err, r.stderr)
			}
			return r.stdout
		}
		first := sign()
		if sign() != first {
			t.Error("the same request got another certificate")
		}
		raised := sign(Var{"GENERATION", "2"})
		if raised == first {
			t.Error("another generation got the same certificate")
		}
		if sign(Var{"GENERATION", "2"}, Var{"DAYS", "10"}) == raised {
			t.Error("another validity got the same certificate")
		}
		clusterCA(t, n)
		if block, _ := encodingpem.Decode([]byte(sign(Var{"GENERATION", "2"}, Var{"DAYS", "10"}))); block == nil {
			t.Error("nothing is signed by the next CA")
		}
	})
}

// A certificate that outlives its CA is signed, and the operator hears of it.
func TestSignCSRBeyondItsCA(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		ca := clusterCA(t, n)
		csr := request(t)
		for range 2 {
			r := n.try(SignCSR, "sign", signVars(csr, Var{"DAYS", "9000"}))
			if want := ca.NotAfter.UTC().Format("Jan _2 15:04:05 2006 GMT"); r.err != nil || !strings.Contains(r.stderr, "outlive its CA") || !strings.Contains(r.stderr, want) {
				t.Errorf("%v\n%s, want %s", r.err, r.stderr, want)
			}
		}
	})
}

func TestSignCSRRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells(t)["dash"])
	clusterCA(t, n)
	csr := request(t)
	n.fail(SignCSR, "sign", signVars("nonsense"), "the certificate request is damaged")
	n.fail(SignCSR, "sign", signVars(csr, Var{"SANS", "DNS:a\nbasicConstraints=CA:TRUE"}), "SANS has a form")
	n.fail(SignCSR, "sign", signVars(csr, Var{"DAYS", "1 -CA x"}), "DAYS is not a number")
	n.fail(SignCSR, "sign", signVars(csr, Var{"CA_KEY", "/etc/none"}), "/etc/none cannot be read", "signingNode")
	n.fail(SignCSR, "other", signVars(csr), "usage: sign")
	n.write("etc/kubernetes/pki/ca.crt", testCA, 0o644)
	n.fail(SignCSR, "sign", signVars(csr), "openssl did not sign")
}
