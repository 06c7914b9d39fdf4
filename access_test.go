package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"berth/internal/graphtest"
)

const serviceIP = "10.96.0.43"

func upIn(t *testing.T, mode string, edit func(stack)) *graphtest.Graph {
	t.Helper()
	return up(t, func(c stack) {
		c["access"] = map[string]any{"mode": mode, "clusterIP": serviceIP}
		if edit != nil {
			edit(c)
		}
	})
}

// A mode without a patched containerd needs none to be built or published, and has the same steps and proofs.
func TestModesKeepTheContainerdOfThePackage(t *testing.T) {
	t.Parallel()
	for mode, summary := range map[string]string{"mirror": "mode mirror to port 30443", "cluster-ip": "mode cluster-ip to " + serviceIP} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := upIn(t, mode, func(c stack) { delete(c, "containerd") })
			for _, name := range g.Names() {
				assert.False(t, strings.HasPrefix(name, "containerd-"), "%s is built", name)
			}
			publication := g.Get("publication-push")
			assert.Contains(t, publication.Input("create").StringValue(), "publish the verification image to Yuan.com")
			assert.Contains(t, publication.Input("stdin").StringValue(), `"artifacts":null`)
			for _, name := range []string{"master1", "worker1", "worker2"} {
				step := g.Get("node-" + name + "-containerd")
				assert.Equal(t, "/bin/sh -s -- apply containerd of the package, "+summary, step.Input("create").StringValue())
				assert.NotContains(t, step.Input("stdin").StringValue(), password, "this step needs no password")
				assert.Contains(t, step.Input("stdin").StringValue(), "MODE='"+mode+"'\n")
				assert.Contains(t, g.Get("node-"+name+"-base").Input("stdin").StringValue(), "MODE='"+mode+"'\n")
				assert.Contains(t, g.Get("node-"+name+"-anchor").Input("stdin").StringValue(), "VERSION=''\nALLOW='gpu'\n")
				assert.True(t, step.DependsOn("node-"+name+"-base"))
				assert.True(t, g.Get("node-"+name+"-verify").DependsOn("node-"+name+"-containerd"), "proved by the same pull")
			}
			assert.True(t, g.Get("node-master1-containerd").DependsOn("node-worker2-verify"), "in the same waves")
		})
	}
}

func TestOnlyClusterIPHasAServiceOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"patch", "mirror"} {
		assert.Len(t, upIn(t, mode, nil).OfType("kubernetes:core/v1:Service"), 1, mode)
	}
	g := upIn(t, "cluster-ip", nil)
	service := g.Get("access-service-10-96-0-43")
	assert.Equal(t, serviceIP, service.Input("spec", "clusterIP").StringValue())
	assert.Equal(t, "docker-registry-ip-10-96-0-43", service.Input("metadata", "name").StringValue(), "another address is another Service")
	assert.True(t, service.DependsOn("registry-service"))
	var ports []int
	for _, port := range service.Input("spec", "ports").ArrayValue() {
		ports = append(ports, int(port.ObjectValue()["port"].NumberValue()))
	}
	assert.Equal(t, []int{443, 30443}, ports, "nodes that still take another road are served, too")
	assert.Equal(t, g.Get("registry-deployment").Input("metadata", "labels"), service.Input("spec", "selector"))
	assert.True(t, g.Get("node-worker1-base").DependsOn("access-service-10-96-0-43"), "the name leads nowhere before it is served")
}

// A change of the mode must be an update of the same resources: what is deleted from the state would not be undone on the node, and what
// ran last must be in it when the change stops half way.
func TestAChangeOfModeKeepsTheResourcesOfNodes(t *testing.T) {
	t.Parallel()
	names := func(g *graphtest.Graph) []string {
		var all []string
		for _, r := range g.OfType("command:remote:Command") {
			all = append(all, r.Name)
		}
		return all
	}
	patched := upIn(t, "patch", nil)
	image := func(g *graphtest.Graph) string {
		return g.Get("node-worker1-verify").Input("spec", "template", "spec", "containers").ArrayValue()[0].ObjectValue()["image"].StringValue()
	}
	for _, mode := range []string{"mirror", "cluster-ip"} {
		g := upIn(t, mode, nil)
		assert.ElementsMatch(t, names(patched), names(g), mode)
		assert.NotEqual(t, image(patched), image(g), "another road is proved by another image")
	}
	assert.Equal(t, image(up(t, nil)), image(patched), "patch is the default")
}
