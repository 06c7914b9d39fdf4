// Package target says how a node is reached over SSH. Programs hand it to one another as JSON; it stands on the standard
// library alone, so that those that only pass it on start fast.
package target

import (
	"net"
	"strconv"
)

// defaultPort is sshd's TCP port where none is given.
const defaultPort = 22

// Target is an SSH server and how to log in to it. Key and password are both offered where both are given; without a key the
// agent at SSH_AUTH_SOCK is asked, if there is one.
type Target struct {
	// Host is an IP address or a DNS name.
	Host string `json:"host"`
	// Port is 22 when it is 0.
	Port int `json:"port"`
	// User logs in; on a node, any other than root needs sudo without a password.
	User string `json:"user"`
	// PrivateKey is a PEM or OpenSSH private key without passphrase, a secret.
	PrivateKey string `json:"privateKey"`
	// Password is the user's, a secret.
	Password string `json:"password,omitempty"`
	// HostKey is the only accepted host key, as a line such as "ssh-ed25519 AAAA…" (ed25519 or ecdsa).
	HostKey string `json:"hostKey"`
	// Bastion is logged in to first, and the server reached from there; nil where it is dialled directly. A bastion has none itself.
	Bastion *Target `json:"bastion,omitempty"`
}

// Address is host and port as they are dialled.
func (t Target) Address() string {
	port := t.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(port))
}

// CommandLine is what the login shell gets: the script itself comes on stdin, the words behind the verb are for people.
func (t Target) CommandLine(verb string) string {
	if t.User == "root" {
		return "/bin/sh -s -- " + verb
	}
	return "sudo -n /bin/sh -s -- " + verb
}
