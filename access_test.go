package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"berth/components/node"
	"berth/internal/graphtest"
)

const serviceIP = "10.96.0.43"

func upIn(t *testing.T, mode string, edit func(stack)) *graphtest.Graph {
	t.Helper()
	return up(t, func(c stack) {
		c["access"] = map[string]any{"mode": mode, "clusterIP": serviceIP}
		for _, i := range []int{0, 2} {
			c["nodes"].([]any)[i].(map[string]any)["controlPlane"] = true
		}
		if edit != nil {
			edit(c)
		}
	})
}

// A mode without a patched containerd needs none to be built or published, and has the same steps and proofs.
func TestModesKeepTheContainerdOfThePackage(t *testing.T) {
	t.Parallel()
	for mode, summary := range map[string]string{
		"mirror": "mode mirror to port 30443", "cluster-ip": "mode cluster-ip to " + serviceIP, "port-range": "mode port-range to port 443",
	} {
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
				assert.Contains(t, g.Get("node-"+name+"-anchor").Input("stdin").StringValue(), "VERSION=''\n")
				assert.Contains(t, g.Get("node-"+name+"-anchor").Input("stdin").StringValue(), "ALLOW='gpu'\n")
				assert.True(t, step.DependsOn("node-"+name+"-base"))
				assert.True(t, g.Get("node-"+name+"-verify").DependsOn("node-"+name+"-containerd"), "proved by the same pull")
			}
			assert.True(t, g.Get("node-master1-containerd").DependsOn("node-worker2-verify"), "in the same waves")
		})
	}
}

func TestServicesOfModes(t *testing.T) {
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

// The API servers go one after the other, when no node refuses, and before anything in the cluster, which does not answer meanwhile. All
// that may be deleted together with these steps must depend on each of them directly: so the engine orders deletions.
func TestAPIServersGoFirstAndOneByOne(t *testing.T) {
	t.Parallel()
	g := upIn(t, "port-range", nil)
	nodes := []string{"master1", "worker1", "worker2"}
	steps := []string{"node-master1-port-range", "node-worker2-port-range"}
	for _, name := range steps {
		step := g.Get(name)
		for _, other := range nodes {
			assert.True(t, step.DependsOn("node-"+other+"-anchor"), "%s waits for all nodes", name)
		}
		assert.True(t, strings.HasSuffix(step.Input("delete").StringValue(), " remove"))
		assert.Contains(t, step.Input("stdin").StringValue(), "SERVERS='2'\n")
	}
	assert.NotContains(t, g.Names(), "node-worker1-port-range")
	assert.True(t, g.Get(steps[1]).DependsOn(steps[0]))
	for _, r := range g.All() {
		if !strings.HasPrefix(r.Type, "kubernetes:") {
			continue
		}
		for _, step := range steps {
			assert.True(t, r.DependsOn(step), "%s waits for %s", r.Name, step)
		}
	}
	told := g.Get("kubeadm-port-range")
	assert.True(t, told.DependsOn(steps[0]) && told.DependsOn(steps[1]), "kubeadm hears of it after the API servers, and forgets it before them")
	assert.Contains(t, told.Input("create").StringValue(), "widen ")
	assert.True(t, strings.HasPrefix(told.Input("delete").StringValue(), "restore "))
	assertNotPlain(t, told)
	assert.True(t, told.Inputs["stdin"].IsSecret())
	service := g.Get("access-service-443")
	assert.Equal(t, "NodePort", service.Input("spec", "type").StringValue())
	assert.InDelta(t, 443, service.Input("spec", "ports").ArrayValue()[0].ObjectValue()["nodePort"].NumberValue(), 0)
	assert.True(t, g.Get("node-worker1-base").DependsOn("access-service-443"))
	for name, api := range map[string]string{"master1": "yes", "worker1": "", "worker2": "yes"} {
		stdin := g.Get("node-" + name + "-anchor").Input("stdin").StringValue()
		assert.Contains(t, stdin, "API='"+api+"'\n")
		assert.Contains(t, stdin, "NODE_PORTS='30443 443'\n", "who has the port is asked before anything is changed")
	}
	assert.Contains(t, g.Get("node-worker1-containerd").Input("stdin").StringValue(), "ADDRESS='10.0.0.12'\n")
	dns := upIn(t, "port-range", func(c stack) { c["registry"].(map[string]any)["hostsEntry"] = false })
	assert.Contains(t, dns.Get("node-worker1-containerd").Input("stdin").StringValue(), "ADDRESS=''\n")
}

func TestALostPortRangeIsRepaired(t *testing.T) {
	t.Parallel()
	look := func(context.Context, []node.Target) func() map[string]node.Finding {
		return func() map[string]node.Finding {
			return map[string]node.Finding{"master1": {Applies: "3", Reasons: map[string][]string{"port-range": {"the NodePorts are not there"}}}}
		}
	}
	g := upAfter(t, look, func(c stack) {
		c["access"] = map[string]any{"mode": "port-range"}
		c["nodes"].([]any)[0].(map[string]any)["controlPlane"] = true
	})
	assert.True(t, strings.HasSuffix(g.Get("node-master1-port-range").Input("update").StringValue(),
		" apply port-range # repair after 3: the NodePorts are not there"))
	assert.False(t, g.Get("node-master1-containerd").Inputs.HasValue("update"))
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
	for _, mode := range []string{"mirror", "cluster-ip", "port-range"} {
		g := upIn(t, mode, nil)
		// What an API server gets goes with the mode.
		same := slices.DeleteFunc(names(g), func(name string) bool { return strings.HasSuffix(name, "-port-range") })
		assert.ElementsMatch(t, names(patched), same, mode)
		assert.NotEqual(t, image(patched), image(g), "another road is proved by another image")
	}
	assert.Equal(t, image(up(t, nil)), image(patched), "patch is the default")
}
