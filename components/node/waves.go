package node

import (
	"slices"
	"strconv"
	"strings"
)

// Rollout says in which order nodes are switched.
type Rollout struct {
	// Names are all nodes.
	Names []string
	// Canary are the nodes that go first.
	Canary []string
	// Batch is how many go at once after them: a number, or a percentage of all nodes.
	Batch string
	// ControlPlane are the nodes that go one at a time after the batches.
	ControlPlane []string
	// Last is the registry's node: its restart is the one that could touch the registry itself.
	Last string
}

// Waves returns the nodes' names in the order of their switch. Within it nodes go by name, so that another order in the config
// is no change.
func (r Rollout) Waves() [][]string {
	var canary, workers, controlPlane []string
	for _, name := range slices.Sorted(slices.Values(r.Names)) {
		switch {
		case name == r.Last:
		case slices.Contains(r.Canary, name):
			canary = append(canary, name)
		case slices.Contains(r.ControlPlane, name):
			controlPlane = append(controlPlane, name)
		default:
			workers = append(workers, name)
		}
	}
	waves := [][]string{canary}
	waves = slices.AppendSeq(waves, slices.Chunk(workers, r.size()))
	waves = slices.AppendSeq(waves, slices.Chunk(controlPlane, 1))
	waves = append(waves, []string{r.Last})
	return slices.DeleteFunc(waves, func(wave []string) bool { return len(wave) == 0 })
}

// size is the length of a batch: a percentage is rounded down, as Kubernetes does with maxUnavailable, but never to nothing.
func (r Rollout) size() int {
	text, percent := strings.CutSuffix(r.Batch, "%")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 1
	}
	if percent {
		n = n * len(r.Names) / 100 //nolint:mnd // per cent
	}
	return max(1, n)
}

// String is the order as a preview shows it: "worker1 | worker2, worker3 | master1".
func (r Rollout) String() string {
	waves := r.Waves()
	texts := make([]string, len(waves))
	for i, wave := range waves {
		texts[i] = strings.Join(wave, ", ")
	}
	return strings.Join(texts, " | ")
}
