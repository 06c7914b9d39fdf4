// Package containerd has the Pulumi resources for a containerd with a dialer that knows the registry's NodePort.
//
// The work is done by commands below cmd/: build prints the digest of the artifact, publish sees to it that the registry has it, buildhost
// prepares nodes to build, and nodebuild is what runs there. What they share with this package stands in the package release.
package containerd

import (
	"time"

	"berth/components/containerd/release"
)

// Repositories in the registry.
const (
	// ArtifactRepository has the built binaries.
	ArtifactRepository = release.ArtifactRepository
	// VerifyRepository has the image that the verification pulls; its tags are rollout ids.
	VerifyRepository = release.VerifyRepository
)

type (
	// PublishRequest is what the publish command reads.
	PublishRequest = release.PublishRequest
	// RegistryTarget is the registry in a PublishRequest.
	RegistryTarget = release.RegistryTarget
	// Artifact names a build in a PublishRequest.
	Artifact = release.Artifact
)

// FullVersion is the version that the built containerd reports: FullVersion("1.7.36") is "1.7.36+berth.1".
func FullVersion(upstream string) string { return release.FullVersion(upstream) }

// Fixes lists the CVEs that are fixed in berth's build of an upstream version, or that no containerd binary has.
func Fixes(upstream string) []string { return release.Fixes(upstream) }

// Ending warns of a version whose line gets no fixes any more, or soon will not; it is empty where neither holds.
func Ending(upstream string, now time.Time) string { return release.Ending(upstream, now) }

// Lines lists the supported release lines, oldest first.
func Lines() []string { return release.Lines() }

// Supported reports with an error, which names the supported releases, that berth has no tested patch for the version.
func Supported(version string) error { return release.Supported(version) }
