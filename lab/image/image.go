// Package image writes container images as OCI archives: a tar file with an OCI layout, which containerd, skopeo and berth read.
// The archives are reproducible: the same files give the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// epoch stands for every time in an archive, since real ones would change its digests.
var epoch = time.Unix(0, 0).UTC()

// nameAnnotation is where containerd looks for the full name of an image in an archive.
const nameAnnotation = "io.containerd.image.name"

// File is one entry of an image's only layer. The folders above it need not be given.
type File struct {
	Path    string // in the image, e.g. /bin/sh
	Source  string // file on this host that it is copied from
	Link    string // target of a symbolic link, when set
	Content string // content, when neither of the others is set; a Path that ends in / is a folder
	Mode    int64  // default 0755
}

// Image is an image of one layer.
type Image struct {
	Names        []string // full names, e.g. docker.io/library/busybox:lab
	Architecture string   // e.g. amd64
	Files        []File
	Config       v1.ImageConfig
}

// Write writes img as an OCI archive to the file name, which is whole or not there.
func Write(name string, img Image) error {
	temporary, err := os.CreateTemp(path.Dir(name), path.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("writing image %s: %w", name, err)
	}
	err = img.write(temporary)
	if err == nil {
		err = temporary.Chmod(0o644)
	}
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("writing image %s: %w", name, err)
	}
	return nil
}

func (img Image) write(w io.Writer) error {
	layer, diffID, err := img.layer()
	if err != nil {
		return err
	}
	config, err := json.Marshal(v1.Image{
		Created:  &epoch,
		Platform: v1.Platform{OS: "linux", Architecture: img.Architecture},
		Config:   img.Config,
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
		History:  []v1.History{{Created: &epoch, CreatedBy: "berth lab"}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    descriptor(v1.MediaTypeImageConfig, config),
		Layers:    []v1.Descriptor{descriptor(v1.MediaTypeImageLayerGzip, layer)},
	})
	if err != nil {
		return err
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, name := range img.Names {
		d := descriptor(v1.MediaTypeImageManifest, manifest)
		d.Platform = &v1.Platform{OS: "linux", Architecture: img.Architecture}
		d.Annotations = map[string]string{nameAnnotation: name, v1.AnnotationRefName: name[strings.LastIndex(name, ":")+1:]}
		index.Manifests = append(index.Manifests, d)
	}
	indexJSON, err := json.Marshal(index)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range []struct {
		name string
		data []byte
	}{
		{v1.ImageLayoutFile, []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`)},
		{v1.ImageIndexFile, indexJSON},
		{blobPath(manifest), manifest},
		{blobPath(config), config},
		{blobPath(layer), layer},
	} {
		if err := tw.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data)), ModTime: epoch}); err != nil {
			return err
		}
		if _, err := tw.Write(e.data); err != nil {
			return err
		}
	}
	return tw.Close()
}

// layer returns the compressed layer and the digest of what it holds uncompressed.
func (img Image) layer() ([]byte, digest.Digest, error) {
	var compressed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	digester := digest.Canonical.Digester()
	tw := tar.NewWriter(io.MultiWriter(zw, digester.Hash()))
	for _, f := range withFolders(img.Files) {
		if err := addFile(tw, f); err != nil {
			return nil, "", fmt.Errorf("adding %s: %w", f.Path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, "", err
	}
	if err := zw.Close(); err != nil {
		return nil, "", err
	}
	return compressed.Bytes(), digester.Digest(), nil
}

// withFolders adds the folders above each file and sorts, so that a folder comes before what is in it.
func withFolders(files []File) []File {
	all := slices.Clone(files)
	seen := map[string]bool{}
	for _, f := range files {
		seen[strings.Trim(f.Path, "/")] = true
	}
	for _, f := range files {
		for dir := path.Dir(strings.Trim(f.Path, "/")); dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, File{Path: dir + "/"})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(strings.Trim(a.Path, "/"), strings.Trim(b.Path, "/")) })
	return all
}

func addFile(tw *tar.Writer, f File) error {
	header := &tar.Header{Name: strings.TrimLeft(f.Path, "/"), Mode: f.Mode, ModTime: epoch, Typeflag: tar.TypeReg}
	if header.Mode == 0 {
		header.Mode = 0o755
	}
	var content io.Reader = strings.NewReader(f.Content)
	switch {
	case strings.HasSuffix(f.Path, "/"):
		header.Typeflag = tar.TypeDir
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Source != "":
		source, err := os.Open(f.Source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		header.Size, content = info.Size(), source
	default:
		header.Size = int64(len(f.Content))
	}
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(tw, content)
	return err
}

func descriptor(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func blobPath(data []byte) string {
	return v1.ImageBlobsDir + "/sha256/" + digest.FromBytes(data).Encoded()
}
