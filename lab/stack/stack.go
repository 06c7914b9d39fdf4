// Package stack writes the Pulumi stack of the lab: the project's settings for the machines that run here.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/lab/run"
)

// Name is the name of the stack; its file is stacks/Pulumi.lab.yaml.
const Name = "lab"

// Password is the registry's, as in the case that the stack plays.
const Password = "Abcd123456"

// Stack says what the stack is written for.
type Stack struct {
	Project         string   // folder of Pulumi.yaml
	Env             []string // pulumi's environment as K=V; the last PATH in it finds pulumi
	Kubeconfig      string   // file
	SSHKey          string   // file
	RegistryArchive string   // file
	Nodes           []Node
	Keep            bool // the stack's file belongs to this lab: settings in it that are not ours stay
}

// Node is a node as the stack names it.
type Node struct{ Name, Address, HostKey string }

// setting is one value of the stack's configuration, by its path.
type setting struct{ path, value string }

// Write makes the stack where it is missing and sets its configuration anew. Secrets reach pulumi on standard input alone and
// stand encrypted in the file.
func (s Stack) Write(ctx context.Context) error {
	pulumi, err := s.program()
	if err != nil {
		return err
	}
	if !s.Keep {
		// The passphrase of this lab cannot open the secrets of one before it.
		if err := os.RemoveAll(filepath.Join(s.Project, "stacks", "Pulumi."+Name+".yaml")); err != nil {
			return fmt.Errorf("writing the stack: %w", err)
		}
	}
	if err := os.MkdirAll(s.backend(), 0o700); err != nil {
		return fmt.Errorf("writing the stack: %w", err)
	}
	if err := s.pulumi(ctx, pulumi, "", "stack", "select", "--create", Name); err != nil {
		return err
	}
	plain, err := s.plain()
	if err != nil {
		return err
	}
	args := []string{"config", "set-all", "--stack", Name, "--path"}
	for _, p := range plain {
		args = append(args, "--plaintext", p.path+"="+p.value)
	}
	if err := s.pulumi(ctx, pulumi, "", args...); err != nil {
		return err
	}
	secrets := []setting{{path: "berth:registry.password", value: Password}}
	for path, file := range map[string]string{"berth:kubernetes.kubeconfig": s.Kubeconfig, "berth:ssh.privateKey": s.SSHKey} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("writing the stack: %w", err)
		}
		secrets = append(secrets, setting{path, string(content)})
	}
	for _, secret := range secrets {
		if err := s.pulumi(ctx, pulumi, secret.value, "config", "set", "--stack", Name, "--path", "--secret", secret.path); err != nil {
			return err
		}
	}
	return nil
}

// plain returns the settings that are no secrets.
func (s Stack) plain() ([]setting, error) {
	archive, err := filepath.Rel(s.Project, s.RegistryArchive)
	if err != nil {
		return nil, fmt.Errorf("writing the stack: %w", err)
	}
	settings := []setting{
		{"berth:registry.host", "Yuan.com"},
		{"berth:registry.nodePort", "30443"},
		{"berth:registry.node", s.Nodes[0].Name},
		{"berth:registry.namespace", "default"},
		{"berth:registry.imageArchive", archive},
		{"berth:registry.imagesPath", "/home/docker-registry/images"},
		{"berth:registry.username", "Yuan"},
		{"berth:registry.pullSecrets[0]", "default"},
		{"berth:certificate.ca", "cluster"},
		{"berth:certificate.trust", "os"},
		{"berth:certificate.algorithm", "RSA"},
		{"berth:certificate.rsaBits", "2048"},
		{"berth:certificate.validityDays", "5000"},
		{"berth:containerd.version", "1.7.36"},
		{"berth:containerd.allowMinorUpgrade", "true"},
		{"berth:ssh.user", "root"},
		{"berth:rollout.batch", "2"},
	}
	for i, n := range s.Nodes {
		node := "berth:nodes[" + strconv.Itoa(i) + "]."
		settings = append(settings, setting{node + "name", n.Name}, setting{node + "address", n.Address}, setting{node + "hostKey", n.HostKey})
	}
	return settings, nil
}

// pulumi runs pulumi in the project with stdin as its standard input.
func (s Stack) pulumi(ctx context.Context, program, stdin string, args ...string) error {
	_, err := run.Output(ctx, run.Command{
		Args: append([]string{program, "--non-interactive"}, args...), Dir: s.Project, Env: s.Env, Stdin: strings.NewReader(stdin),
	})
	if err != nil {
		return fmt.Errorf("writing the stack: pulumi %s: %w", strings.Join(args[:2], " "), err)
	}
	return nil
}

// program finds pulumi on the PATH in Env.
func (s Stack) program() (string, error) {
	for dir := range strings.SplitSeq(s.lookup("PATH"), string(os.PathListSeparator)) {
		path := filepath.Join(dir, "pulumi")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.New("writing the stack: no pulumi on the lab's PATH")
}

// backend is the folder that PULUMI_BACKEND_URL names; pulumi wants it there.
func (s Stack) backend() string {
	return strings.TrimPrefix(s.lookup("PULUMI_BACKEND_URL"), "file://")
}

func (s Stack) lookup(name string) string {
	value := ""
	for _, e := range s.Env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}
