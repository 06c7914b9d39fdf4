// Package output captures what a command prints, and shows it line by line while it runs.
package output

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
)

// Variables by which a command finds what its predecessor printed.
const (
	PreviousStdout = "PULUMI_COMMAND_STDOUT"
	PreviousStderr = "PULUMI_COMMAND_STDERR"
)

// Values of the logging property; unset means StdoutAndStderr.
const (
	Stdout          = "stdout"
	Stderr          = "stderr"
	StdoutAndStderr = "stdoutAndStderr"
	None            = "none"
)

// Captured is what a command printed, each stream without its last newline.
type Captured struct {
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Capture calls run with the writers that its command is to print to. The error of a failed command shows the command
// and all that it printed, in the order in which it came.
func Capture(ctx context.Context, logging, command string, run func(stdout, stderr io.Writer) error) (Captured, error) {
	var stdout, stderr bytes.Buffer
	var both locked
	lines, log := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A line longer than a scanner takes (64 KiB) ends the reading, and the command then blocks for ever: so does the
		// published plugin, and a program that works here must work there.
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			p.GetLogger(ctx).InfoStatus(scanner.Text())
		}
	}()

	writers := func(own io.Writer, mode string) io.Writer {
		if logging == "" || logging == StdoutAndStderr || logging == mode {
			return io.MultiWriter(own, &both, log)
		}
		return io.MultiWriter(own, &both)
	}
	err := run(writers(&stdout, Stdout), writers(&stderr, Stderr))
	_ = log.Close()
	<-done
	if err != nil {
		return Captured{}, fmt.Errorf("%w: running %q:\n%s", err, command, both.String())
	}
	return Captured{
		Stdout: strings.TrimSuffix(stdout.String(), "\n"),
		Stderr: strings.TrimSuffix(stderr.String(), "\n"),
	}, nil
}

// locked is a buffer that both streams may write to at once.
type locked struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *locked) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(data)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
