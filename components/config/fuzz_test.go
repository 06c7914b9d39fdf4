package config

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// FuzzParse gives the decoder and the checks anything at all, one group at a time in an otherwise good stack. There is
// no panic, an error is a list of mistakes with paths, and what is accepted is complete.
func FuzzParse(f *testing.F) {
	for _, key := range []string{"registry", "certificate", "containerd", "kubernetes", "ssh", "nodes", "regstry", ""} {
		for _, value := range []string{
			``, `null`, `{}`, `[]`, `5`, `2.0`, `"text"`, `text`, `{"host": "Yuan.com", "node": "worker1", "password": "12345678"}`, `{"hots": [1e999, {"": null}]}`,
			`[{"name": "a", "address": "::1", "hostKey": "ssh-ed25519 AAAA", "port": -1}, null, [[]]]`, `{"version": 2.0}`, `{"kubeconfig": "a: &a [*a]"}`,
			`{"ca": "pem", "caCert": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "caKey": "-----BEGIN PRIVATE KEY-----"}`, "{\"\xff\": 1}",
			`{"agent": true, "bastion": {}}`, `{"password": "x", "bastion": {"address": "10.0.0.12", "port": 22, "agent": true}}`, `[{"bastion": [], "passphrase": "x"}]`,
			`{"privateKey": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"}`,
		} {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		raw := map[string]string{
			"registry":   `{"host": "Yuan.com", "node": "worker1", "password": "12345678"}`,
			"containerd": `{"version": "1.7.36"}`,
			"nodes":      `[{"name": "worker1", "address": "10.0.0.12", "hostKey": "` + fixedHostKey + `"}]`,
			key:          value,
		}
		if key != "kubernetes" {
			kubeconfig, _ := json.Marshal(map[string]string{"kubeconfig": kubeconfigText})
			raw["kubernetes"] = string(kubeconfig)
		}
		env := environment{
			project: "berth", stack: "dev", now: today, getenv: func(string) string { return "" },
			home: func() (string, error) { return "", errors.New("no home") },
		}
		cfg, err := parse(context.Background(), raw, env, Rules{})
		if err == nil {
			if cfg.Registry.Host == "" || cfg.RegistryNode().InternalIP == "" || cfg.SSH.User == "" || len(cfg.ActiveNodes()) == 0 {
				t.Errorf("accepted, yet incomplete: %+v", cfg)
			}
			return
		}
		lines := strings.Split(err.Error(), "\n")
		if !strings.HasSuffix(lines[0], " in stacks/Pulumi.dev.yaml:") {
			t.Errorf("first line %q", lines[0])
		}
		for _, line := range lines[1:] {
			if !strings.HasPrefix(line, "  berth:") {
				t.Errorf("a mistake without its path: %q", line)
			}
		}
	})
}

// FuzzNearest holds the spelling help to its bounds.
func FuzzNearest(f *testing.F) {
	f.Add("hots")
	f.Add("")
	f.Add("ünïcode\xff")
	known := []string{"host", "nodePort", "node"}
	f.Fuzz(func(t *testing.T, word string) {
		_ = nearest(word, known)
		if d := distance(word, word); d != 0 {
			t.Errorf("%q is %d from itself", word, d)
		}
		if d, e := distance(word, "host"), distance("host", word); d != e || d > max(len(word), 4) {
			t.Errorf("%q and host: %d, and the other way round %d", word, d, e)
		}
	})
}

const fixedHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
