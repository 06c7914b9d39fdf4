package run_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/lab/run"
)

func TestOutputCarriesTheEndOfStandardError(t *testing.T) {
	t.Parallel()
	out, err := run.Output(t.Context(), run.Command{Args: []string{"sh", "-c", "echo out; echo no such thing >&2; exit 3"}})
	if out != "out\n" {
		t.Errorf("output is %q", out)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("error is %v", err)
	}
}

func TestOutputEndsWithTheContextAndTakesChildrenAlong(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := run.Output(ctx, run.Command{Args: []string{"sh", "-c", "sleep 300 & echo $! >" + pidFile + "; wait"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	waitGone(t, pidFile)
}

// TestHelper is the process that TestCommandDiesWithAKilledProgram kills.
//
//nolint:paralleltest // It is a program of its own.
func TestHelper(t *testing.T) {
	pidFile := os.Getenv("RUN_TEST_PID_FILE")
	if pidFile == "" {
		t.Skip("started by another test alone")
	}
	_ = run.Do(t.Context(), "sh", "-c", "echo $$ >"+pidFile+"; exec sleep 300")
}

func TestCommandDiesWithAKilledProgram(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	helper := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$")
	helper.Env = append(os.Environ(), "RUN_TEST_PID_FILE="+pidFile)
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { data, err := os.ReadFile(pidFile); return err == nil && len(data) > 1 })
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()
	waitGone(t, pidFile)
}

func waitGone(t *testing.T, pidFile string) {
	t.Helper()
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		// A process that nobody waited for counts as gone.
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
