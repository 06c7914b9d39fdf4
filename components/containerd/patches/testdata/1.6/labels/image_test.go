package labels_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// TestImageLabelsAreNoOrders does what ctr run does.
func TestImageLabelsAreNoOrders(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	require.NoError(t, err)
	text := []byte(`{"config":{"Labels":{
		"containerd.io/restart.loguri":"binary:///bin/sh","io.cri-containerd.kind":"x","maintainer":"somebody"}}}`)
	image := labelled{store: store, config: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(text), Size: int64(len(text)),
	}}
	require.NoError(t, content.WriteBlob(context.Background(), store, "config", bytes.NewReader(text), image.config))
	container := &containers.Container{}
	require.NoError(t, containerd.WithImageConfigLabels(image)(context.Background(), nil, container))
	require.Equal(t, map[string]string{"maintainer": "somebody"}, container.Labels)
}

// labelled is an image of which only the configuration can be read.
type labelled struct {
	containerd.Image
	store  content.Store
	config ocispec.Descriptor
}

func (l labelled) Config(context.Context) (ocispec.Descriptor, error) { return l.config, nil }

func (l labelled) ContentStore() content.Store { return l.store }
