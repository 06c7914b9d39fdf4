package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyInputs are the properties of a CopyToRemote.
type CopyInputs struct {
	Connection *Connection          `pulumi:"connection"        provider:"secret"`
	Triggers   []any                `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
}

func (c *CopyInputs) hash() string {
	if c.Source.Archive != nil {
		return c.Source.Archive.Hash
	}
	return c.Source.Asset.Hash
}

// CopyOutputs is the state of a CopyToRemote.
type CopyOutputs struct{ CopyInputs }

// CopyToRemote copies a file, a text or a folder to another machine. Nothing takes the copy away again.
type CopyToRemote struct{}

// Check accepts a file, a text, or an archive that is a path; a source that is not known yet is refused.
func (*CopyToRemote) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CopyInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyInputs](ctx, req.NewInputs)
	asset, archive := inputs.Source.Asset, inputs.Source.Archive
	fail := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	switch {
	case asset != nil && archive != nil:
		fail("asset", "only one of asset or archive can be set")
	case asset == nil && archive == nil:
		fail("asset", "either asset or archive must be set")
	case asset != nil && !asset.IsPath() && !asset.IsText():
		fail("asset", "asset must be a path-based file asset or a text asset")
	case archive != nil && !archive.IsPath():
		fail("archive", "archive must be a path to a file or directory")
	}
	return infer.CheckResponse[CopyInputs]{Inputs: inputs, Failures: failures}, err
}

// Create copies.
func (*CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyInputs],
) (infer.CreateResponse[CopyOutputs], error) {
	resp := infer.CreateResponse[CopyOutputs]{Output: CopyOutputs{req.Inputs}}
	if req.DryRun {
		return resp, nil
	}
	err := req.Inputs.copy(ctx)
	if err == nil {
		resp.ID, err = resource.NewUniqueHex("", 8, 0)
	}
	return resp, err
}

// Update copies again where the content or the remote path changed, and only then: another connection copies nothing.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyInputs, CopyOutputs],
) (infer.UpdateResponse[CopyOutputs], error) {
	var err error
	changed := req.Inputs.hash() != req.State.hash() || req.Inputs.RemotePath != req.State.RemotePath
	if changed && !req.DryRun {
		err = req.Inputs.copy(ctx)
	}
	return infer.UpdateResponse[CopyOutputs]{Output: CopyOutputs{req.Inputs}}, err
}

func (c *CopyInputs) copy(ctx context.Context) error {
	client, err := c.Connection.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	files, err := sftp.NewClient(client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("starting sftp: %w", err)
	}
	defer func() { _ = files.Close() }()

	target := remote{files}
	isDir, err := target.isDir(c.RemotePath)
	if err != nil {
		return err
	}
	if asset := c.Source.Asset; asset != nil && asset.IsText() {
		if isDir {
			return fmt.Errorf("remote path %s is a directory; a text asset needs the path of a file", c.RemotePath)
		}
		if err := target.parents(c.RemotePath); err != nil {
			return err
		}
		return target.write(c.RemotePath, strings.NewReader(asset.Text))
	}

	source := ""
	if c.Source.Asset != nil {
		source = c.Source.Asset.Path
	} else {
		source = c.Source.Archive.Path
	}
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	if err := target.parents(c.RemotePath); err != nil {
		return err
	}
	destination := c.RemotePath
	if !info.IsDir() {
		if isDir { // a file goes into a folder that is there
			destination = path.Join(destination, filepath.Base(source))
		}
		return target.file(source, destination)
	}
	if !strings.HasSuffix(source, "/") { // a folder without a slash at its end keeps its name
		if err := target.mkdir(destination); err != nil {
			return err
		}
		destination = path.Join(destination, filepath.Base(source))
	}
	return target.folder(source, destination)
}

// remote writes to a machine, with the mode that the login's umask leaves, straight into the file.
type remote struct{ *sftp.Client }

// isDir is false for a path that is not there.
func (r remote) isDir(name string) (bool, error) {
	info, err := r.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at remote path %s: %w", name, err)
	}
	return info.IsDir(), nil
}

func (r remote) parents(name string) error {
	if err := r.MkdirAll(path.Dir(name)); err != nil {
		return fmt.Errorf("making remote directory %s: %w", path.Dir(name), err)
	}
	return nil
}

func (r remote) mkdir(name string) error {
	if err := r.MkdirAll(name); err != nil {
		return fmt.Errorf("making remote directory %s: %w", name, err)
	}
	return nil
}

func (r remote) write(name string, content io.Reader) error {
	file, err := r.Create(name)
	if err != nil {
		return fmt.Errorf("creating remote file %s: %w", name, err)
	}
	if _, err := file.ReadFrom(content); err != nil {
		_ = file.Close()
		return fmt.Errorf("writing remote file %s: %w", name, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("writing remote file %s: %w", name, err)
	}
	return nil
}

func (r remote) file(source, destination string) error {
	file, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	defer func() { _ = file.Close() }()
	return r.write(destination, file)
}

func (r remote) folder(source, destination string) error {
	return filepath.WalkDir(source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		to := path.Join(destination, filepath.ToSlash(relative))
		if entry.IsDir() {
			return r.mkdir(to)
		}
		return r.file(name, to)
	})
}
