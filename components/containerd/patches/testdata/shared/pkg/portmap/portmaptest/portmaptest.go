// Package portmaptest shows where registry requests go: which of them reach a registry behind the mapping, and with
// which name, and which are made as ever.
package portmaptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/pkg/portmap"
	"github.com/opencontainers/go-digest"
	"golang.org/x/net/dns/dnsmessage"
)

const (
	// First and Second are the mapped names.
	First, Second = "yuan.test", "second.test"
	// User and Password are what the repository "basic" asks for.
	User, Password = "user", "password"
	// address is where every name resolves to; nothing listens on its port 443.
	address = "127.83.21.7"
	// deadProxy is refused, which shows that a proxy was asked.
	deadProxy = "http://" + address + ":1"
)

// Modes are the proxy settings. The standard library reads them once per process, so each has one of its own.
var Modes = map[string][]string{
	"no proxy":    nil,
	"HTTPS_PROXY": {"HTTPS_PROXY=" + deadProxy, "HTTP_PROXY=" + deadProxy},
	"NO_PROXY":    {"HTTPS_PROXY=" + deadProxy, "HTTP_PROXY=" + deadProxy, "NO_PROXY=.test"},
}

// Lab is the registry with what stands around it.
type Lab struct {
	// Mode is a key of Modes.
	Mode string
	// Port is the registry's; CAFile is the path of the certificate that signs it.
	Port, CAFile string

	mu   sync.Mutex
	seen []Request
}

// Request is what the registry saw.
type Request struct{ Method, Host, ServerName, Path string }

// Run calls f in a process of its own for each mode.
func Run(t *testing.T, f func(*testing.T, *Lab)) {
	if mode := os.Getenv("PORTMAP_TEST_MODE"); mode != "" {
		f(t, start(t, mode, os.Getenv("PORTMAP_TEST_DIR")))
		return
	}
	dir := t.TempDir()
	writeCertificate(t, dir)
	for mode, env := range Modes {
		mode, env := mode, env
		t.Run(mode, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$", "-test.v", "-test.count=1")
			for _, entry := range os.Environ() {
				if !strings.Contains(strings.ToUpper(entry), "_PROXY=") {
					cmd.Env = append(cmd.Env, entry)
				}
			}
			cmd.Env = append(cmd.Env, env...)
			cmd.Env = append(cmd.Env, "PORTMAP_TEST_MODE="+mode, "PORTMAP_TEST_DIR="+dir,
				"SSL_CERT_FILE="+filepath.Join(dir, "ca.crt"), "SSL_CERT_DIR="+filepath.Join(dir, "none"))
			output, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(output), "cell ") {
				t.Errorf("%v\n%s", err, output)
			}
			for _, line := range strings.Split(string(output), "\n") {
				if i := strings.Index(line, "cell "); i >= 0 {
					t.Log(line[i:])
				}
			}
		})
	}
}

func writeCertificate(t *testing.T, dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{First, Second},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt": {Type: "CERTIFICATE", Bytes: der}, "ca.key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func start(t *testing.T, mode, dir string) *Lab {
	lab := &Lab{Mode: mode, CAFile: filepath.Join(dir, "ca.crt")}
	certificate, err := tls.LoadX509KeyPair(lab.CAFile, filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(lab)
	server.Listener.Close()
	if server.Listener, err = net.Listen("tcp", address+":0"); err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	if _, lab.Port, err = net.SplitHostPort(server.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	mapping := filepath.Join(t.TempDir(), "ports")
	text := fmt.Sprintf("Yuan.test %s\n%s %s\n", lab.Port, Second, lab.Port)
	if err := os.WriteFile(mapping, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	portmap.File = mapping
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: resolve}
	return lab
}

// resolve is a name server within a connection: every name has the one address.
func resolve(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		// Without packets a message comes with its length before it.
		head := make([]byte, 2)
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		query := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(server, query); err != nil {
			return
		}
		var message dnsmessage.Message
		if err := message.Unpack(query); err != nil {
			return
		}
		message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
		if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
			var a [4]byte
			copy(a[:], net.ParseIP(address).To4())
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: a},
			}}
		}
		answer, err := message.Pack()
		if err != nil {
			return
		}
		server.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...))
	}()
	return client, nil
}

// Blob is the content of every blob, Manifest that of every manifest.
const (
	Blob     = "blob"
	Manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`
)

// ServeHTTP is a registry whose repositories are named after what they ask of a client.
func (l *Lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.seen = append(l.seen, Request{r.Method, r.Host, r.TLS.ServerName, r.URL.Path})
	l.mu.Unlock()
	user, password, _ := r.BasicAuth()
	path := r.URL.Path
	switch {
	case path == "/token":
		fmt.Fprint(w, `{"token":"a-token","access_token":"a-token"}`)
	case strings.HasPrefix(path, "/v2/basic/") && (user != User || password != Password):
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasPrefix(path, "/v2/token/") && r.Header.Get("Authorization") != "Bearer a-token":
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+Second+`/token",service="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasPrefix(path, "/v2/same/blobs/"):
		http.Redirect(w, r, "https://"+r.Host+"/data", http.StatusTemporaryRedirect)
	case strings.HasPrefix(path, "/v2/second/blobs/"):
		http.Redirect(w, r, "https://"+Second+"/data", http.StatusTemporaryRedirect)
	case strings.HasPrefix(path, "/v2/away/blobs/"):
		http.Redirect(w, r, "https://other.test/data", http.StatusTemporaryRedirect)
	case strings.HasPrefix(path, "/v2/push/blobs/uploads/") && r.Method == http.MethodPost:
		w.Header().Set("Location", "https://"+r.Host+"/v2/push/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut:
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Docker-Content-Digest", r.URL.Query().Get("digest"))
		w.WriteHeader(http.StatusCreated)
	case strings.HasPrefix(path, "/v2/push/blobs/"):
		w.WriteHeader(http.StatusNotFound)
	case strings.Contains(path, "/manifests/"):
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digest.FromString(Manifest).String())
		w.Header().Set("Content-Length", fmt.Sprint(len(Manifest)))
		fmt.Fprint(w, Manifest)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		fmt.Fprint(w, Blob)
	}
}

// Take returns what the registry has seen since the last call.
func (l *Lab) Take() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}
