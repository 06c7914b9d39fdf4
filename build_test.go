package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/containerd"
	"berth/components/containerd/release"
	"berth/internal/graphtest"
)

func buildOn(c stack, place string) { c["containerd"].(map[string]any)["buildOn"] = place }

// ordered is what a build is asked for.
func ordered(t *testing.T, r graphtest.Resource) release.BuildRequest {
	t.Helper()
	var request release.BuildRequest
	require.NoError(t, json.Unmarshal([]byte(r.Input("stdin").StringValue()), &request))
	return request
}

func TestANodeBuilds(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) {
		everyWayIn(t, c)
		buildOn(c, "worker1")
		c["nodes"].([]any)[2].(map[string]any)["arch"] = "arm64"
	})
	place := g.Get("containerd-on-worker1")
	assert.True(t, place.DependsOn("node-worker1-anchor"), "nothing is built on a machine that was not looked at")
	assert.Equal(t, "prepare worker1 to build containerd", place.Input("create").StringValue())
	assert.Equal(t, "remove what building containerd left on worker1", place.Input("delete").StringValue())
	for _, arch := range []string{"amd64", "arm64"} {
		built := g.Get("containerd-1.7.36-" + arch + "-on-worker1")
		assert.True(t, built.DependsOn("containerd-on-worker1"))
		assert.Equal(t, "build containerd 1.7.36+berth.1 linux/"+arch+" on worker1", built.Input("create").StringValue())
		assert.False(t, built.Inputs.HasValue("delete"))
		on := ordered(t, built).On
		require.NotNil(t, on)
		assert.Equal(t, "worker1 amd64 test", on.Name+" "+on.Arch+" "+on.Stack, "the node's own architecture, whatever it builds")
		assert.Equal(t, "worker-words jump", on.SSH.Password+" "+on.SSH.Bastion.User, "it is reached as its steps reach it")
		assert.False(t, on.Own)
		assert.True(t, g.Get("containerd-1.7.36-"+arch).DependsOn(built.Name))
	}
	var request containerd.PublishRequest
	require.NoError(t, json.Unmarshal([]byte(g.Get("publication-push").Input("stdin").StringValue()), &request))
	for _, artifact := range request.Artifacts {
		require.NotNil(t, artifact.On, "what registry and cache lost is built there, too")
		assert.Equal(t, "worker1", artifact.On.Name)
	}
	for _, r := range g.OfType("command:local:Command") {
		assertNotPlain(t, r)
		for _, line := range []string{r.Input("create").String(), r.Input("delete").String()} {
			assert.NotContains(t, line, "words")
		}
		if strings.HasSuffix(r.Name, "-on-worker1") {
			assert.True(t, r.Inputs["stdin"].IsSecret())
			assert.Subset(t, r.Request.GetAdditionalSecretOutputs(), []string{"stdin", "stdout", "stderr"})
		}
	}
}

// TestWhereItIsBuiltIsNoChange: no node, and not even the digest, depends on the place or on the way to it.
func TestWhereItIsBuiltIsNoChange(t *testing.T) {
	t.Parallel()
	var nodes []any
	var key any
	before := up(t, func(c stack) { nodes, key = slices.Clone(c["nodes"].([]any)), c["ssh"] })
	for _, place := range []string{"worker1", "each"} {
		after := up(t, func(c stack) {
			c["nodes"], c["ssh"] = nodes, key
			buildOn(c, place)
		})
		for _, r := range before.All() {
			if r.Name != "publication-push" {
				assert.True(t, r.Inputs.DeepEquals(after.Get(r.Name).Inputs), "%s with %s", r.Name, place)
			}
		}
		reversed := slices.Clone(nodes)
		slices.Reverse(reversed)
		backward := up(t, func(c stack) {
			c["nodes"], c["ssh"] = reversed, key
			buildOn(c, place)
		})
		for _, r := range after.OfType("command:local:Command") {
			assert.True(t, r.Inputs.DeepEquals(backward.Get(r.Name).Inputs), "%s, nodes in another order", r.Name)
		}
	}
}

func TestEachNodeBuildsItsOwn(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) {
		buildOn(c, "each")
		c["nodes"].([]any)[1].(map[string]any)["containerdVersion"] = "1.6.38"
		c["nodes"] = append(c["nodes"].([]any), nodeConfig(t, "worker3", 14))
		c["nodes"].([]any)[3].(map[string]any)["retired"] = true
	})
	var builds []string
	for _, r := range g.OfType("command:local:Command") {
		if strings.Contains(r.Name, "-on-") && r.Name != "containerd-on-"+strings.Split(r.Name, "-on-")[1] {
			builds = append(builds, r.Name)
			assert.True(t, ordered(t, r).On.Own, "it builds also what another has built")
			assert.True(t, g.Get(strings.Split(r.Name, "-on-")[0]).DependsOn(r.Name), "and all agree before any node takes it")
		}
	}
	slices.Sort(builds)
	assert.Equal(t, []string{
		"containerd-1.6.38-amd64-on-worker1", "containerd-1.7.36-amd64-on-master1", "containerd-1.7.36-amd64-on-worker2",
	}, builds)
	assert.NotContains(t, g.Names(), "containerd-on-worker3", "a retired node is not dialled")
}

func TestNobodyBuildsForThePackagedContainerd(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) {
		c["access"] = map[string]any{"mode": "mirror"}
		buildOn(c, "worker1")
	})
	for _, name := range g.Names() {
		assert.NotContains(t, name, "-on-worker1")
	}
}
