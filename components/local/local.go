// Package local runs the Go programs of this project on the operator's machine as resources of the graph.
package local

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// ProgramArgs describes one run of a Go program of this project.
type ProgramArgs struct {
	// Package is the program's folder, relative to the project's ("./components/containerd/cmd/build").
	Package string
	// Summary is what previews and errors show, and the program's argument. Never a secret.
	Summary string
	// Delete is the summary of what the program does when the resource goes, with the input of its last run; empty is nothing. A program
	// that does something else then knows it by the first word.
	Delete string
	// Input becomes JSON on the program's stdin, a map or a struct of inputs. A changed input runs the program again.
	Input pulumi.Input
	// Secret says that the input holds a secret: the output is not shown while it runs and is encrypted in the state.
	Secret bool
	// Progress has what the program says on stderr be shown while it runs although the input is a secret: nothing of that may be in it.
	Progress bool
}

// NewProgram runs a Go program with the operator's Go. What it prints on stdout is the resource's stdout. A command of its own
// instead of a shell line works on Windows too, and needs no quoting.
func NewProgram(ctx *pulumi.Context, name string, args *ProgramArgs, opts ...pulumi.ResourceOption) (*local.Command, error) {
	stdin := pulumi.ToOutput(args.Input).ApplyT(func(v any) (string, error) {
		text, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("encoding the input of %s: %w", args.Package, err)
		}
		return string(text), nil
	}).(pulumi.StringOutput)
	logging := local.LoggingStderr
	if args.Secret {
		if !args.Progress {
			logging = local.LoggingNone
		}
		stdin = pulumi.ToSecret(stdin).(pulumi.StringOutput)
		opts = append(opts, pulumi.AdditionalSecretOutputs([]string{"stdin", "stdout", "stderr"}))
	}
	command := &local.CommandArgs{
		Interpreter:            pulumi.ToStringArray([]string{"go", "run", args.Package}),
		Create:                 pulumi.String(args.Summary),
		Stdin:                  stdin,
		Logging:                logging,
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}
	if args.Delete != "" {
		command.Delete = pulumi.String(args.Delete)
	}
	return local.NewCommand(ctx, name, command, opts...)
}
