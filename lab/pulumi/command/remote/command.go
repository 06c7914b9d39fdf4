// Package remote holds the resources of the command plugin that work over SSH.
package remote

import (
	"context"
	"fmt"
	"io"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"

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
	Connection             *Connection       `pulumi:"connection"                      provider:"secret"`
	Environment            map[string]string `pulumi:"environment,optional"`
	Triggers               []any             `pulumi:"triggers,optional"               provider:"replaceOnChanges"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
}

// Annotate sets the defaults.
func (c *CommandInputs) Annotate(a infer.Annotator) { a.SetDefault(&c.AddPreviousOutputInEnv, true) }

// CommandOutputs is the state of a Command.
type CommandOutputs struct {
	CommandInputs
	output.Captured
}

// Command runs a command on another machine.
type Command struct{}

// Create runs create. Whatever it returns with an error is dropped: a command that failed is not in the state.
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

// Delete runs delete with what the state holds: its connection, its stdin.
func (*Command) Delete(ctx context.Context, req infer.DeleteRequest[CommandOutputs]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, req.State.run(ctx, req.State.Delete)
}

// run does nothing, and dials nothing, where there is no command. It cannot be interrupted once the command runs.
func (c *CommandOutputs) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	client, err := c.Connection.Dial(ctx)
	if err != nil {
		return err
	}
	// As published, the client stays open until the plugin ends.
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	if err := c.environment(ctx, session); err != nil {
		return err
	}
	if c.Stdin != nil && *c.Stdin != "" {
		session.Stdin = strings.NewReader(*c.Stdin)
	}
	var logging Logging
	if c.Logging != nil {
		logging = *c.Logging
	}
	captured, err := output.Capture(ctx, string(logging), *command, func(stdout, stderr io.Writer) error {
		session.Stdout, session.Stderr = stdout, stderr
		return session.Run(*command)
	})
	if err != nil {
		return err
	}
	c.Captured = captured
	return nil
}

// environment sends variables ahead of the command. A server that refuses one of the user's fails the command; one that
// refuses the previous output is only warned about.
func (c *CommandOutputs) environment(ctx context.Context, session *ssh.Session) error {
	const remedy = "unable to set %q: the SSH server must list it in AcceptEnv, or the command can begin with VAR=value"
	for name, value := range c.Environment {
		if err := session.Setenv(name, value); err != nil {
			p.GetLogger(ctx).Errorf(remedy, name)
			return fmt.Errorf(remedy+": %w", name, err)
		}
	}
	if c.AddPreviousOutputInEnv != nil && !*c.AddPreviousOutputInEnv {
		return nil
	}
	for name, value := range map[string]string{output.PreviousStdout: c.Stdout, output.PreviousStderr: c.Stderr} {
		if value == "" {
			continue
		}
		if err := session.Setenv(name, value); err != nil {
			p.GetLogger(ctx).Warningf(remedy, name)
		}
	}
	return nil
}
