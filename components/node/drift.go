package node

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	berthremote "berth/components/remote"
	"berth/components/remote/sshclient"
	"berth/scripts"
)

const (
	// dialLimit bounds the dial of one node, and that of its bastion; roundLimit bounds the look at all of them.
	dialLimit  = 5 * time.Second
	roundLimit = 10 * time.Second
	// atOnce is how many nodes are looked at together.
	atOnce = 64
	// longReason is how much of the reasons a command line shows.
	longReason = 200
)

// The steps that a difference can ask for, and what stands in their place before something for people alone.
const (
	stepBase       = "base"
	stepContainerd = "containerd"
	stepPortRange  = "port-range"
	noStep         = "note"
)

// Target is one node to look at.
type Target struct {
	// Name is the node's name, and Owner its token ("stack/node").
	Name, Owner string
	Connection  berthremote.Connection
}

// Finding is how one node differs from what was installed on it. The zero value says that nothing differs, as far as is known.
type Finding struct {
	// Unseen says why nothing is known of the node. The plan is made as if nothing differed: whether a node answers must not
	// change it, and where a step has to run anyway its own dial says what is wrong.
	Unseen error
	// Absent says that nothing is installed there: nothing yet, or nothing any more. The program cannot know which.
	Absent bool
	// Applies is another number after every apply, so that a repair is asked for once.
	Applies string
	// Reasons are by step what its repair is for, Notes what no step repairs.
	Reasons map[string][]string
	Notes   []string
}

// Look starts to compare nodes with what was installed on them, and changes none. The function that it returns waits for
// the findings, by the nodes' names; all of them are there within ten seconds. It never fails.
type Look func(ctx context.Context, targets []Target) func() map[string]Finding

// LookNowhere finds nothing: the look is switched off.
func LookNowhere(context.Context, []Target) func() map[string]Finding {
	return func() map[string]Finding { return nil }
}

// LookOverSSH looks at all nodes at once.
func LookOverSSH(ctx context.Context, targets []Target) func() map[string]Finding {
	findings := make([]Finding, len(targets))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeoutCause(ctx, roundLimit, errTooLate)
	var dialer sshclient.Dialer
	for i, target := range targets {
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				findings[i] = lookAt(ctx, &dialer, target)
			case <-ctx.Done():
				findings[i] = Finding{Unseen: context.Cause(ctx)}
			}
		})
	}
	return func() map[string]Finding {
		all.Wait()
		dialer.Close()
		cancel()
		byName := make(map[string]Finding, len(targets))
		for i, target := range targets {
			byName[target.Name] = findings[i]
		}
		return byName
	}
}

var (
	errTooLate    = fmt.Errorf("no answer within %s", roundLimit)
	errUnreadable = errors.New("the answer is not one of the verify script")
)

func lookAt(ctx context.Context, dialer *sshclient.Dialer, target Target) Finding {
	answer, err := ask(ctx, dialer, target)
	if ctx.Err() != nil {
		return Finding{Unseen: context.Cause(ctx)}
	}
	if err != nil {
		return Finding{Unseen: err}
	}
	return parseFinding(answer)
}

func ask(ctx context.Context, dialer *sshclient.Dialer, target Target) (string, error) {
	stdin, err := scripts.Stdin(scripts.Verify, []scripts.Var{{Name: "OWNER", Value: target.Owner}})
	if err != nil {
		return "", err
	}
	client, err := dialer.Dial(ctx, target.Connection, dialLimit)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	return client.Run(ctx, target.Connection.CommandLine("verify"), stdin)
}

// notPlain is what a reason loses: it goes into a command line, and a node could say anything.
var notPlain = regexp.MustCompile(`[^A-Za-z0-9 ._:/@+=,-]+`)

// parseFinding reads what the verify script prints. What a login shell says before it is left out.
func parseFinding(answer string) Finding {
	f := Finding{Reasons: map[string][]string{}}
	for line := range strings.Lines(answer) {
		line = strings.Join(strings.Fields(notPlain.ReplaceAllString(line, " ")), " ")
		kind, text, _ := strings.Cut(line, " ")
		switch {
		case kind == "applies" || kind == "absent":
			f.Applies, f.Absent = text, kind == "absent"
		case f.Applies == "" || text == "":
		case kind == stepBase || kind == stepContainerd || kind == stepPortRange:
			f.Reasons[kind] = append(f.Reasons[kind], text)
		case kind == noStep:
			f.Notes = append(f.Notes, text)
		}
	}
	if f.Applies == "" {
		return Finding{Unseen: errUnreadable}
	}
	return f
}

// repair is why a step is to run although none of its inputs changed; empty where it is not.
func (f Finding) repair(step string) string {
	if f.Absent {
		// A step that is not in the state is created, and this says nothing then; one that is there has lost everything.
		return "for a node without berth " + f.Applies
	}
	if len(f.Reasons[step]) == 0 {
		return ""
	}
	text := "repair after " + f.Applies + ": " + strings.Join(f.Reasons[step], ", ")
	return strings.TrimSpace(text[:min(len(text), longReason)])
}

// Warning is what an operator must hear of the node, in one line; empty where there is nothing.
func (f Finding) Warning() string {
	if f.Unseen != nil {
		return "the node could not be compared with what was installed on it, and is taken to be as it was: " + f.Unseen.Error()
	}
	if f.Absent {
		return ""
	}
	var parts []string
	for _, step := range []string{stepPortRange, stepBase, stepContainerd} {
		if reasons := f.Reasons[step]; len(reasons) > 0 {
			parts = append(parts, step+" is to be repaired ("+strings.Join(reasons, "; ")+")")
		}
	}
	return strings.Join(slices.Concat(parts, f.Notes), "; ")
}
