package node

import (
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	berthremote "berth/components/remote"
	"berth/scripts"
)

// PortRangeArgs is what the step at an API server needs.
type PortRangeArgs struct {
	// Servers is how many control-plane nodes the stack has: where the cluster has more API servers, none is changed.
	Servers int
	// Finding is what a look at the node found.
	Finding Finding
	// After is what must be done first, and is undone last: the anchors of all nodes, since what one of them refuses must be known
	// before an API server is changed, and the API servers before this one.
	After []pulumi.Resource
}

// WidenPortRange has the API server of this node take NodePorts from 443 on. Unlike other steps it has a deletion of its own: an API
// server goes back after what needs the port, and before the next one, neither of which an anchor knows. The anchor's removal does
// the same where the step was killed before it was in the state.
func (n *Node) WidenPortRange(ctx *pulumi.Context, args *PortRangeArgs) (pulumi.Resource, error) {
	stdin, err := scripts.Stdin(scripts.PortRange, []scripts.Var{
		{Name: "OWNER", Value: n.args.Owner},
		{Name: "SERVERS", Value: strconv.Itoa(args.Servers)},
	})
	if err != nil {
		return nil, fmt.Errorf("rendering the port range of node %s: %w", n.args.Name, err)
	}
	step, err := berthremote.NewCommand(ctx, n.name+"-port-range", &berthremote.CommandArgs{
		Connection: n.args.Connection,
		Run:        "apply port-range from 443 on, which restarts the API server",
		Repair:     args.Finding.repair(stepPortRange),
		Delete:     "remove",
		Stdin:      pulumi.String(stdin),
	}, n.options(pulumi.DependsOn(append([]pulumi.Resource{n.anchor}, args.After...)))...)
	if err != nil {
		return nil, fmt.Errorf("describing the port range of node %s: %w", n.args.Name, err)
	}
	return step, nil
}
