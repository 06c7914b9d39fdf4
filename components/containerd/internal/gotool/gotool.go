// Package gotool runs the go command with settings that do not depend on the operator's.
package gotool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// sources are the Go settings that say where modules come from, and own those that are of use on one machine alone: where
// caches are, and how it logs in. They do not change what is built; everything else is set by Run.
var (
	sources = []string{"GOPROXY", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS"}
	own     = []string{"GOAUTH", "GOMODCACHE", "GOCACHE", "GOPATH", "GOTMPDIR"}
)

// oldest is the first Go release that takes another one as a module.
const oldest = "go1.21"

// Tool runs a go command of a pinned release.
type Tool struct {
	path      string
	toolchain string
	base      []string
	log       io.Writer
}

// New finds the go command on the PATH, or in /usr/local/go. toolchain is the release that does the work, such as "go1.26.8"; another
// release that is found fetches it as a module. What go reports while it runs goes to log.
func New(ctx context.Context, toolchain string, log io.Writer) (*Tool, error) {
	// Where Go is installed by hand; the PATH of a login by SSH often lacks it.
	path, err := find(toolchain, "/usr/local/go/bin/go")
	if err != nil {
		return nil, err
	}
	settings, err := ask(ctx, path)
	if err != nil {
		return nil, err
	}
	if found := settings["GOVERSION"]; version.IsValid(found) && version.Compare(found, oldest) < 0 {
		return nil, fmt.Errorf("%s is %s, which cannot fetch %s as a module; install %s in its place, or any Go from 1.21 on",
			path, found, toolchain, toolchain)
	}
	tool := &Tool{path: path, toolchain: toolchain, log: log}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if _, ok := settings[name]; !ok {
			tool.base = append(tool.base, entry)
		}
	}
	for _, name := range slices.Concat(sources, own) {
		if value := settings[name]; value != "" {
			tool.base = append(tool.base, name+"="+value)
		}
	}
	return tool, nil
}

func find(toolchain, usual string) (string, error) {
	path, err := exec.LookPath("go")
	if err == nil {
		return path, nil
	}
	if path, usually := exec.LookPath(usual); usually == nil {
		return path, nil
	}
	return "", fmt.Errorf("finding the go command on the machine that builds: install %s in %s, or on the PATH %s any Go from 1.21 on, "+
		"which fetches it from GOPROXY: %w", toolchain, strings.TrimSuffix(usual, "/bin/go"), os.Getenv("PATH"), err)
}

// ask returns the settings of a go command, or those that flags select.
func ask(ctx context.Context, path string, flags ...string) (map[string]string, error) {
	// Asked from a folder of no module, so that no module or workspace nearby has a say.
	cmd := exec.CommandContext(ctx, path, append([]string{"env", "-json"}, flags...)...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off")
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its settings: %w", path, explain(err))
	}
	settings := map[string]string{}
	if err := json.Unmarshal(output, &settings); err != nil {
		return nil, fmt.Errorf("asking %s for its settings: %w", path, err)
	}
	return settings, nil
}

// Sources returns the settings about where modules come from that somebody has made on this machine: those that are not Go's own defaults.
func (t *Tool) Sources(ctx context.Context) (map[string]string, error) {
	made, err := ask(ctx, t.path, "-changed")
	maps.DeleteFunc(made, func(name, _ string) bool { return !slices.Contains(sources, name) })
	return made, err
}

// Pinned returns the settings under which Run works, apart from where modules come from; they belong into the key of
// whatever is cached.
func (t *Tool) Pinned() map[string]string {
	return map[string]string{
		"GOTOOLCHAIN": t.toolchain,
		// Settings come from the environment alone: what the operator wrote with "go env -w" was taken over by New.
		"GOENV":   "off",
		"GOWORK":  "off",
		"GOOS":    "linux",
		"GOAMD64": "v1",
		"GOARM64": "v8.0",
		// An empty GOFLAGS, GOEXPERIMENT, GODEBUG or GOFIPS140 is the default one.
		"GOFLAGS": "", "GOEXPERIMENT": "", "GODEBUG": "", "GOFIPS140": "",
		"CGO_ENABLED": "0",
	}
}

// Run runs go with the arguments in dir and returns its standard output. arch is GOARCH, empty for the operator's.
func (t *Tool) Run(ctx context.Context, dir, arch string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, t.path, args...)
	cmd.Dir = dir
	cmd.Env = slices.Clone(t.base)
	pinned := t.Pinned()
	for _, name := range slices.Sorted(maps.Keys(pinned)) {
		cmd.Env = append(cmd.Env, name+"="+pinned[name])
	}
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+arch)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(t.log, &stderr)
	// go passes an interrupt on to the compilers that it started; a kill would orphan them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return stdout.Bytes(), fmt.Errorf("running go %s with %s: %w%s", args[0], t.toolchain, err, tail(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// userinfo matches the user part of a URL: a proxy's address may carry a password.
var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// Redact removes user names and passwords from the URLs in a text.
func Redact(text string) string { return userinfo.ReplaceAllString(text, "://") }

// tail returns the last lines of what a command wrote, as an appendix to an error.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(Redact(text)), "\n")
	if len(lines) > 20 {
		lines = lines[len(lines)-20:]
	}
	if joined := strings.Join(lines, "\n  "); joined != "" {
		return "\n  " + joined
	}
	return ""
}

func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w%s", err, tail(string(exit.Stderr)))
	}
	return err
}
