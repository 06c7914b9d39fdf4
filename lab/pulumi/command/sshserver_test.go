package command_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// sshServer is an SSH server that runs commands with /bin/sh on this machine and lends its files by sftp.
type sshServer struct {
	port        float64
	hostKey     string // as in authorized_keys
	userKey     string // PEM; the only one let in
	lockedKey   string // PEM; the same with the passphrase "open"
	wrongKey    string // PEM; not let in
	asks        bool   // takes the password as the answer to a question alone
	refuseEnv   bool   // as an sshd without AcceptEnv
	refuseFirst int    // connections to drop right away

	mu       sync.Mutex
	dials    int
	open     int
	commands []string
	stdins   []string
	env      []string
}

func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	return startSSHServer(t, ed25519Signer(t))
}

func newRSAServer(t *testing.T) *sshServer {
	t.Helper()
	return startSSHServer(t, modernRSASigner(t))
}

// newHesitantServer drops the first two connections.
func newHesitantServer(t *testing.T) *sshServer {
	t.Helper()
	s := newSSHServer(t)
	s.refuseFirst = 2
	return s
}

// newAskingServer takes the password as the answer to a question alone.
func newAskingServer(t *testing.T) *sshServer {
	t.Helper()
	s := newSSHServer(t)
	s.asks = true
	return s
}

func ed25519Signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return signer
}

// modernRSASigner signs with SHA-2 alone, as OpenSSH does since 8.8.
func modernRSASigner(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	algorithms := []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
	restricted, err := ssh.NewSignerWithAlgorithms(signer.(ssh.AlgorithmSigner), algorithms)
	require.NoError(t, err)
	return restricted
}

// newUserKey returns a key, the same with the passphrase "open", and its public half.
func newUserKey(t *testing.T) (string, string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("open"))
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), string(pem.EncodeToMemory(locked)), key
}

func startSSHServer(t *testing.T, host ssh.Signer) *sshServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	s := &sshServer{
		port:    float64(listener.Addr().(*net.TCPAddr).Port),
		hostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey())),
	}
	var allowed ssh.PublicKey
	s.userKey, s.lockedKey, allowed = newUserKey(t)
	s.wrongKey, _, _ = newUserKey(t)
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(key.Marshal(), allowed.Marshal()) {
				return nil, errors.New("unknown key")
			}
			return &ssh.Permissions{}, nil
		},
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if s.asks || string(password) != "right" {
				return nil, errors.New("wrong password")
			}
			return &ssh.Permissions{}, nil
		},
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || !slices.Equal(answers, []string{"right"}) {
				return nil, errors.New("wrong answer")
			}
			return &ssh.Permissions{}, nil
		},
	}
	config.AddHostKey(host)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.dials++
			refuse := s.dials <= s.refuseFirst
			s.mu.Unlock()
			if refuse {
				_ = conn.Close()
				continue
			}
			go s.serve(conn, config)
		}
	}()
	return s
}

// connection is the connection property that reaches the server.
func (s *sshServer) connection(more map[string]any) map[string]any {
	return with(map[string]any{
		"host": "127.0.0.1", "port": s.port, "privateKey": s.userKey, "hostKey": s.hostKey, "dialErrorLimit": 0.0,
	}, more)
}

func (s *sshServer) serve(tcp net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(tcp, config)
	if err != nil {
		return
	}
	s.count(func() { s.open++ })
	defer s.count(func() { s.open-- })
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		switch offered.ChannelType() {
		case "session":
			if channel, requests, err := offered.Accept(); err == nil {
				go s.session(channel, requests)
			}
		case "direct-tcpip":
			go forward(offered)
		default:
			_ = offered.Reject(ssh.UnknownChannelType, "")
		}
	}
	_ = conn.Close()
}

func (s *sshServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	environment := os.Environ()
	for req := range requests {
		switch req.Type {
		case "env":
			var pair struct{ Name, Value string }
			_ = ssh.Unmarshal(req.Payload, &pair)
			s.count(func() { s.env = append(s.env, pair.Name+"="+pair.Value) })
			environment = append(environment, pair.Name+"="+pair.Value)
			_ = req.Reply(!s.refuseEnv, nil)
		case "subsystem":
			_ = req.Reply(true, nil)
			if files, err := sftp.NewServer(channel); err == nil {
				_ = files.Serve()
			}
			return
		case "exec":
			var command struct{ Line string }
			_ = ssh.Unmarshal(req.Payload, &command)
			_ = req.Reply(true, nil)
			status := s.run(command.Line, environment, channel)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
			return
		default: // a pty, for one
			s.count(func() { s.commands = append(s.commands, req.Type) })
			_ = req.Reply(false, nil)
		}
	}
}

func (s *sshServer) run(line string, environment []string, channel ssh.Channel) int {
	var stdin bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env, cmd.Stdin = environment, io.TeeReader(channel, &stdin)
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	err := cmd.Run()
	s.count(func() {
		s.commands = append(s.commands, line)
		s.stdins = append(s.stdins, stdin.String())
	})
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func forward(offered ssh.NewChannel) {
	var target struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	_ = ssh.Unmarshal(offered.ExtraData(), &target)
	conn, err := net.Dial("tcp", net.JoinHostPort(target.Host, strconv.FormatUint(uint64(target.Port), 10)))
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	go func() { _, _ = io.Copy(channel, conn) }()
	_, _ = io.Copy(conn, channel)
}

func (s *sshServer) count(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// ran returns the command lines that the server was asked to run, in order.
func (s *sshServer) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

func (s *sshServer) dialled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}
