package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKeyTypes are the host keys that can be pinned.
var hostKeyTypes = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521}

func (c *checker) checkNodes(p *place) {
	nodes := c.cfg.Nodes
	if len(nodes) == 0 {
		c.bad(p, "lists no node; write nodes: [{name: worker1, address: 10.0.0.12, hostKey: ssh-ed25519 AAAA…}]")
		return
	}
	if len(c.cfg.ActiveNodes()) == 0 {
		c.bad(p, "lists retired nodes alone; add a node that is in service, or run: pulumi destroy")
	}
	for i := range nodes {
		c.checkNode(p.item(i), i)
	}
}

func (c *checker) checkNode(p *place, i int) {
	n := &c.cfg.Nodes[i]
	if n.Name != "" {
		if !isNodeName(n.Name) {
			c.bad(p.child("name"), "%s is not the name of a Kubernetes Node; write it as kubectl get nodes shows it", show(n.Name))
		} else if first := c.indexOf(i, func(o *Node) bool { return o.Name == n.Name }); first >= 0 {
			c.bad(p.child("name"), "%s is also the name of nodes[%d]; write another", show(n.Name), first)
		}
	}
	c.checkAddress(p.child("address"), i)
	c.checkInternalIP(p, i)
	if n.HostKey != "" {
		c.checkHostKey(p.child("hostKey"), &n.HostKey, "node")
	}
	if n.ContainerdVersion != c.cfg.Containerd.Version {
		c.checkVersion(p.child("containerdVersion"), n.ContainerdVersion)
	}
	if n.User != c.cfg.SSH.User {
		c.checkUser(p.child("user"), n.User)
	}
	c.inherit(p, n)
}

// indexOf finds an earlier node that meets a condition.
func (c *checker) indexOf(before int, is func(*Node) bool) int {
	for i := range before {
		if is(&c.cfg.Nodes[i]) {
			return i
		}
	}
	return -1
}

func (c *checker) checkAddress(at *place, i int) {
	n := &c.cfg.Nodes[i]
	if n.Address == "" {
		return // said when it was decoded
	}
	if !c.checkDialled(at, n.Address) {
		return
	}
	// A retired node's successor may well have its address.
	first := c.indexOf(i, func(o *Node) bool {
		return !o.Retired && !n.Retired && endpoint(o.Address, o.Port) == endpoint(n.Address, n.Port)
	})
	if first >= 0 {
		c.bad(at, "%s is also the address of nodes[%d]; write this node's own, or another port", show(n.Address), first)
	}
}

// checkDialled checks what SSH is to dial.
func (c *checker) checkDialled(at *place, address string) bool {
	if isIP(address) || isDNSName(address) {
		return true
	}
	c.bad(at, "%s is neither an IP address nor a DNS name; write what ssh dials, for instance address: 10.0.0.12%s",
		show(address), portHint(address))
	return false
}

// portHint tells where a port belongs that was written behind an address.
func portHint(address string) string {
	_, text, err := net.SplitHostPort(address)
	if port, bad := strconv.Atoi(text); err == nil && bad == nil {
		return ", and port: " + strconv.Itoa(port)
	}
	return ""
}

// endpoint is what SSH dials, in one spelling.
func endpoint(address string, port int) string {
	host := strings.ToLower(address)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func (c *checker) checkInternalIP(p *place, i int) {
	n := &c.cfg.Nodes[i]
	at, address := p.child("internalIP"), p.child("address")
	const remedy = "write the node's InternalIP, as kubectl get nodes -o wide shows it"
	switch {
	case n.Address == "" || c.mistakes.has(address): // then it may be fine, once the address is
		return
	case n.InternalIP == "":
		c.bad(at, "is missing, and the address %s is not one that the node has for the cluster; %s", show(n.Address), remedy)
		return
	case !isNodeIP(n.InternalIP):
		c.bad(at, "%s is not the IP address of a node; %s", show(n.InternalIP), remedy)
		return
	}
	first := c.indexOf(i, func(o *Node) bool { return !o.Retired && !n.Retired && o.InternalIP == n.InternalIP })
	if first >= 0 {
		c.bad(at, "%s is also the InternalIP of nodes[%d]; %s", show(n.InternalIP), first, remedy)
	}
}

// checkHostKey checks a host key and reduces it to type and key: a comment that changes must not re-run anything.
func (c *checker) checkHostKey(at *place, hostKey *string, machine string) {
	remedy := "write the line of /etc/ssh/ssh_host_ed25519_key.pub on the " + machine
	line := strings.TrimSpace(*hostKey)
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case containsKey(line):
		c.bad(at, "is a private key; take it out of the file and out of the history, and %s", remedy)
	case err != nil:
		c.bad(at, "is not a public SSH key; %s", remedy)
	case len(options) > 0:
		c.bad(at, "has something before the key's type, as known_hosts has the host's name; leave that out: hostKey: %s AAAA…", key.Type())
	case strings.TrimSpace(string(rest)) != "" || strings.ContainsAny(line, "\r\n"):
		c.bad(at, "is more than one line; keep one key: %s", remedy)
	case strings.HasPrefix(key.Type(), "ssh-rsa"):
		c.bad(at, "is an RSA key: pinned, it asks the %s for an SHA-1 signature, which sshd refuses today; %s", machine, remedy)
	case !slices.Contains(hostKeyTypes, key.Type()):
		c.bad(at, "is a key of type %s, and ed25519 or ecdsa is needed; %s", show(key.Type()), remedy)
	default:
		*hostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	}
}
