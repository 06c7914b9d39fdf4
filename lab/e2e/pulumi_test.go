package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pulumiLimit bounds one run of the CLI; the first one compiles the program and builds containerd.
const pulumiLimit = 15 * time.Minute

// pulumiCLI runs the real pulumi in a project's folder.
type pulumiCLI struct {
	dir    string // the project
	config string // the stack's config file
	stack  string
	env    []string
	leaks  *leaks
}

// result is what a run of the CLI left.
type result struct {
	args           string
	stdout, stderr string
	err            error
	took           time.Duration
}

func (r result) text() string { return r.stdout + r.stderr }

// command prepares a run; the stack and its config file are named for the commands that know them.
func (p *pulumiCLI) command(ctx context.Context, args ...string) *exec.Cmd {
	full := append([]string{}, args...)
	full = append(full, "--stack", p.stack, "--color", "never", "--non-interactive")
	switch args[0] {
	case "up", "preview", "destroy", "refresh", "config":
		full = append(full, "--config-file", p.config)
	}
	cmd := exec.CommandContext(ctx, "pulumi", full...)
	// Look the program up on the lab's PATH, not on the test's.
	if path := lookPath("pulumi", p.env); path != "" {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (p *pulumiCLI) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), pulumiLimit)
	defer cancel()
	cmd := p.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	r := result{strings.Join(args, " "), stdout.String(), stderr.String(), err, time.Since(begin)}
	if args[0] != "stack" {
		p.leaks.output("pulumi "+r.args, r.text())
	}
	if args[0] == "up" || args[0] == "destroy" || args[0] == "preview" {
		t.Logf("pulumi %s: %.1f s", r.args, r.took.Seconds())
	}
	return r
}

// must runs the CLI and ends the test with all that it printed when it fails.
func (p *pulumiCLI) must(t *testing.T, args ...string) result {
	t.Helper()
	r := p.run(t, "", args...)
	if r.err != nil {
		t.Fatalf("pulumi %s: %v\n%s", r.args, r.err, r.text())
	}
	return r
}

// mustFail runs the CLI, which has to refuse.
func (p *pulumiCLI) mustFail(t *testing.T, args ...string) result {
	t.Helper()
	r := p.run(t, "", args...)
	if r.err == nil {
		t.Fatalf("pulumi %s had to fail:\n%s", r.args, r.text())
	}
	return r
}

// set changes one value of the config. It goes over stdin, as a secret has to.
func (p *pulumiCLI) set(t *testing.T, path, value string, secret bool) {
	t.Helper()
	args := []string{"config", "set", "--path", path}
	if secret {
		args = append(args, "--secret")
	}
	if r := p.run(t, value, args...); r.err != nil {
		t.Fatalf("pulumi %s: %v\n%s", r.args, r.err, r.text())
	}
}

// cancel lets go of the lock that a killed run left; where there is none it does nothing.
func (p *pulumiCLI) cancel(t *testing.T) {
	t.Helper()
	if r := p.run(t, "", "cancel", "--yes"); r.err != nil {
		t.Logf("pulumi cancel: %v\n%s", r.err, r.text())
	}
}

// export returns the stack's state, as it stands on the disk.
func (p *pulumiCLI) export(t *testing.T, flags ...string) string {
	t.Helper()
	return p.must(t, append([]string{"stack", "export"}, flags...)...).stdout
}

// stateResource is a resource of an exported state, as far as the test looks at it.
type stateResource struct {
	URN      string          `json:"urn"`
	Type     string          `json:"type"`
	Modified string          `json:"modified"`
	Outputs  json.RawMessage `json:"outputs"`
}

func (p *pulumiCLI) state(t *testing.T) []stateResource {
	t.Helper()
	var state struct {
		Deployment struct {
			Resources []stateResource `json:"resources"`
		} `json:"deployment"`
	}
	if err := json.Unmarshal([]byte(p.export(t)), &state); err != nil {
		t.Fatalf("reading the exported state: %v", err)
	}
	return state.Deployment.Resources
}

// resources counts what the stack holds, itself and default providers left out.
func (p *pulumiCLI) resources(t *testing.T) int {
	t.Helper()
	n := 0
	for _, r := range p.state(t) {
		if r.Type != "pulumi:pulumi:Stack" && !strings.HasPrefix(r.Type, "pulumi:providers:") {
			n++
		}
	}
	return n
}

// plan is what preview --json says.
type plan struct {
	Steps []struct {
		Op  string `json:"op"`
		URN string `json:"urn"`
	} `json:"steps"`
	ChangeSummary map[string]int `json:"changeSummary"`
}

// changes returns the steps that are not "same", as "op name".
func (p plan) changes() []string {
	var all []string
	for _, s := range p.Steps {
		if s.Op != "same" {
			all = append(all, s.Op+" "+s.URN[strings.LastIndex(s.URN, "$")+1:])
		}
	}
	return all
}

func (p *pulumiCLI) plan(t *testing.T) plan {
	t.Helper()
	r := p.must(t, "preview", "--json")
	var planned plan
	if err := json.Unmarshal([]byte(r.stdout), &planned); err != nil {
		t.Fatalf("reading the plan: %v\n%s", err, r.text())
	}
	return planned
}

// started is a run of the CLI in the background.
type started struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	done   chan error
}

func (p *pulumiCLI) start(t *testing.T, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), pulumiLimit)
	t.Cleanup(cancel)
	s := &started{cmd: p.command(ctx, args...), output: &lockedBuffer{}, done: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	check(t, s.cmd.Start())
	go func() {
		err := s.cmd.Wait()
		p.leaks.output("pulumi "+strings.Join(args, " "), s.output.String())
		s.done <- err
	}()
	return s
}

// ended tells whether the run is over; done still has its result.
func (s *started) ended() bool { return len(s.done) > 0 }

// lockedBuffer may be read while a program writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lookPath finds a program on the PATH of env.
func lookPath(name string, env []string) string {
	var path string
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return dir + "/" + name
		}
	}
	return ""
}
