// Package certificate issues the registry's server certificate, signed by a CA that berth makes, that is given, or that is the cluster's own.
package certificate

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/remote"
)

// Kinds of CA.
const (
	CAGenerated = "generated" // berth makes a CA; its key stands encrypted in the state
	CAPEM       = "pem"       // the CA is given as PEM
	CACluster   = "cluster"   // the cluster's CA signs on the control plane; its key never leaves the node
)

const (
	hoursPerDay = 24
	// caValidityDays is how long a generated CA lives at least. Its key outlives its renewals, so old and new certificates both validate.
	caValidityDays = 3650
	// earlyRenewalDays is how long before its end a certificate is renewed by the next up; a short-lived one renews in its last third.
	earlyRenewalDays = 30
)

var errNoCommonName = errors.New("no DNS name to issue for")

// Args describes the server certificate.
type Args struct {
	// CA is one of the kinds above.
	CA string
	// CACert and CAKey are PEM, for CAPEM. The key is a secret.
	CACert, CAKey string
	// Algorithm of the keys that berth makes: ECDSA (P-256) or RSA.
	Algorithm string
	// RSABits is the length of RSA keys.
	RSABits int
	// ValidityDays is how long the server certificate is valid, in days.
	ValidityDays int
	// DNSNames and IPAddresses are the subject's alternative names; the first DNS name is the common name too.
	DNSNames, IPAddresses []string
	// Signer reaches a control-plane node that holds the cluster's CA key, for CACluster.
	Signer remote.Connection
	// After is what must be in the graph before that node is touched: its anchor.
	After []pulumi.Resource
	// Generation is raised to have the cluster's CA issue anew.
	Generation int
}

// Certificate is the server certificate with its key and the CA to trust.
type Certificate struct {
	pulumi.ResourceState

	// Cert is the server certificate as PEM.
	Cert pulumi.StringOutput `pulumi:"cert"`
	// Key is its private key as PEM, a secret.
	Key pulumi.StringOutput `pulumi:"key"`
	// CA is the certificate to trust, as PEM.
	CA pulumi.StringOutput `pulumi:"ca"`
	// NotAfter is the end of validity in RFC 3339.
	NotAfter pulumi.StringOutput `pulumi:"notAfter"`
}

// New issues the certificate. Renewal happens in an up within the last days of validity, and keeps the keys.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Certificate, error) {
	if len(args.DNSNames) == 0 {
		return nil, fmt.Errorf("issuing certificate %s: %w", name, errNoCommonName)
	}
	c := &Certificate{}
	if err := ctx.RegisterComponentResource("berth:certificate:Certificate", name, c, opts...); err != nil {
		return nil, fmt.Errorf("registering certificate %s: %w", name, err)
	}
	if err := c.issue(ctx, name, args); err != nil {
		return nil, fmt.Errorf("issuing certificate %s: %w", name, err)
	}
	c.NotAfter = c.Cert.ApplyT(notAfter).(pulumi.StringOutput)
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"cert": c.Cert, "key": c.Key, "ca": c.CA, "notAfter": c.NotAfter})
}

func (c *Certificate) issue(ctx *pulumi.Context, name string, args *Args) error {
	key, err := newKey(ctx, name+"-key", args, pulumi.Parent(c))
	if err != nil {
		return err
	}
	request, err := tls.NewCertRequest(ctx, name+"-request", &tls.CertRequestArgs{
		PrivateKeyPem: key.PrivateKeyPem,
		Subject:       &tls.CertRequestSubjectArgs{CommonName: pulumi.String(args.DNSNames[0])},
		DnsNames:      pulumi.ToStringArray(args.DNSNames),
		IpAddresses:   pulumi.ToStringArray(args.IPAddresses),
	}, pulumi.Parent(c))
	if err != nil {
		return err
	}
	c.Key = key.PrivateKeyPem
	if args.CA == CACluster {
		return c.signOnControlPlane(ctx, name, args, request)
	}
	ca, err := newAuthority(ctx, name, args, c)
	if err != nil {
		return err
	}
	leaf, err := tls.NewLocallySignedCert(ctx, name+"-cert", &tls.LocallySignedCertArgs{
		CertRequestPem:      request.CertRequestPem,
		CaCertPem:           ca.cert,
		CaPrivateKeyPem:     ca.key,
		AllowedUses:         pulumi.ToStringArray([]string{"digital_signature", "key_encipherment", "server_auth"}),
		ValidityPeriodHours: pulumi.Int(args.ValidityDays * hoursPerDay),
		EarlyRenewalHours:   pulumi.Int(earlyRenewalHours(args.ValidityDays)),
	}, pulumi.Parent(c))
	if err != nil {
		return err
	}
	c.Cert, c.CA = leaf.CertPem, ca.cert
	return nil
}

func newKey(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*tls.PrivateKey, error) {
	key := &tls.PrivateKeyArgs{Algorithm: pulumi.String("ECDSA"), EcdsaCurve: pulumi.String("P256")}
	if args.Algorithm == "RSA" {
		key = &tls.PrivateKeyArgs{Algorithm: pulumi.String("RSA"), RsaBits: pulumi.Int(args.RSABits)}
	}
	return tls.NewPrivateKey(ctx, name, key, opts...)
}

func earlyRenewalHours(validityDays int) int {
	return min(earlyRenewalDays*hoursPerDay, validityDays*hoursPerDay/3)
}
