package build

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/klauspost/compress/gzip"

	"berth/components/containerd/patches"
	"berth/components/containerd/release"
)

// Bill lists what the artifact at a path consists of, as a CycloneDX document: the modules that the linker put into its
// programs, read from the programs themselves, and the patches in full. The same artifact gives the same bytes.
func Bill(request release.BuildRequest, artifact string) ([]byte, error) {
	modules, err := linked(artifact)
	if err != nil {
		return nil, fmt.Errorf("listing what is in %s: %w", path.Base(artifact), err)
	}
	line, err := release.LineOf(request.Version)
	if err != nil {
		return nil, err
	}
	subject, err := subject(line, request)
	if err != nil {
		return nil, err
	}
	// No serial number and no time: they would differ from build to build.
	document := cdx.NewBOM()
	document.SerialNumber = ""
	document.Metadata = &cdx.Metadata{Component: subject}
	components := make([]cdx.Component, 0, len(modules))
	for _, module := range modules {
		if module.Path != line.Module { // that is the subject
			components = append(components, library(module))
		}
	}
	document.Components = &components
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(document); err != nil {
		return nil, fmt.Errorf("writing the bill of materials: %w", err)
	}
	return text.Bytes(), nil
}

// subject is containerd as it is built here: the release it comes from, and what was changed.
func subject(line patches.Line, request release.BuildRequest) (*cdx.Component, error) {
	list, err := line.Patches()
	if err != nil {
		return nil, err
	}
	changes := make([]cdx.Patch, 0, len(list))
	for _, p := range list {
		changes = append(changes, cdx.Patch{
			Type: cdx.PatchTypeUnofficial,
			Diff: &cdx.Diff{Text: &cdx.AttachedText{ContentType: "text/x-diff", Content: string(p.Content)}},
		})
	}
	upstream := library(&debug.Module{Path: line.Module, Version: "v" + request.Version, Sum: line.Versions[request.Version]})
	return &cdx.Component{
		Type:    cdx.ComponentTypeApplication,
		BOMRef:  "containerd",
		Name:    "containerd",
		Version: release.FullVersion(request.Version),
		Properties: &[]cdx.Property{
			{Name: "berth:architecture", Value: request.Arch},
			{Name: "berth:toolchain", Value: release.Toolchain},
		},
		Pedigree: &cdx.Pedigree{Ancestors: &[]cdx.Component{upstream}, Patches: &changes},
	}, nil
}

// library names a module as vulnerability databases do, with Go's own checksum of it.
func library(module *debug.Module) cdx.Component {
	url := "pkg:golang/" + module.Path + "@" + module.Version
	component := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: url, Name: module.Path, Version: module.Version, PackageURL: url}
	if module.Sum != "" {
		component.Properties = &[]cdx.Property{{Name: "berth:goSum", Value: module.Sum}}
	}
	return component
}

// linked returns the modules in all programs of an artifact, each once and by path. One that was replaced is what replaced it.
func linked(artifact string) ([]*debug.Module, error) {
	file, err := os.Open(artifact)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	known := map[string]*debug.Module{}
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		program, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", header.Name, err)
		}
		known["stdlib"] = &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}
		for _, module := range info.Deps {
			if module.Replace != nil {
				module = module.Replace
			}
			known[module.Path] = module
		}
	}
	modules := make([]*debug.Module, 0, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		modules = append(modules, known[name])
	}
	return modules, nil
}
