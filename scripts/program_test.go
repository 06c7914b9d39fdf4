package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// project is a program of one line a file, and a go command that notes its calls and builds from main.go.
func project(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a project")
	script, err := os.ReadFile("operator/program.sh")
	require.NoError(t, err)
	for name, content := range map[string]string{
		"scripts/operator/program.sh":    string(script),
		"tools/go":                       "#!/bin/sh\necho \"$*\" >>calls\ncp main.go \"$3\"\nexit \"$(cat fails)\"\n",
		"main.go":                        "#!/bin/sh\necho \"one $* in $PWD\"; exit 7\n",
		"go.mod":                         "",
		"go.sum":                         "",
		"fails":                          "0\n",
		"components/node/node.go":        "",
		"components/node/node_test.go":   "",
		"components/node/testdata/x.txt": "",
		"internal/x/x.go":                "",
		"stacks/Pulumi.prod.yaml":        "",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o700))
	}
	return dir
}

// compiling is said before the seconds that a build takes.
const compiling = "berth: compiling the program\n"

func TestProgram(t *testing.T) {
	t.Parallel()
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := project(t)
			run := func() (string, int) {
				cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:len(shell):len(shell)], filepath.Join(dir, "scripts/operator/program.sh"), "a b")...)
				cmd.Dir = t.TempDir()
				cmd.Env = []string{"PATH=" + filepath.Join(dir, "tools") + ":" + os.Getenv("PATH")}
				out, _ := cmd.CombinedOutput()
				return strings.ReplaceAll(string(out), cmd.Dir, "HERE"), cmd.ProcessState.ExitCode()
			}
			write := func(name, content string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}
			builds := func() int {
				calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
				return strings.Count(string(calls), "build -o "+filepath.Join(dir, "bin/berth"))
			}
			out, code := run()
			assert.Equal(t, compiling+"one a b in HERE\n", out)
			assert.Equal(t, 7, code)
			out, code = run()
			assert.Equal(t, "one a b in HERE\n", out)
			assert.Equal(t, 7, code)
			assert.Equal(t, 1, builds(), "nothing has changed")
			write("components/node/node_test.go", "changed")
			write("components/node/testdata/x.txt", "changed")
			write("stacks/Pulumi.prod.yaml", "changed")
			_, _ = run()
			assert.Equal(t, 1, builds(), "nothing that the program is made of has changed")

			write("fails", "1\n")
			write("main.go", "#!/bin/sh\necho two\n")
			out, code = run()
			assert.Equal(t, compiling+"berth: the program does not compile: see above\n", out)
			assert.Equal(t, 1, code)
			write("fails", "0\n")
			out, code = run()
			assert.Equal(t, compiling+"two\n", out, "what did not compile is built when it does")
			assert.Equal(t, 0, code)
			built := builds()
			require.NoError(t, os.Remove(filepath.Join(dir, "internal/x/x.go")))
			_, _ = run()
			assert.Equal(t, built+1, builds(), "a file is gone")
			left, err := filepath.Glob(filepath.Join(dir, "bin/*"))
			require.NoError(t, err)
			assert.Equal(t, []string{filepath.Join(dir, "bin/berth")}, left)
		})
	}
}
