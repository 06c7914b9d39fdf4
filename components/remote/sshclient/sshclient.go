// Package sshclient is an SSH connection to a node with its host key pinned and its dial bounded, for what berth does there
// itself: publishing through a node, building on one, and looking at nodes before a plan. It knows nothing of Pulumi, so that commands that
// use it start fast.
package sshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Client is an open connection.
type Client struct{ *ssh.Client }

// Run runs a command with a text on its stdin and returns what it printed, at most 64 KB of it. It fails where the command
// fails, with a CommandError, and at the latest when ctx ends; the connection is of no use then.
func (c *Client) Run(ctx context.Context, command, stdin string) (string, error) {
	var stdout capped
	if err := c.Stream(ctx, command, strings.NewReader(stdin), &stdout, io.Discard); err != nil {
		return "", err
	}
	return stdout.kept.String(), nil
}

// Stream runs a command as Run does, with streams of any length. stdin may stay open: it is of no interest when the command has ended.
func (c *Client) Stream(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) error {
	session, err := c.NewSession()
	if err != nil {
		return fmt.Errorf("opening an SSH session: %w", err)
	}
	defer func() { _ = session.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var said capped
	printed := &output{w: stdout, c: c}
	session.Stdin, session.Stdout, session.Stderr = stdin, printed, io.MultiWriter(&said, stderr)
	switch err := run(session, command); {
	case ctx.Err() != nil:
		return fmt.Errorf("running a command by SSH: %w", context.Cause(ctx))
	case printed.err != nil:
		return fmt.Errorf("keeping what a command printed by SSH: %w", printed.err)
	case err != nil:
		return &CommandError{Stderr: said.kept.String(), cause: err, lastLine: said.lastLine()}
	}
	return nil
}

// run is session.Run for a command that need not read its stdin: where it ends well before all of that is sent, the rest meets a closed
// channel, and Wait tells so as the end of a file. It tells so of nothing else: an exit status comes first, and a lost connection has
// an error of its own.
func run(session *ssh.Session, command string) error {
	if err := session.Start(command); err != nil {
		return err
	}
	if err := session.Wait(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// output passes on what a command prints. Where that fails, nobody reads on, and the command would wait for ever: the connection is closed.
type output struct {
	w   io.Writer
	c   *Client
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.err = err
		_ = o.c.Close()
	}
	return n, err
}

// capped keeps the beginning of what it is given: what a node sends must not fill the operator's memory.
type capped struct{ kept bytes.Buffer }

const (
	maxOutput = 64 << 10
	maxLine   = 300
)

func (c *capped) Write(p []byte) (int, error) {
	room := maxOutput - c.kept.Len()
	_, _ = c.kept.Write(p[:min(room, len(p))])
	return len(p), nil
}

func (c *capped) lastLine() string {
	text := strings.TrimSpace(c.kept.String())
	line := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	return line[:min(len(line), maxLine)]
}
