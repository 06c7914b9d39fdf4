package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/remote"
	"berth/internal/graphtest"
)

var args = Args{
	CA: CAGenerated, Algorithm: "ECDSA", ValidityDays: 825,
	DNSNames: []string{"Yuan.com"}, IPAddresses: []string{"10.0.0.11"},
	Signer: remote.Connection{Host: "10.0.0.11", Port: 22, User: "root", HostKey: "ssh-ed25519 AAAA", PrivateKey: "key"},
}

func issue(t *testing.T, edit func(*Args)) *graphtest.Graph {
	t.Helper()
	a := args
	edit(&a)
	leaf := certPEM(t)
	g, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
		_, err := New(ctx, "certificate", &a)
		return err
	}, nil, func(r graphtest.Resource) resource.PropertyMap {
		switch r.Type {
		case "tls:index/privateKey:PrivateKey":
			return resource.PropertyMap{"privateKeyPem": resource.MakeSecret(resource.NewStringProperty("key of " + r.Name))}
		case "tls:index/certRequest:CertRequest":
			return resource.PropertyMap{"certRequestPem": resource.NewStringProperty("the request")}
		case "command:remote:Command":
			return resource.PropertyMap{"stdout": resource.NewStringProperty(leaf + leaf)}
		}
		return resource.PropertyMap{"certPem": resource.NewStringProperty(leaf)}
	})
	require.NoError(t, err)
	return g
}

func TestGeneratedCA(t *testing.T) {
	t.Parallel()
	g := issue(t, func(*Args) {})
	leaf := g.Get("certificate-cert")
	assert.Equal(t, "key of certificate-ca-key", leaf.Input("caPrivateKeyPem").StringValue(), "signed by the CA's own key, which outlives its renewals")
	assert.InDelta(t, 825*24, leaf.Input("validityPeriodHours").NumberValue(), 0)
	assert.InDelta(t, 30*24, leaf.Input("earlyRenewalHours").NumberValue(), 0)
	assert.Contains(t, g.Get("certificate-ca").Request.GetIgnoreChanges(), "subject",
		"with another subject a renamed registry would have another CA, and every node would start containerd again")
	request := g.Get("certificate-request")
	assert.Equal(t, "Yuan.com", request.Input("dnsNames").ArrayValue()[0].StringValue())
	assert.Equal(t, "10.0.0.11", request.Input("ipAddresses").ArrayValue()[0].StringValue())
}

func TestCAOutlivesWhatItSigns(t *testing.T) {
	t.Parallel()
	for _, days := range []int{1, 825, 5000} {
		g := issue(t, func(a *Args) { a.ValidityDays = days })
		ca := g.Get("certificate-ca")
		left := ca.Input("validityPeriodHours").NumberValue() - ca.Input("earlyRenewalHours").NumberValue()
		assert.Positive(t, left, "a CA that is due for renewal when it is made would be renewed by every up")
		leaf := g.Get("certificate-cert")
		assert.Greater(t, leaf.Input("validityPeriodHours").NumberValue(), leaf.Input("earlyRenewalHours").NumberValue())
		assert.Greater(t, ca.Input("earlyRenewalHours").NumberValue(), leaf.Input("validityPeriodHours").NumberValue())
	}
}

func TestGivenCA(t *testing.T) {
	t.Parallel()
	g := issue(t, func(a *Args) { a.CA, a.CACert, a.CAKey = CAPEM, "their certificate", "their key" })
	leaf := g.Get("certificate-cert")
	assert.Equal(t, "their certificate", leaf.Input("caCertPem").StringValue())
	assert.True(t, leaf.Inputs["caPrivateKeyPem"].IsSecret())
	assert.Empty(t, g.OfType("tls:index/selfSignedCert:SelfSignedCert"))
}

func TestClusterCASignsOnItsNode(t *testing.T) {
	t.Parallel()
	g := issue(t, func(a *Args) { a.CA, a.Generation = CACluster, 3 })
	sign := g.Get("certificate-sign")
	assert.Equal(t, "/bin/sh -s -- sign Yuan.com generation 3", sign.Input("create").StringValue())
	stdin := sign.Input("stdin").StringValue()
	assert.Contains(t, stdin, "CSR_PEM='the request'")
	assert.Contains(t, stdin, "SANS='DNS:Yuan.com,IP:10.0.0.11'")
	assert.NotContains(t, stdin, "key of", "no key travels")
	assert.Empty(t, g.OfType("tls:index/locallySignedCert:LocallySignedCert"))
}

func TestSplitChainRefuses(t *testing.T) {
	t.Parallel()
	one := certPEM(t)
	for name, text := range map[string]string{"nothing": "", "a leaf alone": one, "three": one + one + one, "no PEM": "signed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := splitChain(text)
			require.ErrorIs(t, err, errNotTwo)
		})
	}
}

func certPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
