package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"berth/internal/graphtest"
)

func registryOf(c stack) map[string]any { return c["registry"].(map[string]any) }

func TestAliasesReachEverything(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { registryOf(c)["aliases"] = []string{"images.example.com"} })
	var names []string
	for _, name := range g.Get("certificate-request").Input("dnsNames").ArrayValue() {
		names = append(names, name.StringValue())
	}
	assert.Equal(t, []string{"images.example.com", "Yuan.com"}, names)
	assert.Contains(t, g.Get("registry-pull-berth-registry").Input("stringData", ".dockerconfigjson").StringValue(), `"images.example.com:30443":`)
	for _, name := range []string{"master1", "worker1", "worker2"} {
		base := g.Get("node-" + name + "-base")
		assert.Contains(t, base.Input("stdin").StringValue(), "NAMES='images.example.com Yuan.com'\n")
		assert.Contains(t, base.Input("create").StringValue(), "apply base images.example.com Yuan.com port 30443")
		assert.Contains(t, g.Get("node-"+name+"-containerd").Input("stdin").StringValue(), "REGISTRY_HOST='Yuan.com'\n", "one name is enough to fetch")
		assert.Equal(t, []string{"Yuan.com/berth/verify", "images.example.com/berth/verify"}, verified(g, name), "every name is proved on every node")
	}
	assert.Equal(t, []string{"Yuan.com/berth/verify"}, verified(up(t, nil), "worker1"))
}

// verified are the repositories that a node's verification pulls from.
func verified(g *graphtest.Graph, name string) []string {
	var images []string
	for _, container := range g.Get("node-"+name+"-verify").Input("spec", "template", "spec", "containers").ArrayValue() {
		image, _, _ := strings.Cut(container.ObjectValue()["image"].StringValue(), ":")
		images = append(images, image)
	}
	return images
}

// TestHostAndAliasChangePlaces is what makes a rename without a failed pull: what serves and what leads to it stays as it is.
func TestHostAndAliasChangePlaces(t *testing.T) {
	t.Parallel()
	nodes, key := []any{}, any(nil)
	before := up(t, func(c stack) {
		registryOf(c)["aliases"] = []string{"images.example.com"}
		nodes, key = c["nodes"].([]any), c["ssh"]
	})
	after := up(t, func(c stack) {
		registryOf(c)["host"], registryOf(c)["aliases"] = "images.example.com", []string{"Yuan.com"}
		c["nodes"], c["ssh"] = nodes, key
	})
	var changed []string
	for _, r := range before.All() {
		if !r.Inputs.DeepEquals(after.Get(r.Name).Inputs) {
			changed = append(changed, r.Name)
		}
	}
	slices.Sort(changed)
	assert.Equal(t, []string{
		"node-master1-containerd", "node-master1-verify", "node-worker1-containerd", "node-worker1-verify", "node-worker2-containerd",
		"node-worker2-verify", "publication-prune", "publication-push",
	}, changed, "no certificate, no registry, no secret, no hosts entry and no mapping: only the name that containerd is fetched by, and the proof")
}

func TestAnotherMachineIsProvedAnew(t *testing.T) {
	t.Parallel()
	nodes, key := []any{}, any(nil)
	before := up(t, func(c stack) { nodes, key = c["nodes"].([]any), c["ssh"] })
	after := up(t, func(c stack) {
		other := nodeConfig(t, "worker1", 99)
		c["nodes"], c["ssh"] = []any{nodes[0], other, nodes[2]}, key
	})
	for name, want := range map[string]bool{"master1": true, "worker1": false, "worker2": true} {
		same := before.Get("node-" + name + "-verify").Inputs.DeepEquals(after.Get("node-" + name + "-verify").Inputs)
		assert.Equal(t, want, same, name)
	}
	anchor := after.Get("node-worker1-anchor")
	assert.Equal(t, "10.0.0.99", anchor.Input("connection", "host").StringValue())
	assert.Equal(t, before.Get("node-worker1-anchor").Input("delete"), anchor.Input("delete"), "an update in place, with nothing removed on its way")
}

// TestRenamedNode: the new name is another node; the old one's removal, with its own token, comes after it and finds the machine taken.
func TestRenamedNode(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { c["nodes"].([]any)[1].(map[string]any)["name"] = "renamed1" })
	assert.NotContains(t, g.Names(), "node-worker1-anchor")
	assert.Contains(t, g.Get("node-renamed1-anchor").Input("stdin").StringValue(), "OWNER='test/renamed1'\n")
	assert.Contains(t, g.Get("node-renamed1-base").Input("stdin").StringValue(), "OWNER='test/renamed1'\n")
}
