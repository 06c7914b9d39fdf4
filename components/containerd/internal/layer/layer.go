// Package layer packs files as a tar.gz whose bytes depend on nothing but names and contents.
package layer

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	// Not the standard library's: its output may change with the operator's Go, this one's only with go.mod.
	"github.com/klauspost/compress/gzip"
)

// File is a file of the archive.
type File struct {
	// Name is the slash-separated path in the archive. The folders above it get entries of their own.
	Name string
	// Mode holds the permission bits.
	Mode int64
	// Path is the file on disk with the content; when it is empty, Content is the content.
	Path    string
	Content []byte
}

// Result describes a written archive. The digests have the form "sha256:…".
type Result struct {
	// Digest is that of the compressed archive, DiffID that of the tar inside.
	Digest, DiffID string
	// Size is the compressed size in bytes.
	Size int64
}

// Write writes the files to w in the order given. Owner is root; all times are the start of 1970.
func Write(w io.Writer, files []File) (Result, error) {
	outer := &meter{w: w, sum: sha256.New()}
	compressor, err := gzip.NewWriterLevel(outer, gzip.DefaultCompression)
	if err != nil {
		return Result{}, fmt.Errorf("packing a layer: %w", err)
	}
	inner := &meter{w: compressor, sum: sha256.New()}
	archive := tar.NewWriter(inner)
	folders := map[string]bool{}
	for _, file := range files {
		if err := add(archive, file, folders); err != nil {
			return Result{}, fmt.Errorf("packing %s: %w", file.Name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return Result{}, fmt.Errorf("packing a layer: %w", err)
	}
	if err := compressor.Close(); err != nil {
		return Result{}, fmt.Errorf("packing a layer: %w", err)
	}
	return Result{Digest: outer.digest(), DiffID: inner.digest(), Size: outer.size}, nil
}

func add(archive *tar.Writer, file File, folders map[string]bool) error {
	if folder := path.Dir(file.Name); folder != "." && !folders[folder] {
		folders[folder] = true
		header := tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
	}
	header := tar.Header{Typeflag: tar.TypeReg, Name: file.Name, Mode: file.Mode, Format: tar.FormatUSTAR}
	if file.Path == "" {
		header.Size = int64(len(file.Content))
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
		_, err := archive.Write(file.Content)
		return err
	}
	content, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}

// meter counts and hashes what passes.
type meter struct {
	w    io.Writer
	sum  hash.Hash
	size int64
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.sum.Write(p[:n])
	m.size += int64(n)
	return n, err
}

func (m *meter) digest() string { return "sha256:" + hex.EncodeToString(m.sum.Sum(nil)) }
