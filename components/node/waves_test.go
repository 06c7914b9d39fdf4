package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRollout(t *testing.T) {
	t.Parallel()
	many := []string{"w8", "w7", "w6", "w5", "w4", "w3", "w2", "w1", "m1", "m2", "m3", "store"}
	for name, test := range map[string]struct {
		rollout Rollout
		want    string
	}{
		"one node": {Rollout{Names: []string{"m1"}, Batch: "25%", Last: "m1"}, "m1"},
		"a percentage of all nodes": {
			Rollout{Names: many, Batch: "25%", Last: "store"},
			"m1, m2, m3 | w1, w2, w3 | w4, w5, w6 | w7, w8 | store",
		},
		"canaries first, control plane one at a time": {
			Rollout{Names: many, Canary: []string{"w5"}, Batch: "4", ControlPlane: []string{"m1", "m2", "m3"}, Last: "store"},
			"w5 | w1, w2, w3, w4 | w6, w7, w8 | m1 | m2 | m3 | store",
		},
		"a percentage is rounded down": {
			Rollout{Names: many, Batch: "24%", Last: "store"},
			"m1, m2 | m3, w1 | w2, w3 | w4, w5 | w6, w7 | w8 | store",
		},
		"but never to nothing": {
			Rollout{Names: []string{"a", "b", "c"}, Batch: "1%", Last: "a"}, "b | c | a",
		},
		"everything at once": {
			Rollout{Names: many, Batch: "100%", ControlPlane: []string{"m1"}, Last: "store"},
			"m2, m3, w1, w2, w3, w4, w5, w6, w7, w8 | m1 | store",
		},
		"the registry's node is last even in the control plane": {
			Rollout{Names: []string{"m1", "m2", "w1"}, Batch: "1", ControlPlane: []string{"m1", "m2"}, Last: "m1"}, "w1 | m2 | m1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, test.rollout.String())
		})
	}
}
