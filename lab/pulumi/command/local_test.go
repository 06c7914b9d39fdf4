package command_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	localCommand = "local:Command"
	waitLimit    = 5 * time.Second
	waitStep     = 10 * time.Millisecond
)

// TestLocalCommand pins what the published plugin does on the operator's machine.
func TestLocalCommand(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, p *plug, dir string){
		"create runs in a shell": func(t *testing.T, p *plug, _ string) {
			state := p.created(t, localCommand, object(map[string]any{"create": "echo $((40+2))"}))
			assert.Equal(t, "42", plain(state["stdout"]))
		},
		"a preview runs nothing and leaves stdout unknown": func(t *testing.T, p *plug, dir string) {
			state, err := p.create(t, localCommand, object(map[string]any{"create": "touch ran", "dir": dir}), true)
			require.NoError(t, err)
			assert.True(t, state["stdout"].IsComputed())
			assert.NoFileExists(t, filepath.Join(dir, "ran"))
		},
		"the interpreter gets the command as its last argument": func(t *testing.T, p *plug, _ string) {
			state := p.created(t, localCommand, object(map[string]any{
				"interpreter": []any{"/bin/echo", "one"}, "create": "two three",
			}))
			assert.Equal(t, "one two three", plain(state["stdout"]))
		},
		"dir, environment and stdin": func(t *testing.T, p *plug, dir string) {
			state := p.created(t, localCommand, object(map[string]any{
				"create": "pwd; echo $COLOUR; cat", "dir": dir, "environment": map[string]any{"COLOUR": "blue"}, "stdin": "in",
			}))
			assert.Equal(t, dir+"\nblue\nin", plain(state["stdout"]))
		},
		"update unset runs create again, with the previous output": func(t *testing.T, p *plug, _ string) {
			inputs := map[string]any{"create": "echo was:$PULUMI_COMMAND_STDOUT"}
			old := p.created(t, localCommand, object(inputs))
			state := p.updated(t, localCommand, old, object(with(inputs, map[string]any{"stdin": "x"})))
			assert.Equal(t, "was:was:", plain(state["stdout"]))
		},
		"addPreviousOutputInEnv false keeps it out": func(t *testing.T, p *plug, _ string) {
			inputs := map[string]any{"create": "echo was:$PULUMI_COMMAND_STDOUT", "addPreviousOutputInEnv": false}
			old := p.created(t, localCommand, object(inputs))
			state := p.updated(t, localCommand, old, object(with(inputs, map[string]any{"stdin": "x"})))
			assert.Equal(t, "was:", plain(state["stdout"]))
		},
		"update set runs update, and neither set keeps stdout": func(t *testing.T, p *plug, _ string) {
			old := p.created(t, localCommand, object(map[string]any{"create": "echo one"}))
			state := p.updated(t, localCommand, old, object(map[string]any{"create": "echo one", "update": "echo two"}))
			assert.Equal(t, "two", plain(state["stdout"]))
			state = p.updated(t, localCommand, state, object(map[string]any{"delete": "true"}))
			assert.Equal(t, "two", plain(state["stdout"]))
		},
		"delete runs with the state's dir": func(t *testing.T, p *plug, dir string) {
			state := p.created(t, localCommand, object(map[string]any{"delete": "touch gone", "dir": dir}))
			require.NoError(t, p.delete(t, localCommand, state))
			assert.FileExists(t, filepath.Join(dir, "gone"))
		},
		"the error shows the command and all output": func(t *testing.T, p *plug, _ string) {
			_, err := p.create(t, localCommand, object(map[string]any{"create": "echo out; exit 7"}), false)
			require.ErrorContains(t, err, "exit status 7: running \"echo out; exit 7\":\nout\n")
		},
		"a timeout ends the command": func(t *testing.T, p *plug, _ string) {
			p.timeout = 0.2
			start := time.Now()
			_, err := p.create(t, localCommand, object(map[string]any{"create": "exec sleep 30"}), false)
			require.Error(t, err)
			assert.Less(t, time.Since(start), 10*time.Second)
		},
		"logging none shows nothing": func(t *testing.T, p *plug, _ string) {
			p.created(t, localCommand, object(map[string]any{"create": "echo quiet", "logging": "none"}))
			assert.Empty(t, p.engine.messages(rpc.LogSeverity_INFO, true))
			p.created(t, localCommand, object(map[string]any{"create": "echo loud"}))
			assert.Equal(t, []string{"loud"}, p.engine.messages(rpc.LogSeverity_INFO, true))
		},
		"assets are refused clearly": func(t *testing.T, p *plug, _ string) {
			for _, property := range []string{"assetPaths", "archivePaths"} {
				_, failures := p.check(t, localCommand, object(map[string]any{"create": "true", property: []any{"*"}}))
				require.Len(t, failures, 1)
				assert.Equal(t, property, failures[0].GetProperty())
				assert.Contains(t, failures[0].GetReason(), "stand-in")
			}
		},
		"a trigger is a diff": func(t *testing.T, p *plug, _ string) {
			old := p.created(t, localCommand, object(map[string]any{"create": "true", "triggers": []any{"a"}}))
			diff := p.diff(t, localCommand, old, object(map[string]any{"create": "true", "triggers": []any{"b"}}))
			assert.Contains(t, diff.GetDetailedDiff(), "triggers[0]")
		},
		"secret stdin does not make stdout secret": func(t *testing.T, p *plug, _ string) {
			state := p.created(t, localCommand, object(map[string]any{
				"create": "true", "stdin": resource.MakeSecret(resource.NewStringProperty("hush")),
			}))
			assert.True(t, state["stdin"].IsSecret())
			assert.False(t, state["stdout"].IsSecret())
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newPlug(t), t.TempDir())
		})
	}
}
