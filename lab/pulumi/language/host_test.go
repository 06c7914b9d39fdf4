package language_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"berth/lab/pulumi/language"
)

// program writes a Go program of the given body and returns its folder.
func program(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module program\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "main.go"), "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() {\n"+body+"\n}\n")
	return dir
}

func write(t *testing.T, file, body string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
}

func run(t *testing.T, host *language.Host, dir string, options map[string]any) (*pulumirpc.RunResponse, error) {
	t.Helper()
	fields, err := structpb.NewStruct(options)
	require.NoError(t, err)
	return host.Run(t.Context(), &pulumirpc.RunRequest{
		Project: "berth", Stack: "lab", Pwd: dir, MonitorAddress: "monitor", DryRun: true, Parallel: 7,
		Config: map[string]string{"berth:a": "{\"b\": 1}"}, ConfigSecretKeys: []string{"berth:a"},
		Info: &pulumirpc.ProgramInfo{RootDirectory: dir, ProgramDirectory: dir, EntryPoint: ".", Options: fields},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want *pulumirpc.RunResponse
	}{
		"success":                        {body: "_, _ = fmt.Sprint(), os.Args", want: &pulumirpc.RunResponse{}},
		"an error that the engine shows": {body: "fmt.Print(); os.Exit(32)", want: &pulumirpc.RunResponse{Bail: true}},
		"any other failure": {
			body: "fmt.Print(); os.Exit(3)", want: &pulumirpc.RunResponse{Error: "program exited with non-zero exit code: 3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			resp, err := run(t, &language.Host{Cache: t.TempDir(), Stdout: &out, Stderr: &out}, program(t, test.body), nil)
			require.NoError(t, err)
			assert.Equal(t, test.want.String(), resp.String())
		})
	}
}

func TestRunGivesTheProgramItsEnvironment(t *testing.T) {
	t.Parallel()
	dir := program(t, `	wd, _ := os.Getwd()
	fmt.Println(wd)
	for _, name := range []string{"PROJECT", "STACK", "ROOT_DIRECTORY", "CONFIG", "CONFIG_SECRET_KEYS", "DRY_RUN", "PARALLEL", "MONITOR", "ENGINE"} {
		fmt.Println(os.Getenv("PULUMI_" + name))
	}`)
	var out bytes.Buffer
	_, err := run(t, &language.Host{Engine: "engine", Cache: t.TempDir(), Stdout: &out, Stderr: &out}, dir, nil)
	require.NoError(t, err)
	assert.Equal(t, dir+"\nberth\nlab\n"+dir+"\n"+`{"berth:a":"{\"b\": 1}"}`+"\n"+`["berth:a"]`+"\ntrue\n7\nmonitor\nengine\n", out.String())
}

func TestRunBuildsOnceAndOutsideTheTree(t *testing.T) {
	t.Parallel()
	dir, cache := program(t, "fmt.Println(len(os.Args))"), t.TempDir()
	var out bytes.Buffer
	host := &language.Host{Cache: cache, Stdout: &out, Stderr: &out}
	_, err := run(t, host, dir, nil)
	require.NoError(t, err)
	built, err := filepath.Glob(filepath.Join(cache, "*", "program"))
	require.NoError(t, err)
	require.Len(t, built, 1)
	first, err := os.Stat(built[0])
	require.NoError(t, err)

	_, err = run(t, host, dir, nil)
	require.NoError(t, err)
	second, err := os.Stat(built[0])
	require.NoError(t, err)
	assert.True(t, os.SameFile(first, second), "an unchanged program was linked again")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "the program's folder has new files")

	write(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() { println(\"changed\") }\n")
	_, err = run(t, host, dir, nil)
	require.NoError(t, err)
	assert.Equal(t, "1\n1\nchanged\n", out.String())
}

func TestRunShowsWhatDoesNotCompile(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	host := &language.Host{Cache: t.TempDir(), Stdout: &stdout, Stderr: &stderr}
	_, err := run(t, host, program(t, "nonsense(fmt.Sprint(), os.Args)"), nil)
	require.ErrorContains(t, err, "error in compiling Go")
	assert.Contains(t, stderr.String(), "main.go:9:1: undefined: nonsense")
}

func TestRunOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "built"), "#!/bin/sh\necho ran\n")
	require.NoError(t, os.Chmod(filepath.Join(dir, "built"), 0o700))
	for name, test := range map[string]struct {
		options map[string]any
		fails   string
	}{
		"binary is run as it is":        {options: map[string]any{"binary": filepath.Join(dir, "built")}},
		"a binary that is not there":    {options: map[string]any{"binary": "no-such-program"}, fails: "unable to find 'no-such-program' executable"},
		"binary and buildTarget":        {options: map[string]any{"binary": "a", "buildTarget": "b"}, fails: "cannot both be specified"},
		"a binary that is not a string": {options: map[string]any{"binary": 3}, fails: "binary option must be a string"},
		"a folder without a Go program": {fails: "error in compiling Go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			_, err := run(t, &language.Host{Cache: t.TempDir(), Stdout: &out, Stderr: &out}, dir, test.options)
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "ran\n", out.String())
		})
	}
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sdks := map[string]string{ // folder: pulumi-plugin.json
		"command": `{"resource": true, "name": "command", "version": "1.2.1"}`,
		"tls":     `{"resource": true, "name": "tls", "version": "v5.5.1", "server": "https://example.com"}`,
		"other":   `{"resource": false, "name": "other", "version": "1.0.0"}`,
	}
	var mod strings.Builder
	mod.WriteString("module program\n\ngo 1.26\n")
	for name, plugin := range sdks {
		mod.WriteString("\nrequire example.com/" + name + " v1.0.0\nreplace example.com/" + name + " => ./" + name + "\n")
		write(t, filepath.Join(dir, name, "go.mod"), "module example.com/"+name+"\n\ngo 1.26\n")
		write(t, filepath.Join(dir, name, "go", name, "pulumi-plugin.json"), plugin)
	}
	mod.WriteString("\nrequire example.com/plain v1.0.0 // indirect\nreplace example.com/plain => ./plain\n")
	write(t, filepath.Join(dir, "plain", "go.mod"), "module example.com/plain\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "go.mod"), mod.String())
	info := &pulumirpc.ProgramInfo{ProgramDirectory: dir}
	host := &language.Host{}

	packages, err := host.GetRequiredPackages(t.Context(), &pulumirpc.GetRequiredPackagesRequest{Info: info})
	require.NoError(t, err)
	got := map[string]string{}
	for _, p := range packages.GetPackages() {
		got[p.GetName()] = p.GetKind() + " " + p.GetVersion() + " " + p.GetServer()
	}
	assert.Equal(t, map[string]string{"command": "resource v1.2.1 ", "tls": "resource v5.5.1 https://example.com"}, got)

	for transitive, want := range map[bool]int{false: 3, true: 4} {
		deps, err := host.GetProgramDependencies(t.Context(), &pulumirpc.GetProgramDependenciesRequest{Info: info, TransitiveDependencies: transitive})
		require.NoError(t, err)
		assert.Len(t, deps.GetDependencies(), want)
	}

	empty, err := host.GetRequiredPackages(t.Context(), &pulumirpc.GetRequiredPackagesRequest{
		Info: &pulumirpc.ProgramInfo{ProgramDirectory: t.TempDir()},
	})
	require.NoError(t, err)
	assert.Empty(t, empty.GetPackages())
}

func TestAbout(t *testing.T) {
	t.Parallel()
	host := &language.Host{Version: "3.218.0"}
	about, err := host.About(t.Context(), &pulumirpc.AboutRequest{})
	require.NoError(t, err)
	assert.Contains(t, about.GetVersion(), "go version go")
	info, err := host.GetPluginInfo(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, "3.218.0", info.GetVersion())
}
