package config

// orNone makes nothing of an empty map.
func orNone(b *Bastion) *Bastion {
	if b == nil || *b == (Bastion{}) {
		return nil
	}
	return b
}

// checkBastion checks a bastion, and lends it the user, and the key or the agent, of ssh. A password of the nodes is no business of it.
func (c *checker) checkBastion(p *place, b *Bastion) {
	if b == nil {
		return
	}
	s := &c.cfg.SSH
	if b.User == "" {
		b.User = s.User
	} else {
		c.checkUser(p.child("user"), b.User)
	}
	if b.Address != "" {
		c.checkDialled(p.child("address"), b.Address)
	}
	if b.HostKey != "" {
		c.checkHostKey(p.child("hostKey"), &b.HostKey, "bastion")
	}
	if c.given(p, &b.Login) {
		return
	}
	b.PrivateKey, b.Agent = s.PrivateKey, s.Agent
	lender, key := c.root.child("ssh"), p.child("privateKey")
	if b.PrivateKey == "" && !b.Agent && !c.mistakes.has(lender.child("privateKey")) && !c.mistakes.has(lender.child("agent")) {
		c.bad(key, "is missing, and ssh has neither a key nor the agent to lend; %s, or set password likewise, or write agent: true",
			setSecret(key, "<key"))
	}
}

// inherit gives a node the login and the bastion of ssh where it has none of its own.
func (c *checker) inherit(p *place, n *Node) {
	if !c.given(p, &n.Login) {
		n.Login = c.cfg.SSH.Login
	}
	if n.Bastion == nil {
		n.Bastion = c.cfg.SSH.Bastion
	} else {
		n.Bastion = orNone(n.Bastion)
		c.checkBastion(p.child("bastion"), n.Bastion)
	}
	if b := n.Bastion; b != nil && n.Address != "" && endpoint(b.Address, b.Port) == endpoint(n.Address, n.Port) {
		c.bad(p.child("bastion"), "%s is the node itself; write bastion: {} on the node to dial it directly", show(b.Address))
	}
}
