package publish

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/layer"
	"berth/components/containerd/release"
)

//go:embed verify/main.go
var verifySource []byte

// part is a blob or manifest that is small enough to be kept in memory.
type part struct {
	descriptor ocispec.Descriptor
	content    []byte
}

// image is an index with everything that it refers to.
type image struct {
	blobs     []part
	manifests []part
	index     part
}

// verifyImage makes the image that nodes pull to show that they can. The program's layer is the same each time; the
// layer with the rollout id is new for each rollout, so that a node with the image of an earlier one has to fetch.
func verifyImage(ctx context.Context, cache string, log io.Writer, rolloutID string) (image, error) {
	var result image
	var entries []ocispec.Descriptor
	rollout, rolloutDiffID, err := layerPart(layer.File{Name: "rollout", Mode: 0o444, Content: []byte(rolloutID + "\n")})
	if err != nil {
		return image{}, err
	}
	result.blobs = append(result.blobs, rollout)
	for _, arch := range release.Architectures {
		path, err := build.Program(ctx, cache, log, "verify", arch, verifySource)
		if err != nil {
			return image{}, err
		}
		program, programDiffID, err := layerPart(layer.File{Name: "verify", Mode: 0o555, Path: path})
		if err != nil {
			return image{}, err
		}
		platform := ocispec.Platform{OS: "linux", Architecture: arch}
		config, err := jsonPart(ocispec.MediaTypeImageConfig, ocispec.Image{
			Platform: platform,
			// Numeric and not root, as the restricted Pod security standard demands.
			Config: ocispec.ImageConfig{User: "65532:65532", Entrypoint: []string{"/verify"}},
			RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{programDiffID, rolloutDiffID}},
		})
		if err != nil {
			return image{}, err
		}
		manifest, err := jsonPart(ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageManifest,
			Config:    config.descriptor,
			Layers:    []ocispec.Descriptor{program.descriptor, rollout.descriptor},
		})
		if err != nil {
			return image{}, err
		}
		result.blobs = append(result.blobs, program, config)
		result.manifests = append(result.manifests, manifest)
		descriptor := manifest.descriptor
		descriptor.Platform = &platform
		entries = append(entries, descriptor)
	}
	result.index, err = jsonPart(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: entries,
	})
	return result, err
}

func layerPart(files ...layer.File) (part, digest.Digest, error) {
	var buffer bytes.Buffer
	result, err := layer.Write(&buffer, files)
	if err != nil {
		return part{}, "", fmt.Errorf("making the verification image: %w", err)
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageLayerGzip, buffer.Bytes())
	return part{descriptor, buffer.Bytes()}, digest.Digest(result.DiffID), nil
}

func jsonPart(mediaType string, value any) (part, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return part{}, fmt.Errorf("encoding %s: %w", mediaType, err)
	}
	return part{content.NewDescriptorFromBytes(mediaType, text), text}, nil
}

// papers are what stands beside the artifact in its manifest: the bill of materials, and each patch as a file. Each has its name as
// a title, by which clients such as oras write it.
func (p *Publisher) papers(artifact release.Artifact, file string) ([]part, error) {
	bill, err := p.Bill(release.BuildRequest{Version: artifact.Version, Arch: artifact.Arch}, file)
	if err != nil {
		return nil, err
	}
	line, err := release.LineOf(artifact.Version)
	if err != nil {
		return nil, err
	}
	list, err := line.Patches()
	if err != nil {
		return nil, err
	}
	papers := []part{paper("containerd.cdx.json", "application/vnd.cyclonedx+json", bill)}
	for _, patch := range list {
		papers = append(papers, paper(path.Base(patch.Name), "text/x-diff", patch.Content))
	}
	return papers, nil
}

func paper(title, mediaType string, text []byte) part {
	descriptor := content.NewDescriptorFromBytes(mediaType, text)
	descriptor.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	return part{descriptor, text}
}

// artifactManifest is the manifest that keeps an artifact's layer from the registry's garbage collection.
func artifactManifest(artifact release.Artifact, layer ocispec.Descriptor, papers []part) (part, error) {
	patches, err := build.PatchHash(artifact.Version)
	if err != nil {
		return part{}, err
	}
	layers := []ocispec.Descriptor{layer}
	for _, paper := range papers {
		layers = append(layers, paper.descriptor)
	}
	return jsonPart(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.berth.containerd",
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       layers,
		Annotations: map[string]string{
			ocispec.AnnotationTitle: fmt.Sprintf("containerd and ctr %s for linux/%s",
				release.FullVersion(artifact.Version), artifact.Arch),
			ocispec.AnnotationVersion:   release.FullVersion(artifact.Version),
			"berth.containerd.upstream": artifact.Version,
			"berth.containerd.patches":  "sha256:" + patches,
		},
	})
}
