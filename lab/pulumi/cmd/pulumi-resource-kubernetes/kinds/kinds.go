//go:build plugins

// Package v2 is a file of the yaml/v2 package in Pulumi's Kubernetes SDK. The SDK's own one has a Go type for each kind of Kubernetes, and
// compiling them all takes longer than the rest of the plugin. The plugin needs them for none of its resources but yaml/v2:ConfigGroup,
// ConfigFile and their like, whose children it registers by name: one type does for all of them.
package v2

import (
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// IsListKind tells whether a kind is a list of others.
func IsListKind(_, kind string) bool { return strings.HasSuffix(kind, "List") }

// RegisterResource registers a resource of any kind.
func RegisterResource(
	ctx *pulumi.Context, apiVersion, kind, name string, props pulumi.Input, opts ...pulumi.ResourceOption,
) (pulumi.CustomResource, error) {
	if apiVersion == "v1" {
		apiVersion = "core/v1"
	}
	var resource apiextensions.CustomResource
	if err := ctx.RegisterResource("kubernetes:"+apiVersion+":"+kind, name, props, &resource, opts...); err != nil {
		return nil, err
	}
	return &resource, nil
}
