package config

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// kubernetesOf runs the kubeconfig's checks alone.
func kubernetesOf(t *testing.T, given Kubernetes, env environment) (Kubernetes, error) {
	t.Helper()
	c := &checker{cfg: &Config{Kubernetes: given}, env: env, root: root()}
	c.checkKubernetes(c.root.child("kubernetes"))
	return c.cfg.Kubernetes, c.mistakes.err("the stack")
}

func TestDefaultKubeconfig(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(home, ".kube", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	write("ca.crt", "the CA")
	write("client.key", "the key")
	main := write("config", strings.NewReplacer(
		"certificate-authority-data: bGFi", "certificate-authority: ca.crt",
		"token: top-secret-token", "client-key: client.key, client-certificate: gone.crt, client-certificate-data: Z2l2ZW4=, "+
			"tokenFile: token, exec: {command: bin/login, args: [x]}",
	).Replace(kubeconfigText))
	bare := write("bare", "clusters: []\n")
	lost := write("lost", strings.ReplaceAll(kubeconfigText, "token: top-secret-token", "client-key: nowhere.key"))
	at := func(kubeconfig string) environment {
		env := workshop(t, map[string]string{"KUBECONFIG": kubeconfig})
		env.home = func() (string, error) { return home, nil }
		return env
	}

	t.Run("cut down to the context, with its files", func(t *testing.T) {
		t.Parallel()
		got, err := kubernetesOf(t, Kubernetes{}, at(""))
		require.NoError(t, err)
		assert.Equal(t, "admin@lab", got.Context)
		var k map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(got.Kubeconfig), &k))
		assert.Equal(t, map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": "admin@lab",
			"contexts": []any{map[string]any{"name": "admin@lab", "context": map[string]any{"cluster": "lab", "user": "admin"}}},
			"clusters": []any{map[string]any{"name": "lab", "cluster": map[string]any{
				"server": "https://10.0.0.11:6443", "certificate-authority-data": base64.StdEncoding.EncodeToString([]byte("the CA")),
			}}},
			"users": []any{map[string]any{"name": "admin", "user": map[string]any{
				"client-key-data": base64.StdEncoding.EncodeToString([]byte("the key")), "client-certificate-data": "Z2l2ZW4=",
				"tokenFile": filepath.Join(home, ".kube", "token"),
				"exec":      map[string]any{"command": filepath.Join(home, ".kube", "bin", "login"), "args": []any{"x"}},
			}}},
		}, k)
		again, err := kubernetesOf(t, Kubernetes{Context: "admin@lab"}, at(main))
		require.NoError(t, err)
		assert.Equal(t, got, again, "the variable names the same file")
	})
	t.Run("the default is only a default", func(t *testing.T) {
		t.Parallel()
		got, err := kubernetesOf(t, Kubernetes{Kubeconfig: kubeconfigText, Context: "admin@other"}, at(bare))
		require.NoError(t, err)
		assert.Equal(t, Kubernetes{Kubeconfig: kubeconfigText, Context: "admin@other"}, got)
	})
	for name, c := range map[string]struct{ variable, message string }{
		"two files":     {"/a" + string(filepath.ListSeparator) + "/b", "is not set, and $KUBECONFIG names 2 files; make them one with: kubectl config view"},
		"no kubeconfig": {bare, `is not set, and "` + bare + `" is not a kubeconfig`},
		"a lost file":   {lost, `names the file "nowhere.key", which cannot be read; set it with: `},
		"no file":       {"/nonexistent/config", `is not set, and "/nonexistent/config" cannot be read; point $KUBECONFIG to a file, or set it with: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := kubernetesOf(t, Kubernetes{}, at(c.variable))
			require.ErrorContains(t, err, "1 mistake in the stack:\n  berth:kubernetes.kubeconfig: ")
			assert.ErrorContains(t, err, c.message)
		})
	}
}

// sshOf runs the checks of the SSH settings alone.
func sshOf(t *testing.T, given SSH, socket string) (SSH, error) {
	t.Helper()
	given.User = "root"
	c := &checker{cfg: &Config{SSH: given}, env: workshop(t, map[string]string{"SSH_AUTH_SOCK": socket}), root: root()}
	c.checkSSH(t.Context(), c.root.child("ssh"))
	return c.cfg.SSH, c.mistakes.err("the stack")
}

// socketDir is a folder whose name is short enough for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth") //nolint:usetesting // t.TempDir has the test's name in it, and sockets take 108 bytes
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// serveAgent runs an SSH agent that holds a number of keys.
func serveAgent(t *testing.T, keys int) string {
	t.Helper()
	ring := agent.NewKeyring()
	for range keys {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	}
	socket := filepath.Join(socketDir(t), "agent")
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func TestAgent(t *testing.T) {
	t.Parallel()
	key := newSSHKey(t, "")
	dead := filepath.Join(socketDir(t), "agent")
	one, none := serveAgent(t, 1), serveAgent(t, 0)
	for name, c := range map[string]struct {
		given           Login
		socket, message string
	}{
		"an agent with a key":          {Login{Agent: true}, one, ""},
		"an agent without a key":       {Login{Agent: true}, none, `holds no key; run ssh-add, or set privateKey`},
		"a dead agent":                 {Login{Agent: true}, dead, `start an agent (eval "$(ssh-agent)"; ssh-add), or set privateKey and unset SSH_AUTH_SOCK`},
		"a key beside a live agent":    {Login{PrivateKey: key}, none, ""},
		"a key beside a dead agent":    {Login{PrivateKey: key}, dead, "unset SSH_AUTH_SOCK: it stops every connection, also with a privateKey"},
		"a key, and no agent anywhere": {Login{PrivateKey: key}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sshOf(t, SSH{Login: c.given}, c.socket)
			if c.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "1 mistake in the stack:\n  berth:ssh.agent: ")
			require.ErrorContains(t, err, c.message)
		})
	}
}

func TestPrivateKeyIsOneValue(t *testing.T) {
	t.Parallel()
	key := newSSHKey(t, "")
	for _, spelling := range []string{key, strings.TrimSpace(key), key + "\n\n", strings.ReplaceAll(key, "\n", "\r\n"), " " + key} {
		got, err := sshOf(t, SSH{Login: Login{PrivateKey: spelling}}, "")
		require.NoError(t, err)
		assert.Equal(t, key, got.PrivateKey)
	}
}

// TestPassphraseIsNoPartOfTheKey holds that two operators who protect one key in their own ways have one value.
func TestPassphraseIsNoPartOfTheKey(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, key := range map[string]crypto.Signer{"ed25519": edKey, "ecdsa": newECKey(t), "rsa": rsaKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opened []string
			for _, passphrase := range []string{"one", "another"} {
				block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
				require.NoError(t, err)
				got, err := sshOf(t, SSH{Login: Login{PrivateKey: string(pem.EncodeToMemory(block)), Passphrase: passphrase}}, "")
				require.NoError(t, err)
				assert.Empty(t, got.Passphrase)
				opened = append(opened, got.PrivateKey)
			}
			assert.Equal(t, opened[0], opened[1])
			signer, err := ssh.ParsePrivateKey([]byte(opened[0]))
			require.NoError(t, err)
			public, err := ssh.NewPublicKey(key.Public())
			require.NoError(t, err)
			assert.Equal(t, public.Marshal(), signer.PublicKey().Marshal())
		})
	}
}

func TestSecretsInPlainTextAreTold(t *testing.T) {
	t.Parallel()
	var told []string
	env := workshop(t, nil)
	env.given = func(at *place) { told = append(told, at.text+" of "+at.group()) }
	w := newWords(t)
	_, err := parse(t.Context(), stackFile(t, "testdata/good/own-ca.yaml", w), env, rules)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"berth:registry.password of berth:registry", "berth:certificate.caKey of berth:certificate",
		"berth:kubernetes.kubeconfig of berth:kubernetes", "berth:ssh.privateKey of berth:ssh",
	}, told)
	told = nil
	_, err = parse(t.Context(), stackFile(t, "testdata/good/connections.yaml", w), env, rules)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"berth:ssh.privateKey of berth:ssh", "berth:ssh.passphrase of berth:ssh",
		"berth:nodes[1].password of berth:nodes", "berth:nodes[2].privateKey of berth:nodes", "berth:nodes[2].bastion.password of berth:nodes",
	}, told[2:])
}
