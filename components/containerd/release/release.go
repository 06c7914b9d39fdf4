// Package release says which releases of containerd berth builds and how their builds are named, and holds the requests
// of the commands that make and publish them. It stands on the standard library alone: the commands start fast.
package release

import (
	"fmt"
	"slices"
	"strings"

	"berth/components/containerd/patches"
	"berth/components/remote/target"
)

const (
	// Revision numbers berth's patch set. Raise it whenever a patch or a build setting changes: the new version string
	// is what tells a node that its binary is out of date.
	Revision = 1

	// Toolchain is the Go release that builds containerd, whatever the operator has installed: with another compiler
	// the same source would give another digest, and two operators would restart the nodes in turns.
	Toolchain = "go1.26.8"

	// ArtifactRepository is the repository of the built binaries in the registry.
	ArtifactRepository = "berth/containerd"
	// VerifyRepository is the repository of the image that the verification pulls; its tags are rollout ids.
	VerifyRepository = "berth/verify"
	// MappingFile is the path of the file on a node that says which host is reached on which port.
	// Without the file, or with an empty one, containerd behaves as released.
	MappingFile = "/etc/containerd/berth.ports"
)

// Architectures lists the processor architectures that can be built, in Go's terms.
var Architectures = []string{"amd64", "arm64"}

// BuildRequest is what the build command reads as JSON from its standard input.
type BuildRequest struct {
	// Version is a supported upstream release without a leading v, such as "1.7.36".
	Version string `json:"version"`
	// Arch is one of Architectures.
	Arch string `json:"arch"`
	// On is the node that builds; nil builds on the machine where the command runs.
	On *Host `json:"on,omitempty"`
}

// PublishRequest is what the publish command reads as JSON from its standard input.
type PublishRequest struct {
	Registry RegistryTarget `json:"registry"`
	// SSH is the node through which the registry is dialled.
	SSH       target.Target `json:"ssh"`
	Artifacts []Artifact    `json:"artifacts"`
	// RolloutID tags the verification image: hexadecimal, and another one for every rollout.
	RolloutID string `json:"rolloutId"`
	// Prune asks to remove older builds than the artifacts, in place of publishing.
	Prune bool `json:"prune,omitempty"`
}

// RegistryTarget is the registry as it is reached through the SSH connection.
type RegistryTarget struct {
	// Host is the registry's name. The certificate must carry it.
	Host string `json:"host"`
	// NodePort is the port of the registry's Service on Address.
	NodePort int    `json:"nodePort"`
	Username string `json:"username"`
	Password string `json:"password"`
	// CAPEM holds the only certificates that are trusted to sign the registry's.
	CAPEM string `json:"caPEM"`
	// Address is the IP address that is dialled, so that no name needs to resolve.
	Address string `json:"address"`
}

// Artifact names one build that must be in the registry.
type Artifact struct {
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Digest is what the build command printed for this version and architecture.
	Digest string `json:"digest"`
	// On is the node that builds what neither the registry nor the cache has; nil builds it where the command runs.
	On *Host `json:"on,omitempty"`
}

// FullVersion is the version that the built containerd reports: FullVersion("1.7.36") is "1.7.36+berth.1".
func FullVersion(upstream string) string {
	return fmt.Sprintf("%s+berth.%d", upstream, Revision)
}

// ArtifactTag is the tag of a build in ArtifactRepository, such as "1.7.36-berth.1-linux-amd64".
// A tag cannot hold the plus sign of FullVersion.
func ArtifactTag(upstream, arch string) string {
	return fmt.Sprintf("%s-berth.%d-linux-%s", upstream, Revision, arch)
}

// Lines lists the supported release lines, oldest first: "1.6", "1.7".
func Lines() []string {
	lines := mustLines()
	names := make([]string, 0, len(lines))
	for _, line := range lines {
		names = append(names, line.Name)
	}
	return names
}

// Versions lists the supported releases, oldest first.
func Versions() []string {
	var all []string
	for _, line := range mustLines() {
		for version := range line.Versions {
			all = append(all, version)
		}
	}
	slices.SortFunc(all, patches.CompareVersions)
	return all
}

// LineOf returns the release line of a supported upstream version, or an error that names the supported ones.
func LineOf(version string) (patches.Line, error) {
	for _, line := range mustLines() {
		if _, ok := line.Versions[version]; ok {
			return line, nil
		}
	}
	if trimmed := strings.TrimPrefix(version, "v"); trimmed != version {
		return patches.Line{}, fmt.Errorf("containerd version %q: write it without the leading v (%s)", version, trimmed)
	}
	return patches.Line{}, fmt.Errorf("containerd version %q is not supported; choose one of %s",
		version, strings.Join(Versions(), ", "))
}

// Supported reports with an error, which names the supported releases, that berth has no tested patch for the version.
func Supported(version string) error {
	_, err := LineOf(version)
	return err
}

// SupportedArch reports with an error that berth does not build for the architecture.
func SupportedArch(arch string) error {
	if slices.Contains(Architectures, arch) {
		return nil
	}
	return fmt.Errorf("architecture %q is not supported; choose one of %s", arch, strings.Join(Architectures, ", "))
}

// mustLines panics only when the files that are compiled into the program are broken, which a test rules out.
func mustLines() []patches.Line {
	lines, err := patches.Lines()
	if err != nil {
		panic(err)
	}
	return lines
}
