package node

import (
	"maps"
	"slices"
)

// Waves orders the switch of containerd: the registry's node is last, since its restart is the one that could touch the registry itself.
// Nodes go by name within a wave, so that another order in the config is no change.
func Waves(nodes map[string]*Node, registryNode string) [][]*Node {
	var others []*Node
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if name != registryNode {
			others = append(others, nodes[name])
		}
	}
	waves := [][]*Node{others, {nodes[registryNode]}}
	return slices.DeleteFunc(waves, func(wave []*Node) bool { return len(wave) == 0 })
}
