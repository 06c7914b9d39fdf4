// Package publish sees to it that the registry has the artifacts and the verification image.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/release"
	"berth/components/remote/sshclient"
)

// attempts is how often publishing is tried once the registry has answered.
const attempts = 3

// rolloutID is the form of a rollout id: it becomes a tag.
var rolloutID = regexp.MustCompile(`^[0-9a-f]{1,128}$`)

// Publisher publishes to one registry.
type Publisher struct {
	// Cache is the folder of finished builds.
	Cache string
	// Log takes progress, a line at a time.
	Log io.Writer
	// Patience is how long a registry that does not answer yet is waited for, Pause the time between two tries.
	Patience, Pause time.Duration
	// Build returns an artifact's file. It is asked only for what the registry lacks.
	Build func(ctx context.Context, cache string, log io.Writer, request release.BuildRequest) (build.Result, error)
	// Bill returns the bill of materials of an artifact's file.
	Bill func(request release.BuildRequest, artifact string) ([]byte, error)
}

// Ensure publishes what the registry lacks of the request, and sends nothing where it lacks nothing.
func (p *Publisher) Ensure(ctx context.Context, request release.PublishRequest) error {
	return p.repeat(ctx, request, "publishing to", p.ensure)
}

// repeat does something in the registry once that answers, and again where that fails for a reason that may pass.
func (p *Publisher) repeat(ctx context.Context, request release.PublishRequest, doing string,
	do func(ctx context.Context, name string, client remote.Client, request release.PublishRequest) error,
) error {
	if err := check(request); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var dialer sshclient.Dialer
	defer dialer.Close()
	tunnel, err := dialer.Dial(ctx, request.SSH, dialTimeout)
	if err != nil {
		return err
	}
	defer func() { _ = tunnel.Close() }()
	http, err := httpClient(tunnel, request.Registry)
	if err != nil {
		return err
	}
	defer http.CloseIdleConnections()
	name := net.JoinHostPort(request.Registry.Host, strconv.Itoa(request.Registry.NodePort))
	client := &auth.Client{
		Client: http,
		Cache:  auth.NewCache(),
		Credential: auth.StaticCredential(name, auth.Credential{
			Username: request.Registry.Username, Password: request.Registry.Password,
		}),
	}
	if err := p.wait(ctx, name, client); err != nil {
		return fmt.Errorf("waiting for the registry %s: %w", name, err)
	}
	for attempt := 1; ; attempt++ {
		err := do(ctx, name, client, request)
		if err == nil {
			return nil
		}
		if _, local := errors.AsType[localError](err); local || attempt == attempts || ctx.Err() != nil {
			return fmt.Errorf("%s the registry %s: %w", doing, name, err)
		}
		p.say("attempt %d of %d failed: %v", attempt, attempts, err)
		if err := sleep(ctx, p.Pause); err != nil {
			return err
		}
	}
}

