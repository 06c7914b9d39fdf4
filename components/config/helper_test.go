package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"
)

var update = flag.Bool("update", false, "write the golden files and the README's table anew")

var today = time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)

// words are what $name stands for in a test's stack file: values that are made for the test, since keys have no place in a repository.
type words map[string]string

// secrets are the words that no message may show any part of.
func (w words) secrets() []string {
	var all []string
	for name, value := range w {
		if strings.HasSuffix(name, "Key") || strings.HasPrefix(name, "kubeconfig") || strings.HasPrefix(name, "pass") {
			for line := range strings.Lines(value) {
				if line = strings.TrimSpace(line); len(line) >= 12 && !strings.HasPrefix(line, "-----") && !strings.HasSuffix(line, ":") {
					all = append(all, line)
				}
			}
		}
	}
	return all
}

func newWords(t *testing.T) words {
	t.Helper()
	caKey, otherKey := newECKey(t), newECKey(t)
	certOf := func(change func(*x509.Certificate)) string {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.AddDate(5, 0, 0),
		}
		change(cert)
		der, err := x509.CreateCertificate(rand.Reader, cert, cert, caKey.Public(), caKey)
		require.NoError(t, err)
		return encode("CERTIFICATE", der)
	}
	w := words{
		"sshKey":        newSSHKey(t, ""),
		"lockedKey":     newSSHKey(t, passphrase),
		"passphrase":    passphrase,
		"caKey":         encodeKey(t, caKey),
		"otherKey":      encodeKey(t, otherKey),
		"lockedCAKey":   encode("ENCRYPTED PRIVATE KEY", []byte("what only the passphrase opens")),
		"caCert":        certOf(func(*x509.Certificate) {}),
		"expiredCACert": certOf(func(c *x509.Certificate) { c.NotAfter = today.AddDate(0, 0, -1) }),
		"futureCACert":  certOf(func(c *x509.Certificate) { c.NotBefore = today.AddDate(0, 0, 1) }),
		"leafCert":      certOf(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 }),
		"passwordOne":   "Abcd123456!?",
		"passwordTwo":   "Efgh654321!?",
		"passwordLong":  strings.Repeat("long-secret.", 7),
		"passwordLines": "hidden-secret\n",
		"kubeconfig":    kubeconfigText,
		"hostKey1":      newHostKey(t), "hostKey2": newHostKey(t), "hostKey3": newHostKey(t),
		"ecdsaHostKey": hostKeyOf(t, caKey.Public()),
	}
	opened, err := ssh.ParseRawPrivateKeyWithPassphrase([]byte(w["lockedKey"]), []byte(passphrase))
	require.NoError(t, err)
	w["openedKey"] = encodeKey(t, *opened.(*ed25519.PrivateKey))
	w["twoCACerts"] = w["caCert"] + w["expiredCACert"]
	w["combined"] = w["caKey"] + w["caCert"]
	w["knownHost"] = "10.0.0.12 " + w["hostKey2"]
	w["twoHostKeys"] = w["hostKey1"] + "\n" + w["hostKey2"]
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	w["rsaHostKey1"] = hostKeyOf(t, rsaKey.Public())
	return w
}

const passphrase = "open-sesame-please"

const kubeconfigText = `apiVersion: v1
kind: Config
current-context: admin@lab
contexts:
- name: admin@lab
  context: {cluster: lab, user: admin}
- name: admin@other
  context: {cluster: other, user: admin}
- name: broken
  context: {cluster: gone, user: admin}
clusters:
- name: lab
  cluster: {server: "https://10.0.0.11:6443", certificate-authority-data: bGFi}
- name: other
  cluster: {server: "https://10.1.0.11:6443", certificate-authority-data: b3RoZXI=}
users:
- name: admin
  user: {token: top-secret-token}
`

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newSSHKey(t *testing.T, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

func newHostKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return hostKeyOf(t, public)
}

func hostKeyOf(t *testing.T, public any) string {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func encodeKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return encode("PRIVATE KEY", der)
}

// stackFile reads a stack file into what the engine hands a program: text for scalars, JSON for maps and lists.
func stackFile(t *testing.T, file string, w words) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var stack struct {
		Config map[string]any `yaml:"config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &stack))
	engine := map[string]string{}
	for key, value := range stack.Config {
		value = w.fill(t, value)
		if s, ok := value.(string); ok {
			engine[key] = s
			continue
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		require.NoError(t, e.Encode(value))
		engine[key] = strings.TrimSpace(b.String())
	}
	all, err := json.Marshal(engine)
	require.NoError(t, err)
	return settings(func(key string) (string, bool) { v, ok := engine[key]; return v, ok }, string(all))
}

// fill puts the words in for their names.
func (w words) fill(t *testing.T, value any) any {
	t.Helper()
	switch value := value.(type) {
	case string:
		name, ok := strings.CutPrefix(value, "$")
		if !ok {
			return value
		}
		require.Contains(t, w, name)
		return w[name]
	case map[string]any:
		for key := range value {
			value[key] = w.fill(t, value[key])
		}
	case []any:
		for i := range value {
			value[i] = w.fill(t, value[i])
		}
	}
	return value
}

// workshop is an operator's machine: a project with an image archive, a home without a kubeconfig, and the given variables.
func workshop(t *testing.T, variables map[string]string) environment {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "registry.tar"), nil, 0o600))
	return environment{
		project: "berth", stack: "dev", root: dir,
		getenv: func(name string) string { return variables[name] },
		home:   func() (string, error) { return "/nonexistent", nil },
		now:    today,
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run with -update")
	require.Equal(t, string(want), got)
}
