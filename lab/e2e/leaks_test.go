package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/lab/cluster"
)

// samplePeriod is the pause between two looks at the process lists. A process that lives shorter may be missed.
const samplePeriod = 40 * time.Millisecond

// leaks collects what others could see while the test runs: process lists of all machines, what the CLI printed, the state on the
// disk and readable files. Judged at the end, when all secrets are known.
type leaks struct {
	mu      sync.Mutex
	seen    map[string]string // where → text
	samples int
	secrets map[string]string // name → a part of it that is nowhere else
}

func newLeaks() *leaks { return &leaks{seen: map[string]string{}, secrets: map[string]string{}} }

// watchLeaks samples process lists until the test ends, which costs a part of a processor.
func watchLeaks(t *testing.T) *leaks {
	t.Helper()
	l := newLeaks()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			l.sample()
			time.Sleep(samplePeriod)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

// sample reads the command lines of all processes. Those of the machines are in the host's list too: their process namespaces lie
// below the host's.
func (l *leaks) sample() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples++
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || len(data) == 0 {
			continue
		}
		line := strings.ReplaceAll(string(data), "\x00", " ")
		if _, known := l.seen["process "+line]; !known && ours(e.Name()) {
			l.seen["process "+line] = line
		}
	}
}

// ours tells whether a process runs in a machine of the lab or was started by this test; the host may run other people's.
func ours(pid string) bool {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return true
	}
	if ns, err := os.Readlink("/proc/" + pid + "/ns/pid"); err != nil || ns != own {
		return err == nil
	}
	for depth := 0; depth < 30 && pid != "0" && pid != ""; depth++ {
		if pid == strconv.Itoa(os.Getpid()) {
			return true
		}
		pid = parentOf(pid)
	}
	return false
}

func parentOf(pid string) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	// The name in brackets may hold anything; the parent is the second field behind it.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 2 {
		return ""
	}
	return f[1]
}

// quiet runs f, which gives a secret to a program the only way that the program takes it, while nobody looks.
func (l *leaks) quiet(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *leaks) output(what, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[fmt.Sprintf("output of %s (%d)", what, len(l.seen))] = text
}

// found returns where which secret stood.
func (l *leaks) found() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, where := range slices.Sorted(maps.Keys(l.seen)) {
		for name, secret := range l.secrets {
			if strings.Contains(l.seen[where], secret) {
				all = append(all, name+" in "+where)
			}
		}
	}
	return all
}

// learn adds every secret of a stack that stands.
func (l *leaks) learn(t *testing.T, s *suite) {
	t.Helper()
	l.secrets["the password"] = firstPassword
	l.secrets["the new password"] = secondPassword
	for _, p := range []string{firstPassword, secondPassword} {
		l.secrets["the login "+p[:4]] = base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + p))
	}
	l.secrets["the SSH key"] = middleLine(t, readFile(t, s.cluster.SSHKey))
	l.secrets["the cluster CA's key"] = middleLine(t, readFile(t, filepath.Join(s.node(t, "master1").Root(), "etc/kubernetes/pki/ca.key")))
	kubeconfig := readFile(t, s.cluster.Kubeconfig)
	if _, rest, ok := strings.Cut(kubeconfig, "client-key-data: "); ok {
		key := strings.Fields(rest)[0]
		l.secrets["the kubeconfig's key"] = key[len(key)/2 : len(key)/2+60]
	} else {
		t.Errorf("no client-key-data in %s", s.cluster.Kubeconfig)
	}
	for name, value := range s.registrySecrets(t) {
		l.secrets[name] = value
	}
}

// registrySecrets reads what the registry runs with.
func (s *suite) registrySecrets(t *testing.T) map[string]string {
	t.Helper()
	get := func(secret string) map[string]string {
		var object struct {
			Data map[string][]byte `json:"data"`
		}
		check(t, json.Unmarshal([]byte(s.kube.must(t, "", "get", "secret", secret, "-n", "default", "-o", "json")), &object))
		plain := map[string]string{}
		for k, v := range object.Data {
			plain[k] = string(v)
		}
		return plain
	}
	tls, auth := get("docker-registry-tls"), get("docker-registry-auth")
	_, hash, ok := strings.Cut(strings.TrimSpace(auth["htpasswd"]), ":")
	if !ok || !strings.HasPrefix(hash, "$2") {
		t.Fatalf("the registry's htpasswd is no bcrypt line: %q", auth["htpasswd"])
	}
	return map[string]string{
		"the server's key":                           middleLine(t, tls["tls.key"]),
		"the hash of the password " + s.password[:4]: hash[7:],
		"the registry's http secret":                 auth["httpSecret"],
		"the server's key in its base64":             middle(base64.StdEncoding.EncodeToString([]byte(tls["tls.key"]))),
		"the password's hash in base64":              middle(base64.StdEncoding.EncodeToString([]byte(auth["htpasswd"]))),
	}
}

// collect looks at the state and at the files of every node while the stack stands.
func (l *leaks) collect(t *testing.T, s *suite) {
	t.Helper()
	l.learn(t, s)
	l.output("stack export", s.pulumi.export(t))
	// The same search has to find the secrets where they are to be.
	contains(t, "the decrypted state", s.pulumi.export(t, "--show-secrets"), s.password, l.secrets["the server's key"])
	l.output("kubectl get", s.kube.must(t, "", "get", "all,configmaps,events", "--all-namespaces", "-o", "yaml"))
	for _, n := range s.cluster.Nodes {
		l.files(t, n)
	}
}

// files looks for the secrets in what any user of a node can read, and in the journal.
func (l *leaks) files(t *testing.T, n *cluster.Node) {
	t.Helper()
	patterns := temporary(t, n, "patterns", strings.Join(slices.Collect(maps.Values(l.secrets)), "\n")+"\n")
	defer run(t, n, "rm "+patterns)
	grep := `grep -rlF --devices=skip -f - /etc /home /opt /root /run /srv /tmp /usr/local /var 2>/dev/null || :`
	if all := run(t, n, "{ "+grep+"; } <"+patterns); n.Name == "master1" && !strings.Contains(all, "/var/lib/kubelet/") {
		t.Errorf("the search does not even find the registry's own files on %s: %q", n.Name, all)
	}
	if open := run(t, n, "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '"+grep+"' <"+patterns); open != "" {
		l.output("files that anybody can read on "+n.Name+": "+open, strings.Join(slices.Collect(maps.Values(l.secrets)), " "))
	}
	if logged := run(t, n, "journalctl --quiet --no-pager | grep -F -f "+patterns+" || :"); logged != "" {
		l.output("the journal of "+n.Name, logged)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	check(t, err)
	return string(text)
}

// middleLine is a line of a PEM key that no other key has.
func middleLine(t *testing.T, pem string) string {
	t.Helper()
	all := lines(pem)
	if len(all) < 3 {
		t.Fatal("this is no key in PEM form")
	}
	return all[len(all)/2]
}

func middle(text string) string {
	if len(text) <= 80 {
		return text
	}
	return text[len(text)/2-30 : len(text)/2+30]
}
