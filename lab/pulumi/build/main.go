// Command build puts a Pulumi that can run berth's program where the lab wants it:
//
//	go run ./build --out DIR --home PULUMI_HOME
//
// DIR/bin gets pulumi, and PULUMI_HOME the plugins command, kubernetes and tls. An installed Pulumi is used where there
// is one; what it cannot install is built from Go modules. Pulumi's Go language host and its command plugin are not
// published as modules: stand-ins take their place, and the output says so. A part that is there already, built from the
// same sources, is left alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// cliVersion is the version of the CLI's module in go.mod, and what the built CLI reports.
const cliVersion = "3.218.0"

// standIn follows the name of a part that is not Pulumi's own code.
const standIn = " (stand-in)"

// binaries go to DIR/bin. The engine looks for the language host beside itself.
var binaries = []part{
	{
		name: "pulumi", version: cliVersion, pkg: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
		variable: "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version", prefix: "v",
	},
	{
		name: "pulumi-language-go", version: cliVersion, pkg: "./cmd/pulumi-language-go", note: standIn, sources: []string{"language"},
		variable: "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",
	},
}

// plugins go to PULUMI_HOME, in the versions of the SDKs that the program uses.
var plugins = []part{
	{
		name: "command", version: "1.2.1", pkg: "./cmd/pulumi-resource-command", note: standIn, sources: []string{"command"},
		variable: "main.version",
	},
	{name: "tls", version: "5.5.1", pkg: "./cmd/pulumi-resource-tls", variable: "main.version", sources: []string{"tlsprovider"}, finish: tlsSchema},
	{name: "kubernetes", version: "4.32.0", pkg: "./cmd/pulumi-resource-kubernetes", variable: "main.version", finish: kubernetesFiles},
}

func main() {
	out := flag.String("out", "../.cache/pulumi", "folder for bin/pulumi")
	home := flag.String("home", "../.cache/pulumi-home", "PULUMI_HOME that gets the plugins")
	flag.Parse()
	if err := run(*out, *home, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(out, home string, progress io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	home, err = filepath.Abs(home)
	if err != nil {
		return err
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("run it in lab/pulumi (go -C lab/pulumi run ./build)")
	}
	bin := filepath.Join(out, "bin")
	for _, dir := range []string{bin, home} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	for _, dir := range []string{out, home} {
		unlock, err := lock(filepath.Join(dir, ".berth-lock"))
		if err != nil {
			return err
		}
		defer unlock()
	}

	b := &builder{module: ".", bin: bin, home: home, installed: installed(bin), progress: progress}
	if b.installed != "" {
		if err := b.link(); err != nil {
			return err
		}
	} else {
		b.together = slices.Concat(plugins, binaries)
		for _, p := range binaries {
			if err := b.binary(ctx, p); err != nil {
				return fmt.Errorf("building %s: %w", p.name, err)
			}
		}
	}
	for _, p := range plugins {
		if err := b.plugin(ctx, p); err != nil {
			return fmt.Errorf("building the %s plugin: %w", p.name, err)
		}
	}
	return nil
}

// lock keeps two builds from writing into one folder.
func lock(path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("locking: %w", err)
	}
	return func() { _ = file.Close() }, nil
}

// report writes the progress line of a part.
func (b *builder) report(what, version, how string, since time.Time) {
	_, _ = fmt.Fprintf(b.progress, "%-32s v%-9s %-10s %4.0f s\n", what, version, how, time.Since(since).Seconds())
}
