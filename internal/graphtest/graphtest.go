// Package graphtest records what a Pulumi program registers, so that tests can assert inputs, edges, secrets and options.
package graphtest

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// Resource is one registration.
type Resource struct {
	Type, Name string
	Inputs     resource.PropertyMap
	// Request holds what the engine is told besides: parent, dependencies, options.
	Request *pulumirpc.RegisterResourceRequest
}

// Input returns an input's plain value, also where it is a secret; null where it is absent.
func (r Resource) Input(path ...resource.PropertyKey) resource.PropertyValue {
	value := resource.NewObjectProperty(r.Inputs)
	for _, key := range path {
		value = plain(value)
		if !value.IsObject() {
			return resource.NewNullProperty()
		}
		value = value.ObjectValue()[key]
	}
	return plain(value)
}

// DependsOn says whether the registration names that resource among its dependencies.
func (r Resource) DependsOn(name string) bool {
	for _, urn := range r.Request.GetDependencies() {
		if resource.URN(urn).Name() == name {
			return true
		}
	}
	return false
}

// Graph is everything that one run of a program registered.
type Graph struct {
	t         *testing.T
	mu        sync.Mutex
	resources []Resource
	outputs   func(Resource) resource.PropertyMap
}

// Run runs a program against the recorder. outputs adds what a provider would have answered; nil adds nothing.
func Run(
	t *testing.T, program pulumi.RunFunc, config map[string]string, outputs func(Resource) resource.PropertyMap,
) (*Graph, error) {
	t.Helper()
	g := &Graph{t: t, outputs: outputs}
	err := pulumi.RunErr(program, pulumi.WithMocks("berth", "test", g), func(info *pulumi.RunInfo) { info.Config = config })
	return g, err
}

// NewResource records a registration and echoes its inputs.
func (g *Graph) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r := Resource{Type: args.TypeToken, Name: args.Name, Inputs: args.Inputs, Request: args.RegisterRPC}
	g.mu.Lock()
	g.resources = append(g.resources, r)
	g.mu.Unlock()
	state := args.Inputs.Copy()
	if g.outputs != nil {
		for k, v := range g.outputs(r) {
			state[k] = v
		}
	}
	return args.Name + "-id", state, nil
}

// Call answers no function: the program calls none.
func (g *Graph) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// Get returns the one resource of that name that is no component, and fails the test where there is none.
func (g *Graph) Get(name string) Resource {
	g.t.Helper()
	for _, r := range g.resources {
		if r.Name == name && !strings.HasPrefix(r.Type, "berth:") {
			return r
		}
	}
	g.t.Fatalf("no resource %q was registered; there are %s", name, strings.Join(g.Names(), ", "))
	return Resource{}
}

// All returns all resources that are no components.
func (g *Graph) All() []Resource {
	return slices.DeleteFunc(slices.Clone(g.resources), func(r Resource) bool { return strings.HasPrefix(r.Type, "berth:") })
}

// OfType returns all resources of a type.
func (g *Graph) OfType(token string) []Resource {
	var found []Resource
	for _, r := range g.resources {
		if r.Type == token {
			found = append(found, r)
		}
	}
	return found
}

// Names lists the names of all resources in the order of their registration.
func (g *Graph) Names() []string {
	names := make([]string, len(g.resources))
	for i, r := range g.resources {
		names[i] = r.Name
	}
	return names
}

func plain(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	return v
}
