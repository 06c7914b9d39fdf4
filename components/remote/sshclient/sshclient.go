// Package sshclient is an SSH connection to a node with its host key pinned and its dial bounded, for what berth does there
// itself: publishing through a node, and looking at nodes before a plan. It knows nothing of Pulumi, so that commands that
// use it start fast.
package sshclient

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Client is an open connection.
type Client struct{ *ssh.Client }

// Run runs a command with a text on its stdin and returns what it printed, at most 64 KB of it. It fails where the command
// fails, with a CommandError, and at the latest when ctx ends; the connection is of no use then.
func (c *Client) Run(ctx context.Context, command, stdin string) (string, error) {
	session, err := c.NewSession()
	if err != nil {
		return "", fmt.Errorf("opening an SSH session: %w", err)
	}
	defer func() { _ = session.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var stdout, stderr capped
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(stdin), &stdout, &stderr
	switch err := session.Run(command); {
	case ctx.Err() != nil:
		return "", fmt.Errorf("running a command by SSH: %w", context.Cause(ctx))
	case err != nil:
		return "", &CommandError{Stderr: stderr.kept.String(), cause: err, lastLine: stderr.lastLine()}
	}
	return stdout.kept.String(), nil
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
