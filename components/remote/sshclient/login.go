package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"berth/components/remote/target"
)

// hostKeyTypes are the accepted kinds of host keys.
var hostKeyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
}

// clientConfig also returns what is to be called after the handshake.
func clientConfig(ctx context.Context, to target.Target) (*ssh.ClientConfig, func(), error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(to.HostKey))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the host key: %w", err)
	}
	if !slices.Contains(hostKeyTypes, hostKey.Type()) {
		return nil, nil, fmt.Errorf("host key is of type %s; use the ed25519 or ecdsa key", hostKey.Type())
	}
	methods, done, err := authMethods(ctx, to)
	if err != nil {
		return nil, nil, err
	}
	return &ssh.ClientConfig{
		User:              to.User,
		Auth:              methods,
		HostKeyCallback:   ssh.FixedHostKey(hostKey),
		HostKeyAlgorithms: []string{hostKey.Type()},
	}, done, nil
}

// authMethods offers what the command provider offers, in its order: key, password, and the agent, which counts where there is no key.
func authMethods(ctx context.Context, to target.Target) ([]ssh.AuthMethod, func(), error) {
	var methods []ssh.AuthMethod
	done := func() {}
	if to.PrivateKey != "" {
		signer, err := ssh.ParsePrivateKey([]byte(to.PrivateKey))
		if err != nil {
			// The error's text is left out: it is about the key's content.
			return nil, nil, errors.New("the private key is neither in PEM nor in OpenSSH form, or has a passphrase")
		}
		methods = append(methods, ssh.PublicKeys(signer))
	}
	if to.Password != "" {
		methods = append(methods, ssh.Password(to.Password), ssh.KeyboardInteractive(answer(to.Password)))
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if to.PrivateKey == "" && socket != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, nil, fmt.Errorf("connecting to the SSH agent: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		done = func() { stop(); _ = conn.Close() }
		methods = append(methods, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	if len(methods) == 0 {
		return nil, nil, errors.New("neither a private key nor a password is given and no SSH agent runs (SSH_AUTH_SOCK is empty)")
	}
	return methods, done, nil
}

// answer gives the password to every question that a server asks: some ask for it in this way alone.
func answer(password string) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, _ []bool) ([]string, error) {
		return slices.Repeat([]string{password}, len(questions)), nil
	}
}