func check(request release.PublishRequest) error {
	var mistakes []error
	if !request.Prune && !rolloutID.MatchString(request.RolloutID) {
		mistakes = append(mistakes, errors.New("the rollout id is not a hexadecimal number"))
	}
	if net.ParseIP(request.Registry.Address) == nil {
		mistakes = append(mistakes, fmt.Errorf("the registry's address %q is not an IP address", request.Registry.Address))
	}
	for _, artifact := range request.Artifacts {
		if err := release.Supported(artifact.Version); err != nil {
			mistakes = append(mistakes, err)
		}
		if err := release.SupportedArch(artifact.Arch); err != nil {
			mistakes = append(mistakes, err)
		}
		if err := digest.Digest(artifact.Digest).Validate(); err != nil {
			mistakes = append(mistakes, fmt.Errorf("the artifact's digest %q: %w", artifact.Digest, err))
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return fmt.Errorf("checking the request: %w", err)
	}
	return nil
}

// localError is one that another attempt would meet again.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

func (p *Publisher) ensure(ctx context.Context, name string, client remote.Client, request release.PublishRequest) error {
	artifacts, err := repository(name, release.ArtifactRepository, client)
	if err != nil {
		return err
	}
	for _, artifact := range request.Artifacts {
		if err := p.ensureArtifact(ctx, artifacts, artifact); err != nil {
			return fmt.Errorf("artifact %s: %w", release.ArtifactTag(artifact.Version, artifact.Arch), err)
		}
	}
	images, err := repository(name, release.VerifyRepository, client)
	if err != nil {
		return err
	}
	if err := p.ensureImage(ctx, images, request.RolloutID); err != nil {
		return fmt.Errorf("verification image: %w", err)
	}
	return nil
}

func repository(server, name string, client remote.Client) (*remote.Repository, error) {
	repo, err := remote.NewRepository(server + "/" + name)
	if err != nil {
		return nil, localError{err}
	}
	repo.Client = client
	return repo, nil
}

// ensureArtifact publishes the layer that nodes fetch under its tag, and with it the bill of materials and the patches.
func (p *Publisher) ensureArtifact(ctx context.Context, repo *remote.Repository, artifact release.Artifact) error {
	tag := release.ArtifactTag(artifact.Version, artifact.Arch)
	published, err := isPublished(ctx, repo, tag, artifact.Digest)
	if err != nil || published {
		return err
	}
	built, err := p.Build(ctx, p.Cache, p.Log, release.BuildRequest{Version: artifact.Version, Arch: artifact.Arch, On: artifact.On})
	if err != nil {
		return localError{err}
	}
	if built.Digest != artifact.Digest {
		return localError{fmt.Errorf("the build gave %s instead of %s; "+
			"was it planned by another version of this program?", built.Digest, artifact.Digest)}
	}
	layer, err := p.ensureLayer(ctx, repo, tag, built)
	if err != nil {
		return err
	}
	papers, err := p.papers(artifact, built.Path)
	if err != nil {
		return localError{err}
	}
	for _, blob := range append(papers, part{ocispec.DescriptorEmptyJSON, ocispec.DescriptorEmptyJSON.Data}) {
		if err := p.ensureBlob(ctx, repo, blob); err != nil {
			return err
		}
	}
	manifest, err := artifactManifest(artifact, layer, papers)
	if err != nil {
		return localError{err}
	}
	return repo.PushReference(ctx, manifest.descriptor, bytes.NewReader(manifest.content), tag)
}

// isPublished tells whether the tag names a manifest with that layer, and the layer is there.
func isPublished(ctx context.Context, repo *remote.Repository, tag, layer string) (bool, error) {
	_, text, err := oras.FetchBytes(ctx, repo, tag, oras.DefaultFetchBytesOptions)
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var manifest ocispec.Manifest
	// What cannot be read as one is somebody else's, and the tag is moved.
	_ = json.Unmarshal(text, &manifest)
	if len(manifest.Layers) == 0 || manifest.Layers[0].Digest.String() != layer {
		return false, nil
	}
	return repo.Blobs().Exists(ctx, manifest.Layers[0])
}

// ensureLayer sends the built file unless the registry has it.
func (p *Publisher) ensureLayer(ctx context.Context, repo *remote.Repository, tag string, built build.Result) (ocispec.Descriptor, error) {
	file, err := os.Open(built.Path)
	if err != nil {
		return ocispec.Descriptor{}, localError{err}
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return ocispec.Descriptor{}, localError{err}
	}
	descriptor := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(built.Digest), Size: info.Size(),
	}
	found, err := repo.Blobs().Exists(ctx, descriptor)
	if err != nil || found {
		return descriptor, err
	}
	p.say("sending %s, %.1f MB", tag, float64(info.Size())/1e6)
	return descriptor, repo.Blobs().Push(ctx, descriptor, file)
}

func (p *Publisher) ensureImage(ctx context.Context, repo *remote.Repository, tag string) error {
	// The index is tagged last: the tag says that all of the image is there.
	_, err := repo.Resolve(ctx, tag)
	if err == nil || !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	image, err := verifyImage(ctx, p.Cache, p.Log, tag)
	if err != nil {
		return localError{err}
	}
	p.say("sending the verification image of rollout %s", tag)
	for _, blob := range image.blobs {
		if err := p.ensureBlob(ctx, repo, blob); err != nil {
			return err
		}
	}
	for _, manifest := range image.manifests {
		if err := repo.Manifests().Push(ctx, manifest.descriptor, bytes.NewReader(manifest.content)); err != nil {
			return err
		}
	}
	return p.ensureTag(ctx, repo, image.index, tag)
}

func (p *Publisher) ensureBlob(ctx context.Context, repo *remote.Repository, blob part) error {
	found, err := repo.Blobs().Exists(ctx, blob.descriptor)
	if err != nil || found {
		return err
	}
	return repo.Blobs().Push(ctx, blob.descriptor, bytes.NewReader(blob.content))
}

func (p *Publisher) ensureTag(ctx context.Context, repo *remote.Repository, manifest part, tag string) error {
	found, err := repo.Resolve(ctx, tag)
	if err == nil && found.Digest == manifest.descriptor.Digest {
		return nil
	}
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	return repo.PushReference(ctx, manifest.descriptor, bytes.NewReader(manifest.content), tag)
}

// say reports progress, which nothing depends on.
func (p *Publisher) say(format string, args ...any) { _, _ = fmt.Fprintf(p.Log, format+"\n", args...) }
