// Package run starts programs on the host and gives their words back when they fail.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Command is a program with its arguments, started in a process group of its own so that a cancelled context ends all of it.
type Command struct {
	Args  []string
	Dir   string    // default: the current one
	Env   []string  // added to the environment
	Stdin io.Reader // default: empty
	Log   io.Writer // gets standard error and standard output as they come; default: kept for the error only
}

// Output runs c and returns its standard output. A failure carries the last lines of standard error.
func Output(ctx context.Context, c Command) (string, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	cmd.Env = append(os.Environ(), c.Env...)
	// A daemon that inherited the pipes must not keep Wait from returning.
	cmd.WaitDelay = 2 * time.Second
	ownGroup(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.Log != nil {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, c.Log), io.MultiWriter(&stderr, c.Log)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	if words := lastLines(stderr.String(), 15); words != "" {
		return stdout.String(), fmt.Errorf("%w: %s", err, words)
	}
	return stdout.String(), err
}

// Do runs the program args and drops its output; a failure names the program.
func Do(ctx context.Context, args ...string) error {
	if _, err := Output(ctx, Command{Args: args}); err != nil {
		return fmt.Errorf("running %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
