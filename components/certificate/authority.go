package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/remote"
	"berth/scripts"
)

// Where kubeadm keeps the cluster's CA on a control-plane node.
const (
	clusterCACert = "/etc/kubernetes/pki/ca.crt"
	clusterCAKey  = "/etc/kubernetes/pki/ca.key"
)

var (
	errNotTwo = errors.New("the node did not answer with the certificate and its CA")
	errNoPEM  = errors.New("no certificate in PEM form")
)

// authority is a CA whose key the graph holds.
type authority struct {
	cert, key pulumi.StringOutput
}

func newAuthority(ctx *pulumi.Context, name string, args *Args, parent pulumi.Resource) (*authority, error) {
	if args.CA == CAPEM {
		return &authority{
			cert: pulumi.String(args.CACert).ToStringOutput(),
			key:  pulumi.ToSecret(pulumi.String(args.CAKey)).(pulumi.StringOutput),
		}, nil
	}
	// The key is a resource of its own, so that a renewed CA certificate is for the same key and both validate.
	key, err := newKey(ctx, name+"-ca-key", args, pulumi.Parent(parent))
	if err != nil {
		return nil, err
	}
	caDays := max(caValidityDays, 2*args.ValidityDays) //nolint:mnd // it must outlive what it signs
	cert, err := tls.NewSelfSignedCert(ctx, name+"-ca", &tls.SelfSignedCertArgs{
		PrivateKeyPem: key.PrivateKeyPem,
		// The name that it was born with: a registry that is renamed keeps its CA, and nodes their trust.
		Subject:             &tls.SelfSignedCertSubjectArgs{CommonName: pulumi.String("berth CA for " + args.DNSNames[0])},
		IsCaCertificate:     pulumi.Bool(true),
		SetSubjectKeyId:     pulumi.Bool(true),
		AllowedUses:         pulumi.ToStringArray([]string{"cert_signing", "crl_signing"}),
		ValidityPeriodHours: pulumi.Int(caDays * hoursPerDay),
		EarlyRenewalHours:   pulumi.Int((args.ValidityDays + earlyRenewalDays) * hoursPerDay),
	}, pulumi.Parent(parent), pulumi.IgnoreChanges([]string{"subject"}))
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert.CertPem, key: key.PrivateKeyPem}, nil
}

// signOnControlPlane sends the request to a node that holds the cluster's CA key and takes the certificate back:
// the key would make its holder cluster-admin, so it stays where it is.
func (c *Certificate) signOnControlPlane(ctx *pulumi.Context, name string, args *Args, request *tls.CertRequest) error {
	stdin := request.CertRequestPem.ApplyT(func(csr string) (string, error) {
		return scripts.Stdin(scripts.SignCSR, []scripts.Var{
			{Name: "CSR_PEM", Value: csr},
			{Name: "DAYS", Value: strconv.Itoa(args.ValidityDays)},
			{Name: "SANS", Value: subjectAltNames(args.DNSNames, args.IPAddresses)},
			{Name: "GENERATION", Value: strconv.Itoa(args.Generation)},
			{Name: "CA_CERT", Value: clusterCACert},
			{Name: "CA_KEY", Value: clusterCAKey},
		})
	}).(pulumi.StringOutput)
	signed, err := remote.NewCommand(ctx, name+"-sign", &remote.CommandArgs{
		Connection: args.Signer,
		Run:        fmt.Sprintf("sign %s generation %d", args.DNSNames[0], args.Generation),
		Stdin:      stdin,
	}, pulumi.Parent(c), pulumi.DependsOn(args.After))
	if err != nil {
		return err
	}
	chain := signed.Stdout.ApplyT(splitChain).(pulumi.StringArrayOutput)
	c.Cert = chain.Index(pulumi.Int(0))
	c.CA = chain.Index(pulumi.Int(1))
	return nil
}

func subjectAltNames(dnsNames, ipAddresses []string) string {
	names := make([]string, 0, len(dnsNames)+len(ipAddresses))
	for _, n := range dnsNames {
		names = append(names, "DNS:"+n)
	}
	for _, ip := range ipAddresses {
		names = append(names, "IP:"+ip)
	}
	return strings.Join(names, ",")
}

// splitChain takes the leaf and the CA out of what the signing node printed.
func splitChain(text string) ([]string, error) {
	var certs []string
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		certs = append(certs, string(pem.EncodeToMemory(block)))
	}
	if len(certs) != 2 { //nolint:mnd // leaf and CA
		return nil, fmt.Errorf("reading the signed certificate: %w", errNotTwo)
	}
	return certs, nil
}

func notAfter(certPEM string) (string, error) {
	block, _ := pem.Decode([]byte(certPEM))
	if block == nil {
		return "", fmt.Errorf("reading the certificate's validity: %w", errNoPEM)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("reading the certificate's validity: %w", err)
	}
	return cert.NotAfter.UTC().Format(time.RFC3339), nil
}
