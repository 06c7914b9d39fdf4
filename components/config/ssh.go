package config

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentTimeout bounds how long an agent may take to answer.
const agentTimeout = 3 * time.Second

func (c *checker) checkSSH(ctx context.Context, p *place) {
	s := &c.cfg.SSH
	if !loginName.MatchString(s.User) {
		c.bad(p.child("user"), "%s is not a user name; write the one to log in with, for instance user: root", show(s.User))
	}
	const setKey = "set it with: pulumi config set --secret --path berth:ssh.privateKey <key"
	key, agentPlace := p.child("privateKey"), p.child("agent")
	switch {
	case s.PrivateKey != "" && s.Agent:
		c.bad(agentPlace, "is true although privateKey is set, and an agent is no fallback for a key; keep one of them")
	case s.PrivateKey != "":
		c.checkPrivateKey(key, setKey)
	case !s.Agent && !c.mistakes.has(agentPlace):
		c.bad(key, "is missing; %s, or write agent: true", setKey)
	}
	c.checkAgent(ctx, agentPlace)
}

// checkPrivateKey checks a key and writes its line ends in one way, so that two operators' copies are one value.
func (c *checker) checkPrivateKey(at *place, setKey string) {
	s := &c.cfg.SSH
	text := strings.TrimSpace(strings.ReplaceAll(s.PrivateKey, "\r\n", "\n")) + "\n"
	_, err := ssh.ParseRawPrivateKey([]byte(text))
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		c.bad(at, "is protected by a passphrase, which cannot be asked for; use a deploy key without one, or write agent: true")
	case err != nil:
		c.bad(at, "is not a private key in OpenSSH or PEM form; %s", setKey)
	default:
		s.PrivateKey = text
	}
}

// checkAgent checks the agent of $SSH_AUTH_SOCK. A dead one is a mistake even beside a private key: the command
// provider connects to it first and fails.
func (c *checker) checkAgent(ctx context.Context, at *place) {
	wanted := c.cfg.SSH.Agent
	socket := c.env.getenv("SSH_AUTH_SOCK")
	if socket == "" {
		if wanted {
			c.bad(at, "is true, but $SSH_AUTH_SOCK is not set; start an agent (eval \"$(ssh-agent)\"; ssh-add), or set privateKey")
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		remedy := "unset SSH_AUTH_SOCK: it stops every connection, also with a privateKey"
		if wanted {
			remedy = "start an agent (eval \"$(ssh-agent)\"; ssh-add), or set privateKey and unset SSH_AUTH_SOCK"
		}
		c.bad(at, "no agent answers at $SSH_AUTH_SOCK (%s); %s", show(socket), remedy)
		return
	}
	defer func() { _ = conn.Close() }()
	if !wanted {
		return // the provider connects, and no more
	}
	_ = conn.SetDeadline(time.Now().Add(agentTimeout)) // sockets take deadlines
	switch keys, err := agent.NewClient(conn).List(); {
	case err != nil:
		c.bad(at, "the agent at $SSH_AUTH_SOCK (%s) does not list its keys; unlock or restart it, or set privateKey", show(socket))
	case len(keys) == 0:
		c.bad(at, "the agent at $SSH_AUTH_SOCK (%s) holds no key; run ssh-add, or set privateKey", show(socket))
	}
}
