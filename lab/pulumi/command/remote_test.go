package command_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const remoteCommand = "remote:Command"

// TestRemoteCommand pins what the published plugin does, point by point.
func TestRemoteCommand(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap){
		"create in a preview dials nothing and leaves stdout unknown": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			state, err := p.create(t, remoteCommand, in(map[string]any{"create": "echo hi"}), true)
			require.NoError(t, err)
			assert.True(t, state["stdout"].IsComputed(), "stdout is %v", state["stdout"])
			assert.True(t, state["stderr"].IsComputed(), "stderr is %v", state["stderr"])
			assert.Zero(t, s.dialled())
		},
		"create unset succeeds without dialling": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			p.created(t, remoteCommand, in(map[string]any{"delete": "true"}))
			assert.Zero(t, s.dialled())
		},
		"a failed create leaves nothing": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			_, err := p.create(t, remoteCommand, in(map[string]any{"create": "exit 3"}), false)
			require.Error(t, err) // and create checked that nothing came with it
		},
		"update unset runs create again": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo apply"}))
			p.updated(t, remoteCommand, old, in(map[string]any{"create": "echo apply", "stdin": "new"}))
			assert.Equal(t, []string{"echo apply", "echo apply"}, s.ran())
		},
		"update set runs update": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo apply", "update": "echo again"}))
			state := p.updated(t, remoteCommand, old, in(map[string]any{"create": "echo apply", "update": "echo again", "stdin": "x"}))
			assert.Equal(t, []string{"echo apply", "echo again"}, s.ran())
			assert.Equal(t, "again", plain(state["stdout"]))
		},
		"create and update unset: an update dials nothing and keeps stdout": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo kept"}))
			state := p.updated(t, remoteCommand, old, in(map[string]any{"delete": "true"}))
			assert.Equal(t, 1, s.dialled())
			assert.Equal(t, "kept", plain(state["stdout"]))
			assert.Equal(t, "true", plain(state["delete"]))
		},
		"a changed delete alone runs create again, never the old delete": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo apply", "delete": "echo one"}))
			next := in(map[string]any{"create": "echo apply", "delete": "echo two"})
			assert.Equal(t, rpc.DiffResponse_DIFF_SOME, p.diff(t, remoteCommand, old, next).GetChanges())
			p.updated(t, remoteCommand, old, next)
			assert.Equal(t, []string{"echo apply", "echo apply"}, s.ran())
		},
		"a changed connection is an update that runs create again": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo apply"}))
			next := in(map[string]any{"create": "echo apply", "connection": s.connection(map[string]any{"dialErrorLimit": 1.0})})
			diff := p.diff(t, remoteCommand, old, next)
			assert.Equal(t, rpc.DiffResponse_DIFF_SOME, diff.GetChanges())
			assert.Empty(t, diff.GetReplaces())
			p.updated(t, remoteCommand, old, next)
			assert.Len(t, s.ran(), 2)
		},
		"nothing changed is no diff": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := in(map[string]any{"create": "echo apply", "stdin": "a", "logging": "none", "triggers": []any{"t"}})
			old := p.created(t, remoteCommand, inputs)
			assert.Equal(t, rpc.DiffResponse_DIFF_NONE, p.diff(t, remoteCommand, old, inputs).GetChanges())
		},
		"an update in a preview dials nothing and leaves stdout unknown": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := map[string]any{"create": "echo apply", "stdin": "a", "delete": "true", "update": "echo again"}
			old := p.created(t, remoteCommand, in(inputs))
			for key := range inputs {
				change := map[string]any{key: "echo changed"}
				state, err := p.update(t, remoteCommand, old, in(with(inputs, change)), true)
				require.NoError(t, err)
				assert.True(t, state["stdout"].IsComputed(), "after %v stdout is %v", change, state["stdout"])
			}
			assert.Equal(t, 1, s.dialled())
		},
		"a changed trigger is a diff of triggers, which the SDK turns into a replacement": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := map[string]any{"create": "echo apply", "update": "echo again", "triggers": []any{"one"}}
			old := p.created(t, remoteCommand, in(inputs))
			diff := p.diff(t, remoteCommand, old, in(with(inputs, map[string]any{"triggers": []any{"two"}})))
			require.Len(t, diff.GetDetailedDiff(), 1)
			for property := range diff.GetDetailedDiff() {
				assert.Equal(t, "triggers[0]", property) // as its "triggers[*]" matches
			}
		},
		"delete unset succeeds without dialling": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			require.NoError(t, p.delete(t, remoteCommand, p.created(t, remoteCommand, in(map[string]any{"create": "true"}))))
			assert.Equal(t, 1, s.dialled())
		},
		"delete uses the state's connection and stdin": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "cat", "delete": "echo gone; cat", "stdin": "shared"}))
			require.NoError(t, p.delete(t, remoteCommand, state))
			assert.Equal(t, []string{"cat", "echo gone; cat"}, s.ran())
			s.count(func() { assert.Equal(t, []string{"shared", "shared"}, s.stdins) })
		},
		"a failed delete is an error": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "true", "delete": "exit 1"}))
			require.Error(t, p.delete(t, remoteCommand, state))
		},
		"stdin reaches create and update": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "cat", "stdin": "one"}))
			assert.Equal(t, "one", plain(state["stdout"]))
			state = p.updated(t, remoteCommand, state, in(map[string]any{"create": "cat", "update": "cat", "stdin": "two"}))
			assert.Equal(t, "two", plain(state["stdout"]))
		},
		"refresh contacts nothing and keeps the state": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := in(map[string]any{"create": "echo apply"})
			state := p.created(t, remoteCommand, inputs)
			resp, err := p.server.Read(t.Context(), &rpc.ReadRequest{
				Id: "it", Urn: urn(remoteCommand), Properties: marshal(t, state),
				Inputs: marshal(t, p.checked(t, remoteCommand, inputs)),
			})
			require.NoError(t, err)
			assert.Equal(t, "it", resp.GetId())
			assert.Equal(t, "apply", plain(unmarshal(t, resp.GetProperties())["stdout"]))
			assert.Equal(t, 1, s.dialled())
		},
		"one newline at the end of each stream is cut": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": `printf 'a\n\n'; printf 'b\n' >&2`}))
			assert.Equal(t, "a\n", plain(state["stdout"]))
			assert.Equal(t, "b", plain(state["stderr"]))
		},
		"the error shows the command and all output, not stdin": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			command := "echo out; echo err >&2; exit 7"
			_, err := p.create(t, remoteCommand, in(map[string]any{"create": command, "stdin": "hidden", "logging": "none"}), false)
			require.Error(t, err)
			assert.Contains(t, err.Error(), fmt.Sprintf("Process exited with status 7: running %q:\n", command))
			assert.Contains(t, err.Error(), "out\n")
			assert.Contains(t, err.Error(), "err\n")
			assert.NotContains(t, err.Error(), "hidden")
		},
		"no terminal is asked for and the login shell gets the line": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "test -t 0 || echo none"}))
			assert.Equal(t, "none", plain(state["stdout"]))
			assert.Equal(t, []string{"test -t 0 || echo none"}, s.ran())
		},
		"environment goes ahead of the command": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "echo $COLOUR", "environment": map[string]any{"COLOUR": "blue"}}))
			assert.Equal(t, "blue", plain(state["stdout"]))
		},
		"a refused variable of environment is an error": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			s.refuseEnv = true
			_, err := p.create(t, remoteCommand, in(map[string]any{"create": "true", "environment": map[string]any{"COLOUR": "blue"}}), false)
			require.ErrorContains(t, err, "COLOUR")
			assert.Empty(t, s.ran())
		},
		"the previous output is in the environment": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo one; echo two >&2"}))
			update := map[string]any{"update": "echo $PULUMI_COMMAND_STDOUT $PULUMI_COMMAND_STDERR"}
			state := p.updated(t, remoteCommand, old, in(update))
			assert.Equal(t, "one two", plain(state["stdout"]))
			s.count(func() { assert.Len(t, s.env, 2) })
		},
		"addPreviousOutputInEnv false keeps it out": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := map[string]any{"create": "echo one; echo two >&2", "addPreviousOutputInEnv": false, "delete": "true"}
			old := p.created(t, remoteCommand, in(inputs))
			state := p.updated(t, remoteCommand, old, in(with(inputs, map[string]any{"stdin": "x"})))
			require.NoError(t, p.delete(t, remoteCommand, state))
			s.count(func() { assert.Empty(t, s.env) })
		},
		"a refused previous output only warns": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			s.refuseEnv = true
			old := p.created(t, remoteCommand, in(map[string]any{"create": "echo one"}))
			p.updated(t, remoteCommand, old, in(map[string]any{"create": "echo two"}))
			warnings := p.engine.messages(rpc.LogSeverity_WARNING, false)
			require.Len(t, warnings, 1)
			assert.Contains(t, warnings[0], "PULUMI_COMMAND_STDOUT")
		},
		"connection is secret, stdout is not": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			inputs := in(map[string]any{"create": "cat", "stdin": resource.MakeSecret(resource.NewStringProperty("hush"))})
			state := p.created(t, remoteCommand, inputs)
			assert.True(t, state["connection"].IsSecret(), "connection")
			assert.True(t, state["stdin"].IsSecret(), "stdin")
			assert.False(t, state["stdout"].IsSecret(), "stdout")
			assert.False(t, state["create"].IsSecret(), "create")
		},
		"a line over 64 KiB hangs where output is logged": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			done := make(chan struct{})
			request := p.createRequest(t, remoteCommand, in(map[string]any{"create": "head -c 3000000 /dev/zero | tr '\\0' x"}))
			go func() {
				defer close(done)
				_, _ = p.server.Create(context.Background(), request)
			}()
			select {
			case <-done:
				t.Error("it ended: the published plugin hangs, and a program must not come to rely on more")
			case <-time.After(2 * time.Second):
			}
		},
		"a line over 64 KiB passes with logging none": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			state := p.created(t, remoteCommand, in(map[string]any{"create": "head -c 3000000 /dev/zero | tr '\\0' x", "logging": "none"}))
			assert.Len(t, plain(state["stdout"]), 3000000)
		},
		"a running command outlives its timeout": func(t *testing.T, p *plug, _ *sshServer, in func(map[string]any) resource.PropertyMap) {
			p.timeout = 0.2
			start := time.Now()
			state := p.created(t, remoteCommand, in(map[string]any{"create": "sleep 1; echo late"}))
			assert.Equal(t, "late", plain(state["stdout"]))
			assert.GreaterOrEqual(t, time.Since(start), time.Second)
		},
		"the client stays open, and each operation dials anew": func(t *testing.T, p *plug, s *sshServer, in func(map[string]any) resource.PropertyMap) {
			old := p.created(t, remoteCommand, in(map[string]any{"create": "true"}))
			p.updated(t, remoteCommand, old, in(map[string]any{"create": "true", "stdin": "x"}))
			assert.Equal(t, 2, s.dialled())
			s.count(func() { assert.Equal(t, 2, s.open) })
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSSHServer(t)
			test(t, newPlug(t), s, func(values map[string]any) resource.PropertyMap {
				return object(with(map[string]any{"connection": s.connection(nil)}, values))
			})
		})
	}
}

// TestRemoteCommandLogging pins which lines are shown while a command runs, and that they do not stay.
func TestRemoteCommandLogging(t *testing.T) {
	t.Parallel()
	for logging, want := range map[string][]string{
		"":                {"err", "out"},
		"stdoutAndStderr": {"err", "out"},
		"stdout":          {"out"},
		"stderr":          {"err"},
		"none":            nil,
	} {
		t.Run("logging "+logging, func(t *testing.T) {
			t.Parallel()
			s, p := newSSHServer(t), newPlug(t)
			inputs := map[string]any{"connection": s.connection(nil), "create": "echo out; sleep 0.1; echo err >&2"}
			if logging != "" {
				inputs["logging"] = logging
			}
			state := p.created(t, remoteCommand, object(inputs))
			assert.Equal(t, want, p.engine.messages(rpc.LogSeverity_INFO, true))
			assert.Empty(t, p.engine.messages(rpc.LogSeverity_INFO, false))
			assert.Equal(t, "out/err", strings.Join([]string{plain(state["stdout"]), plain(state["stderr"])}, "/"))
		})
	}
}
