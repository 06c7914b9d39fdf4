package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/local"
	"berth/components/remote/sshclient"
)

// Cordon, drain, switch and uncordon of a node are one bracket, held by one function: a hook that Pulumi calls in this program
// before it creates or updates the containerd step.
//
//   - Who drains? Evictions need rights that a node must not have: its kubelet may not list DaemonSets or budgets, and most nodes
//     hold no other credentials. The operator's machine has the kubeconfig.
//   - When? Whether containerd will be restarted is known on the node alone, which compares what runs with what is to run. So the
//     hook first has the step's own script compare (verb stage), and fetch the containerd where the mode of access brings one, while
//     the pods and the registry are still there, and drains only where it says "restart". A resource of its own in front of the step
//     would need inputs that change exactly when containerd restarts, and would drain for a new port or password.
//   - Why is the switch in the hook too, and not left to the step behind it? Pulumi runs nothing behind a step that failed, and
//     calls no hook when it is killed. One function has both ends: it uncordons after a good switch, after one that was rolled
//     back (the node is well then), and after a drain that gave up. The step that follows finds all done, restarts nothing,
//     and reports.
//   - Nothing of it is in the state: to switch draining on or off, or to change its limits, is no change of any resource.
//
// What a killed program leaves cordoned carries an annotation. The next up takes it back before it begins, a destroy by a
// resource of its own (see NewCordons).

// Drainer takes the pods off a Kubernetes Node.
type Drainer interface {
	// Drain cordons and drains the node for owner ("stack/node"). What it returns undoes the cordon, also after its context
	// has ended. When it fails it has undone the cordon itself.
	Drain(ctx context.Context, node, owner string) (release func(context.Context) error, err error)
}

// Draining is how the pods leave a node before its containerd is restarted. The zero value leaves them where they are.
type Draining struct {
	Drainer Drainer
	// Cordons takes cordons back at a destroy. It is in the state before any node is cordoned.
	Cordons pulumi.Resource
}

const (
	// stageLimit and switchLimit bound what the script does in either part: waits for the node's lock, fetches, switches.
	stageLimit  = 15 * time.Minute
	switchLimit = 15 * time.Minute
	// drainDialLimit bounds a dial; the anchor has reached the node just before.
	drainDialLimit = 20 * time.Second
	// restartIsDue is what the script's verb stage prints where apply would restart containerd.
	restartIsDue = "restart"
	// answerTime is what the answer of a hook takes at most to reach the engine.
	answerTime = time.Second
)

// drained returns the options with which the containerd step drains the node first.
func (n *Node) drained(ctx *pulumi.Context, d Draining) ([]pulumi.ResourceOption, error) {
	if d.Drainer == nil || n.args.Retired {
		return nil, nil
	}
	hook, err := ctx.RegisterResourceHook(n.name+"-drain", func(args *pulumi.ResourceHookArgs) error {
		defer hold(ctx)()
		return n.switchDrained(ctx.Context(), d.Drainer, text(args.NewInputs["stdin"]))
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("describing the drain: %w", err)
	}
	hooks := []*pulumi.ResourceHook{hook}
	return []pulumi.ResourceOption{
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeCreate: hooks, BeforeUpdate: hooks}),
		pulumi.DependsOn([]pulumi.Resource{d.Cordons}),
	}, nil
}

// hold keeps the program alive until the function that it returns is called: when pulumi is killed, the SDK would end the program
// at once, in the middle of the bracket. So it goes on to its end, unless a later run takes the node over.
func hold(ctx *pulumi.Context) func() {
	_, resolve, _ := ctx.NewOutput()
	return func() { time.AfterFunc(answerTime, func() { resolve(nil) }) }
}

func text(v resource.PropertyValue) string {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	if !v.IsString() {
		return ""
	}
	return v.StringValue()
}

// switchDrained is the bracket: it switches containerd with the pods away, or does nothing where no restart is due. Stdin is the
// script of the containerd step with its data.
func (n *Node) switchDrained(ctx context.Context, d Drainer, stdin string) error {
	said, err := n.onNode(ctx, "stage", stdin, stageLimit)
	if err != nil {
		return fmt.Errorf("staging %s on node %s: %w", n.brings(), n.args.Name, err)
	}
	// A login shell may have said something before.
	if words := strings.Fields(said); len(words) == 0 || words[len(words)-1] != restartIsDue {
		return nil
	}
	release, err := d.Drain(ctx, n.args.Name, n.args.Owner)
	if err != nil {
		return err
	}
	_, err = n.onNode(ctx, "apply", stdin, switchLimit)
	if err != nil {
		err = fmt.Errorf("switching node %s to %s: %w", n.args.Name, n.brings(), err)
	}
	return errors.Join(err, release(ctx))
}

// onNode runs one verb of the containerd script and returns what it printed. An error has all that it said.
func (n *Node) onNode(ctx context.Context, verb, stdin string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no end within %s", limit))
	defer cancel()
	var dialer sshclient.Dialer
	defer dialer.Close()
	client, err := dialer.Dial(ctx, n.args.Connection, drainDialLimit)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	out, err := client.Run(ctx, n.args.Connection.CommandLine(verb+" "+n.brings()), stdin)
	if failed, ok := errors.AsType[*sshclient.CommandError](err); ok && strings.TrimSpace(failed.Stderr) != "" {
		return "", fmt.Errorf("%w\n%s", failed.Unwrap(), strings.TrimSpace(failed.Stderr))
	}
	return out, err
}

// CordonsArgs is what a destroy needs to take cordons back.
type CordonsArgs struct {
	// Kubeconfig is the content of a kubeconfig, a secret, and Context the name of a context in it.
	Kubeconfig, Context string
	// Stack is the part of an owner token before the slash: cordons of other stacks are left alone.
	Stack string
}

// NewCordons takes cordons that interrupted runs left back when it is created, updated and deleted. A destroy runs no program, so
// what it needs is in the state, as the kubeconfig of the provider is.
func NewCordons(ctx *pulumi.Context, name string, args *CordonsArgs, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	const summary = "uncordon what interrupted runs left cordoned"
	program, err := local.NewProgram(ctx, name, &local.ProgramArgs{
		Package: "./components/drain/cmd/uncordon",
		Summary: summary,
		Delete:  summary,
		Input: pulumi.StringMap{
			"kubeconfig": pulumi.String(args.Kubeconfig), "context": pulumi.String(args.Context), "stack": pulumi.String(args.Stack),
		},
		Secret: true,
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", name, err)
	}
	return program, nil
}
