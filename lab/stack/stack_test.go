package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePulumi notes each call's arguments and standard input.
const fakePulumi = `#!/bin/sh
{ echo "args $*"; echo "stdin $(cat)"; } >>"$LOG"
`

func TestSecretsReachPulumiOnStandardInputAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("bin/pulumi", fakePulumi, 0o755)
	old := write("stacks/Pulumi.lab.yaml", "old", 0o600)
	log := filepath.Join(dir, "log")
	s := Stack{
		Project:         dir,
		Env:             []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "PULUMI_BACKEND_URL=file://" + filepath.Join(dir, "backend"), "LOG=" + log},
		Kubeconfig:      write("kubeconfig", "KUBE-SECRET", 0o600),
		SSHKey:          write("key", "KEY-SECRET", 0o600),
		RegistryArchive: filepath.Join(dir, "lab/.state/registry.tar"),
		Nodes:           []Node{{"master1", "10.99.0.11", "ssh-ed25519 AAAA"}},
	}
	if err := s.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	stdin := map[string]string{}
	last := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if args, ok := strings.CutPrefix(line, "args "); ok {
			last = args
			for _, secret := range []string{Password, "KUBE-SECRET", "KEY-SECRET"} {
				if strings.Contains(args, secret) {
					t.Errorf("a secret stands in the arguments %q", args)
				}
			}
		}
		if value, ok := strings.CutPrefix(line, "stdin "); ok {
			stdin[last[strings.LastIndex(last, " ")+1:]] = value
			if value != "" && !strings.Contains(last, "--secret") {
				t.Errorf("%q would be stored in plain text", last)
			}
		}
	}
	for path, want := range map[string]string{
		"berth:registry.password": Password, "berth:kubernetes.kubeconfig": "KUBE-SECRET", "berth:ssh.privateKey": "KEY-SECRET",
	} {
		if stdin[path] != want {
			t.Errorf("%s got %q, want %q", path, stdin[path], want)
		}
	}
	for _, want := range []string{
		"berth:registry.imageArchive=lab/.state/registry.tar", "berth:registry.node=master1", "berth:nodes[0].hostKey=ssh-ed25519 AAAA",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("nothing sets %s", want)
		}
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the old stack's file is still there")
	}
}

func TestWriteSaysThatPulumiIsMissing(t *testing.T) {
	t.Parallel()
	s := Stack{Project: t.TempDir(), Env: []string{"PATH=" + t.TempDir()}}
	if err := s.Write(t.Context()); err == nil || !strings.Contains(err.Error(), "no pulumi") {
		t.Errorf("error is %v", err)
	}
}
