package release

import "berth/components/remote/target"

// Host is a node that builds in place of the operator's machine.
type Host struct {
	// Name is the node's in Kubernetes, and Arch its processor architecture in Go's terms.
	Name string `json:"name"`
	Arch string `json:"arch"`
	// SSH reaches the node. The user needs no rights but to run programs in the home folder.
	SSH target.Target `json:"ssh"`
	// Stack names the folder of the builds there: stacks that share a node share no folder.
	Stack string `json:"stack"`
	// Own has the node build what the operator's cache has already, too: its digest must be the same.
	Own bool `json:"own,omitempty"`
}

// HostRequest is what the nodebuild command reads as JSON from its standard input, on the node.
type HostRequest struct {
	// Version and Arch are those of a BuildRequest.
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Settings are the operator's Go settings that say where modules come from, by their names; what is not among them is the node's own.
	// They may hold a proxy's password.
	Settings map[string]string `json:"settings,omitempty"`
}
