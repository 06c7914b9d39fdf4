package config

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"
)

func (c *checker) checkCertificate(p *place) {
	cert := &c.cfg.Certificate
	if !c.mistakes.has(p.child("ca")) {
		c.checkAuthority(p)
	}
	c.checkUnique(p.child("dnsNames"), cert.DNSNames, func(at *place, name string) {
		if !isDNSName(strings.TrimPrefix(name, "*.")) {
			c.bad(at, "%s is not a DNS name; write one, for instance registry.example.com, and IP addresses under ipAddresses", show(name))
		}
	})
	c.checkUnique(p.child("ipAddresses"), cert.IPAddresses, func(at *place, ip string) {
		if !isIP(ip) {
			c.bad(at, "%s is not an IP address; write one, for instance 10.0.0.12, and names under dnsNames", show(ip))
		}
	})
}

// checkAuthority checks what belongs to the kind of CA, and that nothing is set that belongs to another.
func (c *checker) checkAuthority(p *place) {
	cert := &c.cfg.Certificate
	if cert.CA == CAPEM {
		c.checkCA(p)
	} else {
		if cert.CACert != "" {
			c.bad(p.child("caCert"), "is used with ca: pem alone; write ca: pem, or take it out")
		}
		if cert.CAKey != "" {
			c.bad(p.child("caKey"), "is used with ca: pem alone; write ca: pem, or take it out with: "+
				"pulumi config rm --path berth:certificate.caKey")
		}
	}
	signer := p.child("signingNode")
	switch {
	case cert.CA == CACluster && cert.SigningNode == "":
		cert.SigningNode = c.cfg.Registry.Node // whose mistakes are reported at its own place
	case cert.CA == CACluster:
		c.checkNodeName(signer, cert.SigningNode)
	case cert.SigningNode != "":
		c.bad(signer, "is used with ca: cluster alone; write ca: cluster, or take it out")
	}
}

// checkCA checks a CA that is given as PEM: that it is one, is valid now, and that the key is its own.
func (c *checker) checkCA(p *place) {
	const setCert = "set it with: pulumi config set --path berth:certificate.caCert <ca.crt"
	const setKey = "set it with: pulumi config set --secret --path berth:certificate.caKey <ca.key"
	given := &c.cfg.Certificate
	cert := c.checkCACert(p.child("caCert"), setCert)
	at := p.child("caKey")
	if given.CAKey == "" {
		c.bad(at, "is missing, and ca: pem needs it; %s", setKey)
		return
	}
	block, rest := pem.Decode([]byte(given.CAKey))
	for block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam writes them in front of the key
		block, rest = pem.Decode(rest)
	}
	switch {
	case block == nil:
		c.bad(at, "is not in PEM form; %s", setKey)
		return
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		c.bad(at, "is encrypted with a passphrase; decrypt it (openssl pkey -in ca.key), then %s", setKey)
		return
	}
	key := parseKey(block.Bytes)
	if key == nil {
		c.bad(at, "is not a private key; %s", setKey)
		return
	}
	given.CAKey = string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	if cert == nil {
		return
	}
	if public, ok := key.Public().(interface {
		Equal(other crypto.PublicKey) bool
	}); !ok || !public.Equal(cert.PublicKey) {
		c.bad(at, "is not the key of caCert; set both from the same CA")
	}
}

// checkCACert returns the CA's certificate, or nil where it is of no use.
func (c *checker) checkCACert(at *place, set string) *x509.Certificate {
	given := &c.cfg.Certificate
	if given.CACert == "" {
		c.bad(at, "is missing, and ca: pem needs it; %s", set)
		return nil
	}
	block, rest := pem.Decode([]byte(given.CACert))
	if block == nil {
		c.bad(at, "is not in PEM form; %s", set)
		return nil
	}
	if block.Type != "CERTIFICATE" {
		c.bad(at, "is not a certificate; %s", set)
		return nil
	}
	if more, _ := pem.Decode(rest); more != nil {
		c.bad(at, "holds more than one certificate; keep the one that caKey signs for, and %s", set)
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.bad(at, "holds a broken certificate; %s", set)
		return nil
	}
	switch now := c.env.now; {
	case !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		c.bad(at, "is not the certificate of a CA (%s); %s", show(cert.Subject.String()), set)
	case now.After(cert.NotAfter):
		c.bad(at, "expired on %s; renew the CA, and %s", cert.NotAfter.UTC().Format(time.DateOnly), set)
	case now.Before(cert.NotBefore):
		c.bad(at, "is not valid before %s; check this machine's clock", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	given.CACert = string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	return cert
}

func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// containsKey says whether a text holds key material in PEM form.
func containsKey(text string) bool { return strings.Contains(text, "PRIVATE KEY") }
