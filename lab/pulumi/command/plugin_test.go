package command_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	pprovider "github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"berth/lab/pulumi/command"
)

// plug drives the plugin as the engine does: by its gRPC methods, with an engine that keeps what it is told.
type plug struct {
	server rpc.ResourceProviderServer
	engine *engine
	// timeout is the customTimeout of each operation in seconds, 0 for none.
	timeout float64
}

func newPlug(t *testing.T) *plug {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := &engine{}
	server := grpc.NewServer()
	rpc.RegisterEngineServer(server, e)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	host, err := pprovider.NewHostClient(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Close() })
	s, err := p.RawServer("command", "1.2.1", command.Provider())(host)
	require.NoError(t, err)
	_, err = s.Configure(t.Context(), &rpc.ConfigureRequest{AcceptSecrets: true, AcceptResources: true})
	require.NoError(t, err)
	return &plug{server: s, engine: e}
}

func urn(kind string) string { return "urn:pulumi:dev::test::command:" + kind + "::it" }

// check returns the inputs with the plugin's defaults.
func (p *plug) check(t *testing.T, kind string, inputs resource.PropertyMap) (resource.PropertyMap, []*rpc.CheckFailure) {
	t.Helper()
	resp, err := p.server.Check(t.Context(), &rpc.CheckRequest{Urn: urn(kind), News: marshal(t, inputs)})
	require.NoError(t, err)
	return unmarshal(t, resp.GetInputs()), resp.GetFailures()
}

func (p *plug) checked(t *testing.T, kind string, inputs resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	inputs, failures := p.check(t, kind, inputs)
	require.Empty(t, failures)
	return inputs
}

// create checks the inputs and creates.
func (p *plug) create(t *testing.T, kind string, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	t.Helper()
	request := p.createRequest(t, kind, inputs)
	request.Preview = preview
	resp, err := p.server.Create(t.Context(), request)
	if err != nil {
		require.Nil(t, resp, "a failed create returns nothing to keep")
		return nil, err
	}
	return unmarshal(t, resp.GetProperties()), nil
}

// createRequest asks to create with the checked inputs.
func (p *plug) createRequest(t *testing.T, kind string, inputs resource.PropertyMap) *rpc.CreateRequest {
	t.Helper()
	return &rpc.CreateRequest{Urn: urn(kind), Properties: marshal(t, p.checked(t, kind, inputs)), Timeout: p.timeout}
}

// created is a create that must succeed.
func (p *plug) created(t *testing.T, kind string, inputs resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	state, err := p.create(t, kind, inputs, false)
	require.NoError(t, err)
	return state
}

func (p *plug) update(t *testing.T, kind string, old, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	t.Helper()
	resp, err := p.server.Update(t.Context(), &rpc.UpdateRequest{
		Id: "it", Urn: urn(kind), Olds: marshal(t, old), News: marshal(t, p.checked(t, kind, inputs)),
		Preview: preview, Timeout: p.timeout,
	})
	if err != nil {
		return nil, err
	}
	return unmarshal(t, resp.GetProperties()), nil
}

func (p *plug) updated(t *testing.T, kind string, old, inputs resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	state, err := p.update(t, kind, old, inputs, false)
	require.NoError(t, err)
	return state
}

func (p *plug) diff(t *testing.T, kind string, old, inputs resource.PropertyMap) *rpc.DiffResponse {
	t.Helper()
	resp, err := p.server.Diff(t.Context(), &rpc.DiffRequest{
		Id: "it", Urn: urn(kind), Olds: marshal(t, old), OldInputs: marshal(t, old),
		News: marshal(t, p.checked(t, kind, inputs)),
	})
	require.NoError(t, err)
	return resp
}

func (p *plug) delete(t *testing.T, kind string, state resource.PropertyMap) error {
	t.Helper()
	_, err := p.server.Delete(t.Context(), &rpc.DeleteRequest{Id: "it", Urn: urn(kind), Properties: marshal(t, state), Timeout: p.timeout})
	return err
}

var options = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, ComputeAssetHashes: true, KeepResources: true}

func marshal(t *testing.T, props resource.PropertyMap) *structpb.Struct {
	t.Helper()
	s, err := plugin.MarshalProperties(props, options)
	require.NoError(t, err)
	return s
}

func unmarshal(t *testing.T, s *structpb.Struct) resource.PropertyMap {
	t.Helper()
	props, err := plugin.UnmarshalProperties(s, options)
	require.NoError(t, err)
	return props
}

// object turns Go values into properties.
func object(values map[string]any) resource.PropertyMap {
	return resource.NewPropertyMapFromMap(values)
}

// with returns the properties with some more, or with others.
func with(base map[string]any, more map[string]any) map[string]any {
	all := map[string]any{}
	for _, values := range []map[string]any{base, more} {
		for key, value := range values {
			all[key] = value
		}
	}
	return all
}

// plain returns a string property, secret or not.
func plain(v resource.PropertyValue) string {
	if v.IsSecret() {
		v = v.SecretValue().Element
	}
	if !v.IsString() {
		return v.TypeString()
	}
	return v.StringValue()
}

// engine keeps the messages that the plugin logs.
type engine struct {
	rpc.UnimplementedEngineServer
	mu   sync.Mutex
	logs []*rpc.LogRequest
}

func (e *engine) Log(_ context.Context, req *rpc.LogRequest) (*emptypb.Empty, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs = append(e.logs, req)
	return &emptypb.Empty{}, nil
}

// messages returns the texts at a severity, the passing ones or those that stay.
func (e *engine) messages(severity rpc.LogSeverity, passing bool) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var texts []string
	for _, log := range e.logs {
		if log.GetSeverity() == severity && log.GetEphemeral() == passing {
			texts = append(texts, log.GetMessage())
		}
	}
	slices.Sort(texts)
	return texts
}
