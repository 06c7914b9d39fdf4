package publish

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"berth/components/containerd/patches"
	"berth/components/containerd/release"
)

// Prune removes the manifests of older builds than the request's, but for the newest of each release line and architecture: the way
// back to it needs no build. It is for when no node uses the older ones any more. Their layers stay until the registry collects its
// garbage, which nobody may push to meanwhile.
func (p *Publisher) Prune(ctx context.Context, request release.PublishRequest) error {
	return p.repeat(ctx, request, "pruning", p.prune)
}

func (p *Publisher) prune(ctx context.Context, name string, client remote.Client, request release.PublishRequest) error {
	repo, err := repository(name, release.ArtifactRepository, client)
	if err != nil {
		return err
	}
	var tags []string
	err = repo.Tags(ctx, "", func(page []string) error {
		tags = append(tags, page...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing %s: %w", release.ArtifactRepository, err)
	}
	old := superseded(tags, request.Artifacts)
	// A manifest goes with all its tags.
	kept := map[digest.Digest]bool{}
	for _, tag := range tags {
		if slices.Contains(old, tag) {
			continue
		}
		manifest, err := repo.Resolve(ctx, tag)
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("looking at %s: %w", tag, err)
		}
		kept[manifest.Digest] = true
	}
	for _, tag := range old {
		manifest, err := repo.Resolve(ctx, tag)
		if err == nil && !kept[manifest.Digest] {
			p.say("removing %s", tag)
			err = repo.Manifests().Delete(ctx, manifest)
		}
		// Gone already is as good.
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("removing %s: %w", tag, err)
		}
	}
	return nil
}

// artifactTag is the form of a release.ArtifactTag: release, release line, berth's number and architecture.
var artifactTag = regexp.MustCompile(`^((\d+\.\d+)\.\d+)-berth\.(\d+)-linux-([a-z0-9]+)$`)

// superseded lists the tags of builds that are none of the artifacts and not the newest of the others of their release line and
// architecture. Tags of another form are somebody else's.
func superseded(tags []string, artifacts []release.Artifact) []string {
	current := map[string]bool{}
	for _, artifact := range artifacts {
		current[release.ArtifactTag(artifact.Version, artifact.Arch)] = true
	}
	type build struct{ tag, line, number string }
	var builds []build
	for _, tag := range tags {
		if parts := artifactTag.FindStringSubmatch(tag); parts != nil && !current[tag] {
			builds = append(builds, build{tag: tag, line: parts[2] + " " + parts[4], number: parts[1] + "." + parts[3]})
		}
	}
	slices.SortFunc(builds, func(a, b build) int { return patches.CompareVersions(b.number, a.number) })
	var old []string
	newest := map[string]bool{}
	for _, b := range builds {
		if newest[b.line] {
			old = append(old, b.tag)
		}
		newest[b.line] = true
	}
	return old
}
