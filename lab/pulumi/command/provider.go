// Package command is a stand-in for Pulumi's command plugin, for machines that cannot download the published one. What
// it does, it does as version 1.2.1 does, oddities included: a program that works here must work there. It has
// local.Command, remote.Command and remote.CopyToRemote; not the function local.run, not remote.CopyFile, no assets.
package command

import (
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"

	"berth/lab/pulumi/command/local"
	"berth/lab/pulumi/command/remote"
)

// Provider makes the plugin.
func Provider() p.Provider {
	return infer.Provider(infer.Options{Resources: []infer.InferredResource{
		infer.Resource(&local.Command{}),
		infer.Resource(&remote.Command{}),
		infer.Resource(&remote.CopyToRemote{}),
	}})
}
