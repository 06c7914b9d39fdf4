package buildhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/gotool"
	"berth/components/containerd/release"
	"berth/components/remote/sshclient"
)

// What the shell of a node does, with the folder in $d. Each is one line without single quotes, so that any login shell hands it on.
const (
	// folder is where all that belongs to builds lies, in the home of the login user.
	folder = ".cache/berth-build"
	// have prints the checksum of the program that is there.
	have = `if [ -x "$d/nodebuild" ]; then sha256sum <"$d/nodebuild"; fi`
	// put takes the program from stdin. What a cut connection leaves of it is no program.
	put = `n="$d/nodebuild.$$"; mkdir -p "$d" || exit; ` +
		`if cat >"$n" && { [ "$(sha256sum <"$n")" = "%s  -" ] || { echo "it did not arrive whole" >&2; false; }; } && chmod 700 "$n"; ` +
		`then mv -f "$n" "$d/nodebuild"; else rm -f "$n"; exit 1; fi`
	// start runs a verb of the program, behind everything else that the node does.
	start = `exec nice -n 19 "$d/nodebuild" %s`
	// remove waits for what still builds; go leaves its modules read-only.
	remove = `[ -d "$d" ] || exit 0; exec 9>"$d/lock" || exit; flock -w 60 9 || { echo "a build still runs there" >&2; exit 1; }; ` +
		`chmod -R u+w "$d" && rm -rf "$d" || exit; rmdir "${d%/*}" "${d%/*/*}" 2>/dev/null || :`
)

const dialTimeout = 20 * time.Second

// stackName is the form of what becomes a folder: Pulumi takes no other for a stack.
var stackName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)

// inFolder is a command line that runs one of the above.
func inFolder(stack, text string) string {
	return `/bin/sh -c 'umask 077; d="$HOME/` + folder + `/` + stack + `"; ` + text + `'`
}

// node is a connection to a node that has the program.
type node struct {
	host     release.Host
	dialer   *sshclient.Dialer
	client   *sshclient.Client
	settings map[string]string
}

func (n *node) close() {
	if n != nil {
		_ = n.client.Close()
		n.dialer.Close()
	}
}

// dial opens a connection.
func dial(ctx context.Context, host release.Host) (*node, error) {
	if !stackName.MatchString(host.Stack) {
		return nil, fmt.Errorf("the stack's name %q cannot be that of a folder", host.Stack)
	}
	n := &node{host: host, dialer: &sshclient.Dialer{}}
	var err error
	if n.client, err = n.dialer.Dial(ctx, host.SSH, dialTimeout); err != nil {
		n.dialer.Close()
		return nil, err
	}
	return n, nil
}

// connect opens a connection and brings the program, unless it is there.
func (c carrier) connect(ctx context.Context, dir string, log io.Writer, host release.Host) (*node, error) {
	settings, err := sources(ctx, log)
	if err != nil {
		return nil, err
	}
	program, err := c.program(ctx, dir, log, host.Arch)
	if err != nil {
		return nil, fmt.Errorf("making the build program for %s: %w", host.Name, err)
	}
	n, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	n.settings = settings
	if err := n.bring(ctx, log, program); err != nil {
		n.close()
		return nil, fmt.Errorf("bringing the build program to ~/%s on %s: %w", folder, host.Name, said(err))
	}
	return n, nil
}

func (n *node) bring(ctx context.Context, log io.Writer, program []byte) error {
	sum := sha256.Sum256(program)
	want := hex.EncodeToString(sum[:])
	there, err := n.client.Run(ctx, inFolder(n.host.Stack, have), "")
	if err != nil || strings.HasPrefix(there, want) {
		return err
	}
	_, _ = fmt.Fprintf(log, "bringing the build program to %s, %.1f MB\n", n.host.Name, float64(len(program))/1e6)
	return n.client.Stream(ctx, inFolder(n.host.Stack, fmt.Sprintf(put, want)), bytes.NewReader(program), io.Discard, log)
}

// said puts what the carried program said of its failure in the place of how it ended.
func said(err error) error {
	failed, ok := errors.AsType[*sshclient.CommandError](err)
	if !ok {
		return err
	}
	if _, text, found := strings.Cut("\n"+failed.Stderr, "\nerror: "); found {
		return errors.New(strings.TrimSpace(text))
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok && exit.ExitStatus() == 126 {
		return fmt.Errorf("programs in ~/%s cannot be run: is the home folder mounted with noexec, or is the node of another "+
			"architecture? %w", folder, err)
	}
	return err
}

// compile makes the program that is carried, static, with the settings of all builds. It is kept in the cache below dir, where go sees that
// it is up to date.
func compile(ctx context.Context, dir string, log io.Writer, arch string) ([]byte, error) {
	if err := release.SupportedArch(arch); err != nil {
		return nil, err
	}
	tool, err := gotool.New(ctx, release.Toolchain, log)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "nodebuild", arch)
	if err := os.MkdirAll(filepath.Dir(out), 0o750); err != nil {
		return nil, fmt.Errorf("creating the cache folder: %w", err)
	}
	unlock, err := build.Lock(ctx, out+".lock", log, "another process makes the build program; waiting for it")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := tool.Run(ctx, ".", arch,
		"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "berth/components/containerd/cmd/nodebuild"); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// Remove removes what builds left on a node. Where it cannot even connect it says so, and that is no failure: the machine may be gone
// for good, and what lies there is a cache.
func Remove(ctx context.Context, log io.Writer, host release.Host) error {
	n, err := dial(ctx, host)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		_, _ = fmt.Fprintf(log, "what builds left in ~/%s on %s stays there: %v\n", folder, host.Name, err)
		return nil
	}
	defer n.close()
	if _, err := n.client.Run(ctx, inFolder(host.Stack, remove), ""); err != nil {
		return fmt.Errorf("removing ~/%s on %s: %w", folder, host.Name, err)
	}
	return nil
}
