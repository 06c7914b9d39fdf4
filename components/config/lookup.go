package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Node returns the node of that name.
func (c *Config) Node(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// ActiveNodes returns the nodes that are not retired, in the stack's order.
func (c *Config) ActiveNodes() []Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n Node) bool { return n.Retired })
}

// RegistryNode returns the node whose disk keeps the images.
func (c *Config) RegistryNode() Node {
	n, _ := c.Node(c.Registry.Node)
	return n
}

// SigningNode returns the node that signs when the CA is the cluster's own, else the zero Node.
func (c *Config) SigningNode() Node {
	n, _ := c.Node(c.Certificate.SigningNode)
	return n
}

// HostsIP returns the address that a node's hosts entry gives the registry, or "" where there is to be no entry.
func (c *Config) HostsIP(n Node) string {
	switch {
	case !c.Registry.HostsEntry:
		return ""
	case c.Registry.Address != "":
		return c.Registry.Address
	default:
		return n.InternalIP
	}
}

// Names returns all names of the registry. Their order does not tell which of them is the host: where an alias and the host change
// places, nothing that depends on the names alone is touched.
func (r *Registry) Names() []string {
	names := append([]string{r.Host}, r.Aliases...)
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	})
	return names
}

// DNSNames returns the DNS names that config asks the certificate for, the registry's own first. A change of places of host and alias
// changes no certificate, then.
func (c *Config) DNSNames() []string {
	names := c.Registry.Names()
	for _, name := range c.Certificate.DNSNames {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	return names
}

// IPAddresses returns the addresses that the certificate is to name: the virtual IP or else the registry's node, then the additional ones.
func (c *Config) IPAddresses() []string {
	first := c.Registry.Address
	if first == "" {
		first = c.RegistryNode().InternalIP
	}
	addresses := []string{first}
	for _, text := range c.Certificate.IPAddresses {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue // Load has refused it
		}
		if a := ip.Unmap().String(); !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return addresses
}
