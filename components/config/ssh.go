package config

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
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
	c.checkUser(p.child("user"), s.User)
	for _, l := range c.logins() {
		c.checkLogin(l.place, l.login)
	}
	c.checkAgent(ctx)
	if !c.given(p, &s.Login) && !c.everyNodeHasLogin() {
		c.bad(p.child("privateKey"), "is missing; %s, or set password likewise, or write agent: true", setSecret(p.child("privateKey"), "<key"))
	}
	s.Bastion = orNone(s.Bastion)
	c.checkBastion(p.child("bastion"), s.Bastion)
}

func (c *checker) checkUser(at *place, user string) {
	if !loginName.MatchString(user) {
		c.bad(at, "%s is not a user name; write the one to log in with, for instance user: root", show(user))
	}
}

// placedLogin is a login where it stands in the stack's settings: the keys of the login are its place's children.
type placedLogin struct {
	place *place
	login *Login
}

// logins lists all logins that the stack may give.
func (c *checker) logins() []placedLogin {
	var all []placedLogin
	add := func(p *place, l *Login, b *Bastion) {
		all = append(all, placedLogin{p, l})
		if b != nil {
			all = append(all, placedLogin{p.child("bastion"), &b.Login})
		}
	}
	add(c.root.child("ssh"), &c.cfg.SSH.Login, c.cfg.SSH.Bastion)
	for i := range c.cfg.Nodes {
		n := &c.cfg.Nodes[i]
		add(c.root.child("nodes").item(i), &n.Login, n.Bastion)
	}
	return all
}

// given says whether there is a login at a place, be it a wrong one.
func (c *checker) given(p *place, l *Login) bool {
	return l.PrivateKey != "" || l.Password != "" || l.Agent ||
		c.mistakes.has(p.child("privateKey")) || c.mistakes.has(p.child("password")) || c.mistakes.has(p.child("agent"))
}

func (c *checker) everyNodeHasLogin() bool {
	for i := range c.cfg.Nodes {
		if !c.given(c.root.child("nodes").item(i), &c.cfg.Nodes[i].Login) {
			return false
		}
	}
	return len(c.cfg.Nodes) > 0
}

func (c *checker) checkLogin(p *place, l *Login) {
	passphrase := p.child("passphrase")
	switch {
	case l.PrivateKey != "" && l.Agent:
		c.bad(p.child("agent"), "is true although privateKey is set, and an agent is no fallback for a key; keep one of them")
	case l.PrivateKey != "":
		c.checkPrivateKey(p, l)
	case l.Passphrase != "" && !c.mistakes.has(p.child("privateKey")):
		c.bad(passphrase, "is set without a privateKey beside it; %s, or take it out with: %s",
			setSecret(p.child("privateKey"), "<key"), unset(passphrase))
	}
	if strings.ContainsAny(l.Password, "\r\n\x00") {
		c.bad(p.child("password"), "holds a line break; %s", setSecret(p.child("password")))
	}
}

// checkPrivateKey checks a key and writes it in one way, so that two operators' copies are one value: with the same line ends,
// and without its passphrase, which may differ.
func (c *checker) checkPrivateKey(p *place, l *Login) {
	at, passphrase := p.child("privateKey"), p.child("passphrase")
	text := strings.TrimSpace(strings.ReplaceAll(l.PrivateKey, "\r\n", "\n")) + "\n"
	_, err := ssh.ParseRawPrivateKey([]byte(text))
	_, locked := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case locked && l.Passphrase == "":
		c.bad(passphrase, "is missing, and privateKey is protected by one; %s", setSecret(passphrase))
	case locked:
		c.openPrivateKey(p, l, text)
	case err != nil:
		c.bad(at, "is not a private key in OpenSSH or PEM form; %s", setSecret(at, "<key"))
	case l.Passphrase != "":
		c.bad(passphrase, "is set, and privateKey is not protected by one; take it out with: %s", unset(passphrase))
	default:
		l.PrivateKey = text
	}
}

func (c *checker) openPrivateKey(p *place, l *Login, text string) {
	at, passphrase := p.child("privateKey"), p.child("passphrase")
	key, err := ssh.ParseRawPrivateKeyWithPassphrase([]byte(text), []byte(l.Passphrase))
	if errors.Is(err, x509.IncorrectPasswordError) {
		c.bad(passphrase, "does not open privateKey; %s", setSecret(passphrase))
		return
	}
	if pointer, ok := key.(*ed25519.PrivateKey); ok {
		key = *pointer
	}
	// Not in OpenSSH's form, which has a random number in it: another value each time.
	der, unknown := x509.MarshalPKCS8PrivateKey(key)
	if err != nil || unknown != nil {
		c.bad(at, "is protected in a way that cannot be read here; protect it anew with ssh-keygen -p -Z aes256-ctr, and %s", setSecret(at, "<key"))
		return
	}
	l.PrivateKey, l.Passphrase = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), ""
}

// checkAgent checks the agent of $SSH_AUTH_SOCK, at the first place that asks for one. A dead one is a mistake even where none
// does: the command provider connects to it first and fails.
func (c *checker) checkAgent(ctx context.Context) {
	at, wanted := c.root.child("ssh").child("agent"), false
	for _, l := range c.logins() {
		if l.login.Agent && !c.mistakes.has(l.place.child("agent")) {
			at, wanted = l.place.child("agent"), true
			break
		}
	}
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
		remedy := "unset SSH_AUTH_SOCK: it stops every connection, also with a privateKey or a password"
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

// setSecret is the remedy for a secret that is missing or wrong.
func setSecret(at *place, from ...string) string {
	return strings.Join(append([]string{"set it with: pulumi config set --secret --path", at.argument()}, from...), " ")
}

// unset is the command that takes a value out.
func unset(at *place) string { return "pulumi config rm --path " + at.argument() }
