// Package remote is the one door to a node: every command that berth runs over SSH, and every file that it copies, goes through here,
// so that pinned host keys, bounded dials and the handling of secrets are decided in one place.
package remote

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/remote/target"
)

const (
	// dialErrorLimit is how many failed dials are forgiven: six attempts within about three seconds where the port is closed.
	// More would count as brute force on a node that bans addresses after failed logins, since a refused key is dialled again too.
	dialErrorLimit = 5
	// dialErrorLimitBehindBastion makes the first failure behind a bastion the last: the provider logs in again over the same stream,
	// which is closed by then, and would report that instead of a wrong host key or a refused login. The bastion's own dial is repeated.
	dialErrorLimitBehindBastion = 0
	// perDialTimeout bounds the TCP connect of one dial, in seconds; a host that drops packets fails after six of them.
	perDialTimeout = 10
	// verbAndObject are the words of a command line that no setting changes: "apply containerd".
	verbAndObject = 2
)

// plainWords is what a command line may hold: it is read by the login shell and shown in previews and errors, so it carries
// a verb and a summary for people and nothing that would need quoting.
var plainWords = regexp.MustCompile(`^[A-Za-z0-9 ._:/@+=,-]*$`)

var (
	errNoHostKey = errors.New("no host key: a node and its bastion are dialled only with their keys pinned")
	errNoVerb    = errors.New("no verb to run")
	errNotPlain  = errors.New("holds characters that a shell would interpret")
)

// Connection says how to reach one node. All values are known when planning, so that a change of one is an update in place.
type Connection = target.Target

func connectionArgs(c Connection) *remote.ConnectionArgs {
	args := &remote.ConnectionArgs{
		Host:           pulumi.String(c.Host),
		Port:           pulumi.Float64(c.Port),
		User:           pulumi.String(c.User),
		HostKey:        pulumi.String(c.HostKey),
		PrivateKey:     secret(c.PrivateKey),
		Password:       secret(c.Password),
		DialErrorLimit: pulumi.Int(dialErrorLimit),
		PerDialTimeout: pulumi.Int(perDialTimeout),
	}
	if b := c.Bastion; b != nil {
		args.DialErrorLimit = pulumi.Int(dialErrorLimitBehindBastion)
		args.Proxy = &remote.ProxyConnectionArgs{
			Host:           pulumi.String(b.Host),
			Port:           pulumi.Float64(b.Port),
			User:           pulumi.String(b.User),
			HostKey:        pulumi.String(b.HostKey),
			PrivateKey:     secret(b.PrivateKey),
			Password:       secret(b.Password),
			DialErrorLimit: pulumi.Int(dialErrorLimit),
			PerDialTimeout: pulumi.Int(perDialTimeout),
		}
	}
	return args
}

// secret is nil for what is not given.
func secret(text string) pulumi.StringPtrInput {
	if text == "" {
		return nil
	}
	return pulumi.ToSecret(pulumi.String(text)).(pulumi.StringOutput)
}

// repairLine is a command line with the reason behind it. It stays in the state when the reason is gone and runs at every
// later update then, so it holds for any login user, and no version or port that those updates may change.
func repairLine(run, reason string) string {
	words := strings.Fields(run)
	return "$(test $(id -u) = 0 || echo sudo -n) /bin/sh -s -- " + strings.Join(words[:min(len(words), verbAndObject)], " ") + " # " + reason
}

// CommandArgs describes one script that runs on a node.
type CommandArgs struct {
	// Connection reaches the node.
	Connection Connection
	// Run is the verb that creation and every update run, and behind it a summary for people ("apply containerd 1.7.36+berth.1").
	// Previews and errors show it; it must be known when planning and must not be secret.
	Run string
	// Repair is why the command is to run although nothing of it changed; empty where nothing asks for that. The same reason
	// asks once: a second repair needs another. Previews show it.
	Repair string
	// Delete is the verb that deletion runs with the stdin of the last successful run; empty deletes without dialling.
	Delete string
	// Stdin is the script with its data. Where it is a secret, the output of the command is treated as one.
	Stdin pulumi.StringInput
	// Secret says that stdin holds a secret: nothing of the command's output is shown while it runs, and none stands plain in the state.
	Secret bool
}

// NewCommand runs a script on a node. There are no triggers: any change is an update in place that runs Run again,
// because a replacement would run the deletion of what was just made.
func NewCommand(ctx *pulumi.Context, name string, args *CommandArgs, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	if err := args.validate(); err != nil {
		return nil, fmt.Errorf("describing command %s: %w", name, err)
	}
	command := &remote.CommandArgs{
		Connection:             connectionArgs(args.Connection),
		Create:                 pulumi.String(args.Connection.CommandLine(args.Run)),
		Stdin:                  args.Stdin,
		Logging:                remote.LoggingStderr,
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}
	if args.Repair != "" {
		command.Update = pulumi.String(repairLine(args.Run, args.Repair))
	} else {
		// What a repair left in the state is no change.
		opts = append(opts, pulumi.IgnoreChanges([]string{"update"}))
	}
	if args.Delete != "" {
		command.Delete = pulumi.String(args.Connection.CommandLine(args.Delete))
	}
	if args.Secret {
		command.Logging = remote.LoggingNone
		opts = append(opts, pulumi.AdditionalSecretOutputs([]string{"stdin", "stdout", "stderr"}))
	}
	return remote.NewCommand(ctx, name, command, opts...)
}

// CopyArgs describes one file that is copied to a node.
type CopyArgs struct {
	// Connection reaches the node.
	Connection Connection
	// Source is a file on the operator's machine, relative to the project's folder.
	Source string
	// Path is where it goes on the node; missing parent folders are made.
	Path string
}

// NewCopy uploads a file over SFTP as the login user. It never deletes: whoever uses the file on the node removes it there.
func NewCopy(ctx *pulumi.Context, name string, args *CopyArgs, opts ...pulumi.ResourceOption) (*remote.CopyToRemote, error) {
	if !pinned(args.Connection) {
		return nil, fmt.Errorf("describing copy %s: %w", name, errNoHostKey)
	}
	return remote.NewCopyToRemote(ctx, name, &remote.CopyToRemoteArgs{
		Connection: connectionArgs(args.Connection),
		Source:     pulumi.NewFileAsset(args.Source),
		RemotePath: pulumi.String(args.Path),
		// An update copies only what changed, and a new host alone changes nothing: make that a new copy.
		Triggers: pulumi.Array{pulumi.String(args.Connection.Host), pulumi.Int(args.Connection.Port)},
	}, opts...)
}

// pinned says whether every host key on the way is known.
func pinned(c Connection) bool {
	return c.HostKey != "" && (c.Bastion == nil || c.Bastion.HostKey != "")
}

func (a *CommandArgs) validate() error {
	var errs []error
	if !pinned(a.Connection) {
		errs = append(errs, errNoHostKey)
	}
	if strings.TrimSpace(a.Run) == "" {
		errs = append(errs, errNoVerb)
	}
	for _, line := range []string{a.Run, a.Repair, a.Delete} {
		if !plainWords.MatchString(line) {
			errs = append(errs, fmt.Errorf("%q %w", line, errNotPlain))
		}
	}
	return errors.Join(errs...)
}
