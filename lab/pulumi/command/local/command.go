// Package local holds the resources of the command plugin that work on the operator's machine.
package local

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"berth/lab/pulumi/command/output"
)

// Logging says which streams are shown while a command runs.
type Logging string

// Values lists the modes.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{
		{Name: "Stdout", Value: output.Stdout},
		{Name: "Stderr", Value: output.Stderr},
		{Name: "StdoutAndStderr", Value: output.StdoutAndStderr},
		{Name: "None", Value: output.None},
	}
}

// CommandInputs are the properties of a Command.
type CommandInputs struct {
	Interpreter            []string          `pulumi:"interpreter,optional"`
	Dir                    *string           `pulumi:"dir,optional"`
	Environment            map[string]string `pulumi:"environment,optional"`
	Triggers               []any             `pulumi:"triggers,optional"               provider:"replaceOnChanges"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
	AssetPaths             []string          `pulumi:"assetPaths,optional"`
	ArchivePaths           []string          `pulumi:"archivePaths,optional"`
}

// Annotate sets the defaults.
func (c *CommandInputs) Annotate(a infer.Annotator) { a.SetDefault(&c.AddPreviousOutputInEnv, true) }

// CommandOutputs is the state of a Command.
type CommandOutputs struct {
	CommandInputs
	output.Captured
}

// Command runs a command on the machine that runs Pulumi.
type Command struct{}

// Check refuses what this stand-in lacks.
func (*Command) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CommandInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CommandInputs](ctx, req.NewInputs)
	for _, property := range []string{"assetPaths", "archivePaths"} {
		if !req.NewInputs.Get(property).IsNull() {
			failures = append(failures, p.CheckFailure{
				Property: property, Reason: "this stand-in for Pulumi's command plugin collects no assets; install the published one",
			})
		}
	}
	return infer.CheckResponse[CommandInputs]{Inputs: inputs, Failures: failures}, err
}

// Create runs create.
func (*Command) Create(
	ctx context.Context, req infer.CreateRequest[CommandInputs],
) (infer.CreateResponse[CommandOutputs], error) {
	state := CommandOutputs{CommandInputs: req.Inputs}
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err == nil && !req.DryRun {
		err = state.run(ctx, req.Inputs.Create)
	}
	return infer.CreateResponse[CommandOutputs]{ID: id, Output: state}, err
}

// Update runs update, or create again where there is none.
func (*Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandOutputs],
) (infer.UpdateResponse[CommandOutputs], error) {
	state := CommandOutputs{CommandInputs: req.Inputs, Captured: req.State.Captured}
	var err error
	if !req.DryRun {
		command := req.Inputs.Update
		if command == nil {
			command = req.Inputs.Create
		}
		err = state.run(ctx, command)
	}
	return infer.UpdateResponse[CommandOutputs]{Output: state}, err
}

// Delete runs delete with what the state holds.
func (*Command) Delete(ctx context.Context, req infer.DeleteRequest[CommandOutputs]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, req.State.run(ctx, req.State.Delete)
}

// run starts the interpreter with the command as its last argument. Unlike a remote one, a local command ends with ctx.
func (c *CommandOutputs) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	args := c.Interpreter
	if len(args) == 0 {
		args = []string{"/bin/sh", "-c"}
		if runtime.GOOS == "windows" {
			args = []string{"cmd", "/C"}
		}
	}
	args = append(args[:len(args):len(args)], *command)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if c.Dir != nil {
		cmd.Dir = *c.Dir
	}
	cmd.Env = os.Environ()
	for name, value := range c.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if c.AddPreviousOutputInEnv == nil || *c.AddPreviousOutputInEnv {
		if c.Stdout != "" {
			cmd.Env = append(cmd.Env, output.PreviousStdout+"="+c.Stdout)
		}
		if c.Stderr != "" {
			cmd.Env = append(cmd.Env, output.PreviousStderr+"="+c.Stderr)
		}
	}
	if c.Stdin != nil && *c.Stdin != "" {
		cmd.Stdin = strings.NewReader(*c.Stdin)
	}
	var logging Logging
	if c.Logging != nil {
		logging = *c.Logging
	}
	captured, err := output.Capture(ctx, string(logging), *command, func(stdout, stderr io.Writer) error {
		cmd.Stdout, cmd.Stderr = stdout, stderr
		return cmd.Run()
	})
	if err != nil {
		return err
	}
	c.Captured = captured
	return nil
}
