package publish

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/components/containerd/release"
)

func TestSuperseded(t *testing.T) {
	t.Parallel()
	current := []release.Artifact{{Version: "1.7.36", Arch: "amd64"}, {Version: "2.2.9", Arch: "arm64"}}
	for _, test := range []struct {
		name       string
		tags, want []string
	}{
		{"nothing", nil, nil},
		{"the one before", []string{"1.7.36-berth.1-linux-amd64", "1.7.35-berth.1-linux-amd64"}, nil},
		{
			"those before it",
			[]string{"1.7.36-berth.1-linux-amd64", "1.7.9-berth.1-linux-amd64", "1.7.10-berth.1-linux-amd64", "1.7.35-berth.1-linux-amd64"},
			[]string{"1.7.10-berth.1-linux-amd64", "1.7.9-berth.1-linux-amd64"},
		},
		{"an older patch set", []string{"1.7.36-berth.9-linux-amd64", "1.7.36-berth.10-linux-amd64"}, []string{"1.7.36-berth.9-linux-amd64"}},
		{
			"after a way back",
			[]string{"1.7.36-berth.1-linux-amd64", "1.7.37-berth.1-linux-amd64", "1.7.35-berth.1-linux-amd64"},
			[]string{"1.7.35-berth.1-linux-amd64"},
		},
		{
			"a line that no node runs",
			[]string{"1.6.38-berth.1-linux-amd64", "1.6.37-berth.1-linux-amd64"},
			[]string{"1.6.37-berth.1-linux-amd64"},
		},
		{
			"another architecture",
			[]string{"2.2.9-berth.1-linux-arm64", "2.2.9-berth.1-linux-amd64", "2.2.8-berth.1-linux-arm64", "2.2.7-berth.1-linux-arm64"},
			[]string{"2.2.7-berth.1-linux-arm64"},
		},
		{"tags of others", []string{"latest", "1.7.1", "1.7.2-berth.1-linux-amd64-mine", "v1.7.3-berth.1-linux-amd64"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := superseded(test.tags, current); !slices.Equal(got, test.want) {
				t.Errorf("superseded = %q, want %q", got, test.want)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	repo := f.repository(t, release.ArtifactRepository)
	digests := map[string]string{}
	for _, tag := range []string{
		"1.7.35-berth.1-linux-amd64", "1.7.34-berth.1-linux-amd64", "1.7.33-berth.1-linux-amd64", "1.6.38-berth.1-linux-amd64", "mine",
	} {
		manifest, err := jsonPart(ocispec.MediaTypeImageManifest, ocispec.Manifest{Annotations: map[string]string{"of": tag}})
		if err != nil {
			t.Fatal(err)
		}
		if err := repo.PushReference(t.Context(), manifest.descriptor, bytes.NewReader(manifest.content), tag); err != nil {
			t.Fatal(err)
		}
		digests[tag] = manifest.descriptor.Digest.String()
	}
	// Somebody keeps one by a tag of their own.
	manifest, err := repo.Resolve(t.Context(), "1.7.33-berth.1-linux-amd64")
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Tag(t.Context(), manifest, "kept"); err != nil {
		t.Fatal(err)
	}
	f.registry.take()

	f.request.Prune, f.request.RolloutID = true, ""
	want := []string{"DELETE /v2/berth/containerd/manifests/" + digests["1.7.34-berth.1-linux-amd64"]}
	if err := f.publisher.Prune(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	if writes := f.registry.take(); !slices.Equal(writes, want) {
		t.Errorf("writes = %q, want %q", writes, want)
	}
	// This registry still names the tag, as one does where somebody else prunes as well.
	if err := f.publisher.Prune(t.Context(), f.request); err != nil {
		t.Errorf("once more: %v", err)
	}

	f.registry.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		}
		return false
	})
	if err := f.publisher.Prune(t.Context(), f.request); err == nil || !strings.Contains(err.Error(), "pruning the registry") {
		t.Errorf("err = %v", err)
	}
}
