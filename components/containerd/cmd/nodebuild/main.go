// Command nodebuild builds the patched containerd on a node. berth carries it there and runs it over SSH as the login user; all
// that it and Go keep lies in the folder that it lies in, so that who removes the folder has removed everything.
//
// It reads a release.HostRequest as JSON from standard input, and goes on only while that stays open: an operator who hangs up ends
// the build. Its argument is check (is all there to build?), build (build, and print the digest of the artifact) or send (build,
// and write the artifact to standard output). Progress goes to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/release"
)

var errHungUp = errors.New("the operator's connection ended")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	self, err := os.Executable()
	if err == nil {
		err = run(ctx, filepath.Dir(self), strings.Join(os.Args[1:], " "), os.Stdin, os.Stdout, os.Stderr)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, verb string, stdin io.Reader, stdout, stderr io.Writer) error {
	var request release.HostRequest
	if err := json.NewDecoder(stdin).Decode(&request); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	ctx, hungUp := context.WithCancelCause(ctx)
	defer hungUp(nil)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		hungUp(errHungUp)
	}()
	// One at a time: two builds side by side are too much for a small node.
	unlock, err := build.Lock(ctx, filepath.Join(dir, "lock"), stderr, "another build runs here; waiting for it")
	if err != nil {
		return err
	}
	defer unlock()
	if err := settle(dir, request.Settings); err != nil {
		return err
	}
	if verb == "check" {
		return checkGo(ctx, dir, stderr)
	}
	result, err := build.Artifact(ctx, dir, stderr, release.BuildRequest{Version: request.Version, Arch: request.Arch})
	if err != nil {
		return err
	}
	switch verb {
	case "build":
		_, err = fmt.Fprintln(stdout, result.Digest)
		return err
	case "send":
		return send(result.Path, stdout)
	default:
		return fmt.Errorf("unknown verb %q: check, build or send", verb)
	}
}

// settle gives Go the operator's settings, and folders of its own. Whoever holds the lock may empty the temporary one: what is in it a
// killed build left.
func settle(dir string, settings map[string]string) error {
	config, err := os.UserConfigDir()
	if err != nil {
		return fmt.Errorf("finding Go's own settings: %w", err)
	}
	temporary := filepath.Join(dir, "tmp")
	if err := os.RemoveAll(temporary); err != nil {
		return fmt.Errorf("emptying the temporary folder: %w", err)
	}
	if err := os.MkdirAll(temporary, 0o700); err != nil {
		return fmt.Errorf("making the temporary folder: %w", err)
	}
	environment := map[string]string{
		"GOMODCACHE": filepath.Join(dir, "mod"), "GOCACHE": filepath.Join(dir, "go-build"), "GOPATH": filepath.Join(dir, "path"),
		"GOTMPDIR": temporary,
		// Go counts its own use below the user's configuration.
		"XDG_CONFIG_HOME": filepath.Join(dir, "config"),
	}
	if os.Getenv("GOENV") == "" {
		environment["GOENV"] = filepath.Join(config, "go", "env")
	}
	for name, value := range settings {
		environment[name] = value
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// checkGo fetches the Go that builds, if the node has another, so that what lacks is known before anything is built.
func checkGo(ctx context.Context, dir string, log io.Writer) error {
	tool, err := gotool.New(ctx, release.Toolchain, log)
	if err != nil {
		return err
	}
	if _, err := tool.Run(ctx, dir, "", "version"); err != nil {
		return fmt.Errorf("getting %s, which makes every build: install it in /usr/local/go, or see that GOPROXY and GOSUMDB "+
			"can be reached: %w", release.Toolchain, err)
	}
	return nil
}

func send(path string, stdout io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sending the artifact: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := io.Copy(stdout, file); err != nil {
		return fmt.Errorf("sending the artifact: %w", err)
	}
	return nil
}
