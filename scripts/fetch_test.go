package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		r := n.try(Containerd, "apply", containerdVars(owner, digest))
		if r.err != nil {
			t.Fatalf("%v\n%s", r.err, r.stderr)
		}
		if got, want := n.getSim("curl-config"), "user = \"Yuan:Abcd\\\"12\\\\3'456\"\n"; got != want {
			t.Errorf("curl was told %q, want %q", got, want)
		}
		for what, text := range map[string]string{
			"stdout": r.stdout, "stderr": r.stderr, "arguments": n.getSim("calls"), "processes": n.getSim("processes"),
		} {
			if text == "" || strings.Contains(text, "Abcd") {
				t.Errorf("%s holds the password, or nothing: %q", what, text)
			}
		}
		for name := range n.snapshot() {
			if data, err := os.ReadFile(n.root + name); err == nil && strings.Contains(string(data), "Abcd") {
				t.Errorf("%s holds the password", name)
			}
		}
		for name, wrong := range map[string]string{"var/lib/berth": "drwx------", "var/lib/berth/manifest": "-rw-------"} {
			info, err := os.Lstat(filepath.Join(n.root, name))
			if err != nil || info.Mode().String() != wrong {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
	})
}

func TestFetchWithoutCurl(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, n *node) {
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		n.stub("curl", "exit 2")
		n.fail(Containerd, "apply", containerdVars(owner, digest), "fetching "+digest+" from Yuan.com:30443 at 10.99.0.12 failed")
		n.publish(containerdScript(testVersion, 0, "other"))
		n.stub("curl", `while [ "$1" != -o ]; do shift; done; cp "$SIM/blob" "$2"`)
		n.fail(Containerd, "apply", containerdVars(owner, digest), "what the registry sent is not "+digest)
		if n.starts() != 0 || n.exists("var/lib/berth/fetch") {
			t.Error("a failed fetch left traces")
		}
	})
	t.Run("ctr", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shells(t)["dash"])
		digest := n.publish(containerdScript(testVersion, 0, "cri"))
		n.run(Base, "apply", baseVars(owner))
		// A PATH of its own, without curl.
		tools := filepath.Join(n.sim, "tools")
		if err := os.Mkdir(tools, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(n.path + "/curl"); err != nil {
			t.Fatal(err)
		}
		cmd := n.command(Containerd, "apply", containerdVars(owner, digest))
		text, err := stdin(Containerd, n.root, containerdVars(owner, digest))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader("command() { case $2 in curl) return 1 ;; *) type \"$2\" ;; esac; }\n" + text)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "Abcd") {
			t.Fatalf("%v\n%s", err, out)
		}
		if !strings.Contains(n.getSim("calls"), " Yuan.com:30443/berth/containerd:1.7.36-berth.1-linux-amd64\n") {
			t.Errorf("fetched something else: %s", n.getSim("calls"))
		}
		if got := n.getSim("hosts.toml"); !strings.Contains(got, `Authorization = "Basic WXVhbjpBYmNkIjEyXDMnNDU2"`) || n.getSim("hosts-mode") != "600\n" {
			t.Errorf("hosts.toml (%s) is %q", n.getSim("hosts-mode"), got)
		}
		if n.exists("var/lib/berth/fetch") || n.running() != "/usr/local/bin/containerd-berth-"+testVersion {
			t.Errorf("%s runs, traces %v", n.running(), n.exists("var/lib/berth/fetch"))
		}
	})
}
