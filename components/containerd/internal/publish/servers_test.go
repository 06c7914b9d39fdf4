package publish

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/crypto/ssh"

	"berth/components/remote/target"
)

const (
	registryHost = "Registry.Example"
	username     = "user"
	password     = "a-password-of-its-own"
)

// registryServer is a registry with TLS and basic authentication in memory, which records the requests it was sent.
type registryServer struct {
	*httptest.Server
	caPEM string

	mu       sync.Mutex
	requests []string
	// before may answer a request in the registry's place, and then returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(t *testing.T) *registryServer {
	t.Helper()
	server := &registryServer{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.mu.Lock()
		server.requests = append(server.requests, r.Method+" "+r.URL.Path)
		before := server.before
		server.mu.Unlock()
		if !strings.HasPrefix(r.Host, registryHost+":") || r.TLS == nil || r.TLS.ServerName != registryHost {
			t.Errorf("request for host %q with server name %q", r.Host, r.TLS.ServerName)
		}
		if user, given, _ := r.BasicAuth(); user != username || given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		if before == nil || !before(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	var certificate tls.Certificate
	certificate, server.caPEM = newCertificate(t)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func (s *registryServer) port() int { return s.Listener.Addr().(*net.TCPAddr).Port }

// take returns the requests since the last call that change something.
func (s *registryServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var writes []string
	for _, request := range s.requests {
		if !strings.HasPrefix(request, "GET ") && !strings.HasPrefix(request, "HEAD ") {
			writes = append(writes, request)
		}
	}
	s.requests = nil
	return writes
}

func (s *registryServer) intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func newCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{registryHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(encoded)
}

// sshServer forwards ports (direct-tcpip), and does nothing else.
type sshServer struct {
	listener net.Listener
	hostKey  string
	// clientKey is the private key that may log in, in OpenSSH form.
	clientKey string
	prohibit  bool

	mu      sync.Mutex
	targets []string
}

func newSSH(t *testing.T) *sshServer {
	t.Helper()
	hostPublic, hostPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clientPublic, clientPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(clientPrivate, "")
	if err != nil {
		t.Fatal(err)
	}
	server := &sshServer{hostKey: publicLine(t, hostPublic), clientKey: string(pem.EncodeToMemory(block))}
	allowed, err := ssh.NewPublicKey(clientPublic)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if bytes.Equal(key.Marshal(), allowed.Marshal()) {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("unknown key")
		},
	}
	signer, err := ssh.NewSignerFromKey(hostPrivate)
	if err != nil {
		t.Fatal(err)
	}
	config.AddHostKey(signer)
	server.listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.listener.Close() })
	go func() {
		for {
			conn, err := server.listener.Accept()
			if err != nil {
				return
			}
			go server.serve(conn, config)
		}
	}()
	return server
}

func publicLine(t *testing.T, key any) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(public))
}

func (s *sshServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// target reaches the server with the key that may log in.
func (s *sshServer) target() *target.Target {
	return &target.Target{Host: "127.0.0.1", Port: s.port(), User: "root", PrivateKey: s.clientKey, HostKey: s.hostKey}
}

func (s *sshServer) serve(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		_ = conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		go s.forward(channel)
	}
}

func (s *sshServer) forward(channel ssh.NewChannel) {
	var wanted struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if channel.ChannelType() != "direct-tcpip" || ssh.Unmarshal(channel.ExtraData(), &wanted) != nil {
		_ = channel.Reject(ssh.UnknownChannelType, "ports only")
		return
	}
	if s.prohibit {
		_ = channel.Reject(ssh.Prohibited, "open failed")
		return
	}
	address := net.JoinHostPort(wanted.Host, strconv.FormatUint(uint64(wanted.Port), 10))
	s.mu.Lock()
	s.targets = append(s.targets, address)
	s.mu.Unlock()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	stream, requests, err := channel.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(stream, conn)
		_ = stream.Close()
	}()
	_, _ = io.Copy(conn, stream)
	_ = conn.Close()
}
