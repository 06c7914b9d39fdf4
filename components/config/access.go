package config

import "slices"

// checkAccess checks what a mode of access needs. Settings for another mode may stand there, so that a change of the mode is one key.
func (c *checker) checkAccess(p *place) {
	a := &c.cfg.Access
	if c.mistakes.has(p.child("mode")) {
		return
	}
	if a.Mode == ModeClusterIP && !c.cfg.Registry.HostsEntry {
		c.bad(c.root.child("registry").child("hostsEntry"),
			"is false, and access.mode: cluster-ip leads the name to its address by that entry; take it out")
	}
	isControlPlane := func(n Node) bool { return n.ControlPlane }
	if a.Mode == ModePortRange && len(c.cfg.Nodes) > 0 && !slices.ContainsFunc(c.cfg.ActiveNodes(), isControlPlane) {
		c.bad(p.child("mode"), "is port-range, which changes the API server of every control-plane node, and no node of berth:nodes is one; "+
			"list them with controlPlane: true, or write another mode where the control plane is managed by others")
	}
	at := p.child("clusterIP")
	const remedy = "write a free one of the cluster's Service range, for instance clusterIP: 10.96.0.43"
	if a.ClusterIP == "" {
		if a.Mode == ModeClusterIP {
			c.bad(at, "is missing, and mode: cluster-ip needs it; %s", remedy)
		}
		return
	}
	ip, ok := nodeIP(a.ClusterIP)
	first := slices.IndexFunc(c.cfg.Nodes, func(n Node) bool { return n.InternalIP == ip || n.Address == ip })
	switch {
	case !ok:
		c.bad(at, "%s is not an IP address that a Service could have; %s", show(a.ClusterIP), remedy)
		return
	case first >= 0:
		c.bad(at, "%s is the address of nodes[%d]; %s", show(a.ClusterIP), first, remedy)
	case ip == c.cfg.Registry.Address:
		c.bad(at, "%s is also registry.address; %s", show(a.ClusterIP), remedy)
	}
	a.ClusterIP = ip
}
