package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"berth/lab/run"
)

// Versions of what is built. The modules beside this package require the same ones.
const (
	KubernetesVersion = "v1.34.4"
	EtcdVersion       = "v3.6.5"
	CrictlVersion     = "v1.34.0"
	RegistryVersion   = "v3.1.2"
)

// goEnv are the settings of the lab's builds. The Makefile gives them to the tests and the linter as well: what two of them need is
// then compiled once.
//
// No C: the programs run in images that hold nothing else. No workspace: it would mix the modules' versions. Functions are inlined in
// the standard library alone, and nothing is written for debuggers: that saves 40 % of the compiler's time, and the lab's programs
// mostly wait. The compiler collects garbage less often, which saves a quarter for some more memory.
var goEnv = []string{
	"CGO_ENABLED=0", "GOWORK=off", "GOGC=400",
	"GOFLAGS=-trimpath -mod=readonly -buildvcs=false '-gcflags=all=-l -dwarf=false' -gcflags=std=",
}

// Kube builds the Kubernetes programs with etcd (one binary, kube), pause and crictl.
func (b *Builder) Kube(ctx context.Context) error {
	set := []string{
		"k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
		"k8s.io/component-base/version.gitMajor=1",
		"k8s.io/component-base/version.gitMinor=34",
		"k8s.io/client-go/pkg/version.gitVersion=" + KubernetesVersion,
		"sigs.k8s.io/cri-tools/pkg/version.Version=" + strings.TrimPrefix(CrictlVersion, "v"),
	}
	if err := b.goBuild(ctx, "kube", set, ".", "./pause", "sigs.k8s.io/cri-tools/cmd/crictl"); err != nil {
		return err
	}
	if err := link("kube", filepath.Join(b.BinDir(), "kubectl")); err != nil {
		return fmt.Errorf("building kube: %w", err)
	}
	return nil
}

// Registry builds the Distribution registry.
func (b *Builder) Registry(ctx context.Context) error {
	return b.goBuild(ctx, "registry", []string{
		"github.com/distribution/distribution/v3/version.version=" + RegistryVersion,
	}, ".")
}

// goBuild builds packages of the module in the folder name into BinDir, with the variables in set given at link time.
func (b *Builder) goBuild(ctx context.Context, name string, set []string, packages ...string) error {
	dir := filepath.Join(b.Source, name)
	ldflags := "-s -w -X " + strings.Join(set, " -X ")
	key, err := Key([]string{dir}, append([]string{runtime.Version(), runtime.GOARCH, ldflags}, packages...)...)
	if err != nil {
		return err
	}
	return b.Part(ctx, name, key, func(ctx context.Context) error {
		args := append([]string{"go", "build", "-ldflags", ldflags, "-o", b.BinDir() + string(os.PathSeparator)}, packages...)
		_, err := run.Output(ctx, run.Command{
			Args: args, Dir: dir, Log: b.Verbose,
			Env: goEnv,
		})
		return err
	})
}
