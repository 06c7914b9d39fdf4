package main

import (
	"fmt"
	"slices"
	"strings"
)

// figures.
const (
	firstApply = "first-apply"
	noChange   = "no-change"
	oneOfN     = "one-of-n"
	outage     = "outage"
	// Suffixes of a figure: what the operator's machine sent, and for how many seconds processors were busy, on the nodes and there.
	bytesOf      = " bytes"
	busyNodes    = " nodes"
	busyOperator = " operator"
)

// plainTool is nobody: a restart by hand.
const plainTool = "plain"

// limits are what berth may take of the better peer's time, or of a plain restart.
var limits = []struct {
	figure string
	limit  float64
}{{firstApply, 0.35}, {noChange, 0.4}, {oneOfN, 0.35}, {outage, 1.5}}

// result holds all that was measured on one number of nodes.
type result struct {
	nodes   int
	figures map[string]map[string][]float64 // by tool and figure, one per round
}

func (r *result) add(tool, figure string, value float64) {
	if r.figures[tool] == nil {
		r.figures[tool] = map[string][]float64{}
	}
	r.figures[tool][figure] = append(r.figures[tool][figure], value)
}

// median of all rounds.
func (r *result) median(tool, figure string) float64 {
	values := slices.Sorted(slices.Values(r.figures[tool][figure]))
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// peer is what berth is compared with: the better of the two Ansibles, figure by figure, and a restart by hand for the outage.
func (r *result) peer(figure string) float64 {
	if figure == outage {
		return r.median(plainTool, outage)
	}
	return min(r.median(ansibleTool, figure), r.median(mitogenTool, figure))
}

// ratios are the lines "ratio NAME NODES VALUE LIMIT ok|over".
func (r *result) ratios() []string {
	var list []string
	for _, l := range limits {
		value, verdict := r.median(berthTool, l.figure)/r.peer(l.figure), "ok"
		if value > l.limit {
			verdict = "over"
		}
		list = append(list, fmt.Sprintf("ratio %s %d %.2f %.2f %s", l.figure, r.nodes, value, l.limit, verdict))
	}
	return list
}

// table has all medians. What is said of a node is of each: seconds of processors there and here, and bytes that left this machine.
func table(all []result) string {
	var b strings.Builder
	b.WriteString("| nodes | figure | berth | Ansible | with Mitogen | berth: a node costs | Ansible, the better: a node costs |\n" +
		"|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, figure := range []string{firstApply, noChange, oneOfN} {
			peer := ansibleTool
			if r.median(mitogenTool, figure) < r.median(ansibleTool, figure) {
				peer = mitogenTool
			}
			fmt.Fprintf(&b, "| %d | %s | %.2f s | %.2f s | %.2f s | %s | %s |\n", r.nodes, figure,
				r.median(berthTool, figure), r.median(ansibleTool, figure), r.median(mitogenTool, figure),
				r.costs(berthTool, figure), r.costs(peer, figure))
		}
		fmt.Fprintf(&b, "| %d | %s | %.3f s | %.3f s | %.3f s | plain restart: %.3f s | |\n", r.nodes, outage,
			r.median(berthTool, outage), r.median(ansibleTool, outage), r.median(mitogenTool, outage), r.median(plainTool, outage))
	}
	return b.String()
}

func (r *result) costs(tool, figure string) string {
	n := float64(r.nodes)
	return fmt.Sprintf("%.2f s, %.2f s busy there and %.2f s here, %.0f KB", r.median(tool, figure)/n,
		r.median(tool, figure+busyNodes)/n, r.median(tool, figure+busyOperator)/n, r.median(tool, figure+bytesOf)/n/1e3)
}
