// Package language is a stand-in for Pulumi's Go language host: it builds a Go program and runs it under the engine.
//
// The genuine host is published as a release download only. This one covers what preview, up, refresh and destroy ask
// for; everything else (converting, generating packages, debugging, plugins from source) answers "unimplemented".
package language

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Host answers the engine's LanguageRuntime calls.
type Host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// Engine is the address of the engine that started the host.
	Engine string
	// Version is what the host reports about itself.
	Version string
	// Cache holds the built programs, one folder per program directory.
	Cache string
	// Stdout and Stderr receive what the program and the compiler print; the engine shows both.
	Stdout, Stderr io.Writer
}

// Handshake accepts the engine's greeting.
func (*Host) Handshake(context.Context, *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo reports the host's version.
func (h *Host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: h.Version}, nil
}

// About reports the Go toolchain.
func (*Host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("looking for the go command: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its version: %w", err)
	}
	return &pulumirpc.AboutResponse{Executable: path, Version: strings.TrimSpace(string(out))}, nil
}

// Run builds the program, unless the project names a built one (runtime option binary), and runs it to its end.
func (h *Host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	env, err := h.environment(req)
	if err != nil {
		return nil, err
	}
	program, err := h.program(ctx, req.GetInfo())
	if err != nil {
		return nil, err
	}

	// Not ended with ctx: the engine ends the program by closing the monitor, and the program then reports.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program)
	cmd.Dir, cmd.Env = req.GetPwd(), env
	cmd.Stdout, cmd.Stderr = h.Stdout, h.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case !errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("running the program: %v", err)}, nil
	case exit.ExitCode() == constant.ExitStatusLoggedError:
		// The program has told the engine what is wrong: nothing to add.
		return &pulumirpc.RunResponse{Bail: true}, nil
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("program exited with non-zero exit code: %d", exit.ExitCode())}, nil
	}
}

// environment is what the Go SDK reads in place of arguments.
func (h *Host) environment(req *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(req.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	secretKeys, err := json.Marshal(req.GetConfigSecretKeys())
	if err != nil {
		return nil, fmt.Errorf("encoding the names of secret configuration: %w", err)
	}
	return append(os.Environ(),
		"PULUMI_ORGANIZATION="+req.GetOrganization(),
		"PULUMI_PROJECT="+req.GetProject(),
		"PULUMI_STACK="+req.GetStack(),
		"PULUMI_ROOT_DIRECTORY="+req.GetInfo().GetRootDirectory(),
		"PULUMI_CONFIG="+string(config),
		"PULUMI_CONFIG_SECRET_KEYS="+string(secretKeys),
		"PULUMI_DRY_RUN="+strconv.FormatBool(req.GetDryRun()),
		"PULUMI_PARALLEL="+strconv.Itoa(int(req.GetParallel())),
		"PULUMI_MONITOR="+req.GetMonitorAddress(),
		"PULUMI_ENGINE="+h.Engine,
	), nil
}

// GetRequiredPackages lists the plugins of the SDKs that the program's go.mod requires. It is lenient, as the genuine
// host is: a program without a readable go.mod requires nothing.
func (*Host) GetRequiredPackages(
	ctx context.Context, req *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	resp := &pulumirpc.GetRequiredPackagesResponse{}
	file, err := goMod(ctx, req.GetInfo().GetProgramDirectory())
	if err != nil || len(file.Require) == 0 {
		return resp, nil //nolint:nilerr // lenient
	}
	args := []string{"list", "-m", "-f", "{{.Path}}\t{{.Version}}\t{{.Dir}}"}
	for _, require := range file.Require {
		args = append(args, require.Mod.Path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Dir(file.Syntax.Name)
	out, err := cmd.Output()
	if err != nil {
		return resp, nil //nolint:nilerr // lenient
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 || fields[2] == "" { // not downloaded yet: the plugin is then looked for when it is needed
			continue
		}
		if dep := sdkPlugin(fields[0], fields[1], fields[2]); dep != nil {
			resp.Packages = append(resp.Packages, dep)
		}
	}
	return resp, nil
}

// goMod reads the go.mod of the module that dir belongs to.
func goMod(ctx context.Context, dir string) (*modfile.File, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOMOD")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the program's go.mod: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" || path == os.DevNull {
		return nil, fmt.Errorf("looking for the program's go.mod: none in %s or above", dir)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the program's go.mod: %w", err)
	}
	file, err := modfile.Parse(path, body, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the program's go.mod: %w", err)
	}
	return file, nil
}

// sdkPlugin returns the plugin that a module is the SDK of, nil if it is none.
func sdkPlugin(path, version, dir string) *pulumirpc.PackageDependency {
	var files []string
	for _, pattern := range []string{"", "go", "go/*", "*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern, "pulumi-plugin.json"))
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil
	}
	body, err := os.ReadFile(files[0])
	if err != nil {
		return nil
	}
	var plugin struct {
		Resource              bool
		Name, Version, Server string
	}
	if json.Unmarshal(body, &plugin) != nil || !plugin.Resource {
		return nil
	}
	if plugin.Name == "" { // github.com/pulumi/pulumi-NAME/sdk/vN
		plugin.Name = strings.TrimPrefix(strings.Split(path+"///", "/")[2], "pulumi-")
	}
	if plugin.Version == "" {
		if version == "" || module.IsPseudoVersion(version) {
			return nil
		}
		plugin.Version = version
	}
	return &pulumirpc.PackageDependency{
		Name: plugin.Name, Kind: "resource", Version: "v" + strings.TrimPrefix(plugin.Version, "v"), Server: plugin.Server,
	}
}

// GetProgramDependencies lists what the program's go.mod requires, direct or all.
func (*Host) GetProgramDependencies(
	ctx context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	file, err := goMod(ctx, req.GetInfo().GetProgramDirectory())
	if err != nil {
		return nil, err
	}
	resp := &pulumirpc.GetProgramDependenciesResponse{}
	for _, require := range file.Require {
		if req.GetTransitiveDependencies() || !require.Indirect {
			resp.Dependencies = append(resp.Dependencies,
				&pulumirpc.DependencyInfo{Name: require.Mod.Path, Version: require.Mod.Version})
		}
	}
	return resp, nil
}

// InstallDependencies downloads the program's modules.
func (*Host) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	dir := req.GetInfo().GetProgramDirectory()
	if dir == "" {
		dir = req.GetDirectory() //nolint:staticcheck // the only field that older engines fill
	}
	cmd := exec.CommandContext(stream.Context(), "go", "mod", "download")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if out.Len() > 0 {
		if err := stream.Send(&pulumirpc.InstallDependenciesResponse{Stderr: out.Bytes()}); err != nil {
			return fmt.Errorf("reporting the download: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("downloading the program's modules: %w", err)
	}
	return nil
}
