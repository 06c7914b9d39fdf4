package language

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// program returns the path of the executable to run.
func (h *Host) program(ctx context.Context, info *pulumirpc.ProgramInfo) (string, error) {
	options := info.GetOptions().AsMap()
	binary, err := option(options, "binary")
	if err != nil {
		return "", err
	}
	target, err := option(options, "buildTarget")
	if err != nil {
		return "", err
	}
	switch {
	case binary != "" && target != "":
		return "", errors.New("binary and buildTarget cannot both be specified")
	case binary != "":
		return find(binary)
	case target == "":
		return h.build(ctx, info.GetProgramDirectory(), "")
	default:
		return h.build(ctx, info.GetProgramDirectory(), target)
	}
}

func option(options map[string]any, name string) (string, error) {
	value, ok := options[name]
	if !ok {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%s option must be a string", name)
	}
	return text, nil
}

// find looks for an executable as the genuine host does: relative to the current folder first, then on PATH.
func find(name string) (string, error) {
	if path, err := filepath.Abs(name); err == nil {
		if path, err = exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("unable to find '%s' executable: %w", name, err)
	}
	return path, nil
}

// build compiles the program in dir. Without a target the executable goes to the cache, outside the program's tree:
// the go command leaves it alone when nothing has changed, which saves a link of seconds in every run.
func (h *Host) build(ctx context.Context, dir, target string) (string, error) {
	if target == "" {
		sum := sha256.Sum256([]byte(dir))
		folder := filepath.Join(h.Cache, hex.EncodeToString(sum[:8]))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", fmt.Errorf("making the program cache: %w", err)
		}
		unlock, err := lock(filepath.Join(folder, "lock"))
		if err != nil {
			return "", err
		}
		defer unlock()
		target = filepath.Join(folder, "program")
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", target)
	cmd.Dir = dir
	// The compiler's lines reach the user through the engine; the error then only says which step failed.
	cmd.Stdout, cmd.Stderr = h.Stderr, h.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("error in compiling Go: unable to run `go build`: %w", err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode()&0o100 == 0 {
		return "", errors.New("error in compiling Go: go program is not executable, does your program have a 'main' package?")
	}
	return target, nil
}

// lock keeps two runs of one program from building into one file.
func lock(path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the program cache: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("locking the program cache: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
