package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A drain is a hook of the step that may restart containerd, and no input of any resource: to switch it on or off, or to change
// its limits, changes nothing.
func TestDrainIsAHookOfTheSwitch(t *testing.T) {
	t.Parallel()
	var asked, patched atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPatch {
			patched.Add(1)
			assert.Equal(t, "/api/v1/nodes/worker2", r.URL.Path)
		} else {
			asked.Add(1)
		}
		node := `{"apiVersion":"v1","kind":"Node","metadata":{"name":"worker2","annotations":{"berth/cordoned":"test/worker2 KILLED"}},
"spec":{"unschedulable":true}}`
		if r.URL.Path == "/api/v1/nodes" {
			node = `{"apiVersion":"v1","kind":"NodeList","items":[` + node + `]}`
		}
		_, _ = w.Write([]byte(node))
	}))
	t.Cleanup(api.Close)
	server := map[string]any{"kubeconfig": strings.ReplaceAll(kubeconfig, "https://10.0.0.11:6443", api.URL)}

	var nodes []any
	var key any
	plain := up(t, func(c stack) {
		nodes, key = slices.Clone(c["nodes"].([]any)), c["ssh"]
		c["kubernetes"] = server
	})
	assert.Zero(t, asked.Load(), "without a drain nobody asks the API server")
	g := up(t, func(c stack) {
		c["nodes"], c["ssh"], c["kubernetes"] = nodes, key, server
		c["drain"] = map[string]any{"enabled": true, "timeout": "90s"}
	})
	assert.EqualValues(t, 1, patched.Load(), "what an interrupted run left cordoned is uncordoned")
	for _, r := range g.OfType("command:remote:Command") {
		assert.True(t, r.Inputs.DeepEquals(plain.Get(r.Name).Inputs), r.Name)
		assert.Empty(t, plain.Get(r.Name).Request.GetHooks().GetBeforeCreate(), r.Name)
		if !strings.HasSuffix(r.Name, "-containerd") {
			assert.Empty(t, r.Request.GetHooks().GetBeforeCreate(), "%s restarts nothing", r.Name)
			continue
		}
		hook := []string{strings.TrimSuffix(r.Name, "-containerd") + "-drain"}
		assert.Equal(t, hook, r.Request.GetHooks().GetBeforeCreate())
		assert.Equal(t, hook, r.Request.GetHooks().GetBeforeUpdate())
		assert.True(t, r.DependsOn("cordons"), "what a destroy needs is in the state before a node is cordoned")
	}
	cordons := g.Get("cordons")
	assertNotPlain(t, cordons)
	assert.True(t, cordons.Inputs["stdin"].IsSecret())
	assert.Empty(t, cordons.Request.GetDependencies())
	assert.NotEmpty(t, cordons.Input("delete").StringValue())
	require.NotContains(t, plain.Names(), "cordons")
}

// Every mode has the step that may restart containerd.
func TestEveryModeIsDrained(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	for _, mode := range []string{"mirror", "cluster-ip", "port-range"} {
		g := upIn(t, mode, func(c stack) {
			c["kubernetes"] = map[string]any{"kubeconfig": strings.ReplaceAll(kubeconfig, "https://10.0.0.11:6443", api.URL)}
			c["drain"] = map[string]any{"enabled": true}
		})
		assert.Equal(t, []string{"node-worker1-drain"}, g.Get("node-worker1-containerd").Request.GetHooks().GetBeforeUpdate(), mode)
	}
}

func TestRetiredNodeIsNotDrained(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	g := up(t, func(c stack) {
		c["kubernetes"] = map[string]any{"kubeconfig": strings.ReplaceAll(kubeconfig, "https://10.0.0.11:6443", api.URL)}
		c["nodes"].([]any)[1].(map[string]any)["retired"] = true
		c["drain"] = map[string]any{"enabled": true}
	})
	assert.Empty(t, g.Get("node-worker1-containerd").Request.GetHooks().GetBeforeUpdate())
	assert.NotEmpty(t, g.Get("node-worker2-containerd").Request.GetHooks().GetBeforeUpdate(), "a look that fails stops nothing")
}
