package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// problem shows what berth is for. A registry runs at :30443, with a certificate that the cluster's CA signed, and a node knows its
// address; it is a process on the host here, so that nothing of it stays anywhere.
func (s *suite) problem(t *testing.T) {
	s.needDown(t)
	n := s.node(t, "worker1")
	address := s.hostAddress(t)
	s.runRegistry(t, address)
	withHosts(t, n, address+" "+registryHost, func() {
		// By plain name the pull ends at port 443, where nobody is.
		plain := pod{name: unique("plain"), node: n.Name, image: registryHost + "/nginx:v1"}
		s.kube.create(t, plain)
		defer s.kube.remove(t, plain.name)
		withPort := pod{name: unique("port"), node: n.Name, image: fmt.Sprintf("%s:%d/nginx:v1", registryHost, firstPort)}
		s.kube.create(t, withPort)
		defer s.kube.remove(t, withPort.name)
		s.eventually(t, plain.name, address+":443: connect: connection refused")
		s.eventually(t, withPort.name, "x509: certificate signed by unknown authority")
	})
	s.sameFiles(t, s.clean)
}

// eventually waits for a word of the kubelet about a pod.
func (s *suite) eventually(t *testing.T, name, word string) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		events := s.kube.events(t, name)
		if strings.Contains(events, word) {
			return ""
		}
		return fmt.Sprintf("pod %s: no %q in\n%s", name, word, events)
	})
}

// hostAddress is the host's own address on the machines' network.
func (s *suite) hostAddress(t *testing.T) string {
	t.Helper()
	// Nothing is sent by this dial: it asks the routing table.
	c, err := net.Dial("udp", s.cluster.Nodes[0].Address+":9")
	check(t, err)
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

// runRegistry runs the real registry on the host until the test ends, and returns when it answers.
func (s *suite) runRegistry(t *testing.T, address string) {
	t.Helper()
	dir := t.TempDir()
	roots := s.serverCertificate(t, dir, address)
	listen := net.JoinHostPort(address, strconv.Itoa(firstPort))
	config := filepath.Join(dir, "config.yml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
storage: {filesystem: {rootdirectory: %[1]s/images}}
http: {addr: %[2]q, tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key}}
`, dir, listen), 0o600))
	cmd := exec.Command(filepath.Join(s.cluster.BinDir, "registry"), "serve", config)
	cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// The registry is in order, for whoever trusts its CA and knows its port.
	eventually(t, 20*time.Second, func() string {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: registryHost, MinVersion: tls.VersionTLS12}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := dialer.DialContext(ctx, "tcp", listen)
		if err != nil {
			return fmt.Sprintf("the registry: %v", err)
		}
		_ = c.Close()
		return ""
	})
}

// serverCertificate writes a certificate for the registry's name, signed by the cluster's CA as in the seed case.
func (s *suite) serverCertificate(t *testing.T, dir, address string) *x509.CertPool {
	t.Helper()
	pki := filepath.Join(s.node(t, "master1").Root(), "etc/kubernetes/pki")
	ca, err := tls.LoadX509KeyPair(filepath.Join(pki, "ca.crt"), filepath.Join(pki, "ca.key"))
	check(t, err)
	parent, err := x509.ParseCertificate(ca.Certificate[0])
	check(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: registryHost},
		DNSNames:     []string{registryHost},
		IPAddresses:  []net.IP{net.ParseIP(address)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, parent, &key.PublicKey, ca.PrivateKey)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der},
		"tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	pool := x509.NewCertPool()
	pool.AddCert(parent)
	return pool
}
