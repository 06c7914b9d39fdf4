// Package buildhost has a node build what the operator's machine would build: it carries the build program there, which keeps all
// that it makes in one folder of the login user, and brings back the artifact.
package buildhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/release"
)

// limit bounds a build, with the time that others before it on the same node take.
const limit = 2 * time.Hour

// Artifact returns an artifact as build.Artifact does, from the cache below dir, or built by the node that the request names, if it does.
// A node that is to have built it itself is asked in any case.
func Artifact(ctx context.Context, dir string, log io.Writer, request release.BuildRequest) (build.Result, error) {
	if request.On == nil {
		return build.Artifact(ctx, dir, log, request)
	}
	return carrier{compile}.artifact(ctx, dir, log, request)
}

// Prepare sees to it that a node can build, and says what is missing where it cannot: nothing stays there then. dir is the cache.
func Prepare(ctx context.Context, dir string, log io.Writer, host release.Host) error {
	return carrier{compile}.prepare(ctx, dir, log, host)
}

// carrier takes a program to nodes.
type carrier struct {
	// program returns the program for an architecture. dir is the cache.
	program func(ctx context.Context, dir string, log io.Writer, arch string) ([]byte, error)
}

func (c carrier) artifact(ctx context.Context, dir string, log io.Writer, request release.BuildRequest) (build.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	host := *request.On
	var built string
	var n *node
	defer func() { n.close() }()
	// ask has the node build, once.
	ask := func() error {
		var err error
		if n != nil {
			return nil
		}
		if n, err = c.connect(ctx, dir, log, host); err != nil {
			return err
		}
		built, err = n.build(ctx, log, request)
		return err
	}
	if host.Own {
		if err := ask(); err != nil {
			return build.Result{}, err
		}
	}
	result, err := build.Import(ctx, dir, log, request, host.Name, func(w io.Writer) (string, error) {
		if err := ask(); err != nil {
			return "", err
		}
		return built, n.send(ctx, log, request, w)
	})
	if err != nil {
		return build.Result{}, err
	}
	if host.Own && result.Digest != built {
		return build.Result{}, fmt.Errorf("%s built containerd %s for %s as %s, and %s built it as %s, though every machine has to "+
			"give the same; find out which of them is wrong, and delete %s if it is the second",
			host.Name, release.FullVersion(request.Version), request.Arch, built, nameOf(result.Maker), result.Digest, result.Path)
	}
	return result, nil
}

func nameOf(maker string) string {
	if maker == "" {
		return "this machine"
	}
	return maker
}

func (c carrier) prepare(ctx context.Context, dir string, log io.Writer, host release.Host) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	n, err := c.connect(ctx, dir, log, host)
	if err != nil {
		return err
	}
	defer n.close()
	err = n.run(ctx, "check", release.BuildRequest{}, io.Discard, log)
	if err == nil {
		return nil
	}
	// A creation that fails is not in the state, and nobody would remove what it left.
	if _, cleaning := n.client.Run(ctx, inFolder(host.Stack, remove), ""); cleaning != nil {
		err = errors.Join(err, fmt.Errorf("removing the build program from %s: %w", host.Name, cleaning))
	}
	return err
}

// build has the node build and returns the digest of what it built.
func (n *node) build(ctx context.Context, log io.Writer, request release.BuildRequest) (string, error) {
	var digest strings.Builder
	if err := n.run(ctx, "build", request, &digest, log); err != nil {
		return "", err
	}
	return strings.TrimSpace(digest.String()), nil
}

// send writes to w what the node built.
func (n *node) send(ctx context.Context, log io.Writer, request release.BuildRequest, w io.Writer) error {
	return n.run(ctx, "send", request, w, log)
}

// run runs a verb of the carried program. Its stdin stays open until it has ended, and it ends when that is closed: nothing goes on
// building there for an operator who is gone.
func (n *node) run(ctx context.Context, verb string, request release.BuildRequest, stdout, log io.Writer) error {
	text, err := json.Marshal(release.HostRequest{Version: request.Version, Arch: request.Arch, Settings: n.settings})
	if err != nil {
		return fmt.Errorf("encoding the request to %s: %w", n.host.Name, err)
	}
	reader, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	stdin := io.MultiReader(strings.NewReader(string(text)+"\n"), reader)
	err = n.client.Stream(ctx, inFolder(n.host.Stack, fmt.Sprintf(start, verb)), stdin, stdout, log)
	if err != nil {
		return fmt.Errorf("building on %s: %w", n.host.Name, said(err))
	}
	return nil
}

// sources are the operator's settings about where modules come from.
func sources(ctx context.Context, log io.Writer) (map[string]string, error) {
	tool, err := gotool.New(ctx, release.Toolchain, log)
	if err != nil {
		return nil, err
	}
	return tool.Sources(ctx)
}
