package e2e

import (
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"berth/lab/machine"
)

// TestConnections has nodes that this machine reaches through a bastion alone, which worker2 is: master1, with the registry and the
// cluster's CA, takes a key that has a passphrase, worker1 a password that its sshd asks for, both for a user with sudo. The bastion takes
// a password from others, and is itself a node that is dialled directly.
func TestConnections(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	s := newSuite(t, watchLeaks(t))
	w := &ways{suite: s, passphrase: rand.Text(), worker: rand.Text(), bastion: rand.Text()}
	w.close(t)
	for _, part := range []struct {
		name  string
		check func(*testing.T)
	}{
		{"inventory", w.inventory},
		{"up", w.up},
		{"look", w.look},
		{"another-login", w.anotherLogin},
		{"wrong-bastion", w.wrongBastion},
		{"destroy", s.needDown},
	} {
		if !t.Run(part.name, part.check) {
			return
		}
	}
	w.open(t)
	s.asBefore(t)
	for _, found := range s.leaks.found() {
		t.Error(found)
	}
}

// ways are the ways into the machines while this test runs.
type ways struct {
	*suite
	passphrase, worker, bastion string // of master1's key, and the passwords of ops on worker1 and worker2
	opened                      bool
}

// close leaves no way into master1 and worker1 but the one through worker2, and writes the stack for it.
func (w *ways) close(t *testing.T) {
	t.Helper()
	private, public, err := machine.NewSSHKey("e2e")
	check(t, err)
	raw, err := ssh.ParseRawPrivateKey([]byte(private))
	check(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "e2e", []byte(w.passphrase))
	check(t, err)
	locked := string(pem.EncodeToMemory(block))
	w.leaks.secrets = map[string]string{
		"the key with a passphrase": middleLine(t, locked), "the key without": middleLine(t, private), "the passphrase": w.passphrase,
		"the password of worker1": w.worker, "the password of the bastion": w.bastion,
	}
	t.Cleanup(func() {
		w.needDown(t) // while the ways are as the state knows them
		w.open(t)
	})
	for _, n := range w.cluster.Nodes {
		run(t, n, `cp -a /etc/shadow /run/e2e-shadow; if [ -e /etc/shadow- ]; then cp -a /etc/shadow- /run/e2e-shadow-; fi
cp -a /home/ops/.ssh/authorized_keys /run/e2e-keys`)
	}
	for name, password := range map[string]string{"worker1": w.worker, "worker2": w.bastion} {
		n, method := w.node(t, name), "PasswordAuthentication"
		if name == "worker1" {
			method = "KbdInteractiveAuthentication"
		}
		run(t, n, `chpasswd <`+temporary(t, n, "password", "ops:"+password+"\n")+`
echo '`+method+` yes' >/etc/ssh/sshd_config.d/00-e2e.conf && systemctl reload ssh`)
	}
	run(t, w.node(t, "master1"), `cat `+temporary(t, w.node(t, "master1"), "key", public)+` >>/home/ops/.ssh/authorized_keys`)
	for _, name := range []string{"master1", "worker1"} {
		run(t, w.node(t, name), `iptables -I INPUT -s `+w.hostAddress(t)+` -p tcp --dport 22 -j REJECT --reject-with tcp-reset`)
	}
	key := readFile(t, w.cluster.SSHKey)
	bastion := w.node(t, "worker2")
	w.pulumi.must(t, "config", "set-all", "--path", "--plaintext", "berth:ssh.user=ops",
		"--plaintext", "berth:ssh.bastion.address="+bastion.Address, "--plaintext", "berth:ssh.bastion.hostKey="+bastion.HostKey)
	w.pulumi.set(t, "berth:ssh.privateKey", locked, true)
	w.pulumi.set(t, "berth:ssh.passphrase", w.passphrase, true)
	w.pulumi.set(t, "berth:ssh.bastion.password", w.bastion, true)
	w.pulumi.set(t, "berth:nodes[1].password", w.worker, true)
	w.pulumi.set(t, "berth:nodes[2].user", "root", false)
	w.pulumi.set(t, "berth:nodes[2].privateKey", key, true)
	config := readFile(t, w.pulumi.config)
	const last = "name: worker2\n"
	if strings.Count(config, last) != 1 {
		t.Fatalf("the stack's file is written in another way:\n%s", config)
	}
	check(t, os.WriteFile(w.pulumi.config, []byte(strings.Replace(config, last, last+"      bastion: {}\n", 1)), 0o600))
}

// open puts the machines back.
func (w *ways) open(t *testing.T) {
	t.Helper()
	if w.opened {
		return
	}
	w.opened = true
	for _, n := range w.cluster.Nodes {
		run(t, n, `while iptables -D INPUT -s `+w.hostAddress(t)+` -p tcp --dport 22 -j REJECT --reject-with tcp-reset 2>/dev/null; do :; done
mv /run/e2e-shadow /etc/shadow; if [ -e /run/e2e-shadow- ]; then mv /run/e2e-shadow- /etc/shadow-; else rm -f /etc/shadow-; fi
mv /run/e2e-keys /home/ops/.ssh/authorized_keys
rm -rf /etc/ssh/sshd_config.d/00-e2e.conf /var/tmp/e2e; systemctl reload ssh`)
	}
}

// inventory reads the host keys of nodes that only the bastion reaches.
func (w *ways) inventory(t *testing.T) {
	bastion := w.node(t, "worker2")
	known := filepath.Join(t.TempDir(), "known_hosts")
	check(t, os.WriteFile(known, []byte(bastion.Address+" "+bastion.HostKey+"\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.project, "scripts/operator/inventory.sh"))
	cmd.Env = slices.Concat(w.pulumi.env, []string{"BASTION=-i " + w.cluster.SSHKey + " -o UserKnownHostsFile=" + known + " root@" + bastion.Address})
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, "the inventory", string(out), `berth:ssh: {bastion: {address: "`+bastion.Address+`", port: 22, user: "root", hostKey: `+bastion.HostKey+`}}`)
	for _, n := range w.cluster.Nodes {
		contains(t, "the inventory", string(out), "{name: "+n.Name+", address: "+n.Address+", hostKey: "+n.HostKey)
	}
}

// up signs, copies, publishes and runs the steps of two nodes through the bastion.
func (w *ways) up(t *testing.T) {
	w.needUp(t)
	for _, n := range w.cluster.Nodes {
		serves(t, n)
	}
	w.pulumi.must(t, "preview", "--expect-no-changes")
	w.leaks.output("stack export", w.pulumi.export(t))
	contains(t, "the decrypted state", w.pulumi.export(t, "--show-secrets"), w.worker, w.bastion)
}

func (w *ways) look(t *testing.T) {
	run(t, w.node(t, "worker1"), `sed -i '/^# BEGIN berth$/,/^# END berth$/d' /etc/hosts`)
	shown := w.pulumi.must(t, "preview").text()
	contains(t, "the preview", shown, "worker1: base is to be repaired (the block in /etc/hosts is missing)")
	if strings.Contains(shown, "could not be compared") {
		t.Errorf("a node was not looked at:\n%s", shown)
	}
	w.pulumi.must(t, "up", "--yes", "--skip-preview")
}

// anotherLogin is an update in place: no resource is replaced, and no containerd is restarted. A preview cannot know that the steps
// will say the same, and shows the verification as one to be made anew.
func (w *ways) anotherLogin(t *testing.T) {
	running := w.containerds(t)
	w.pulumi.must(t, "config", "rm", "--path", "berth:nodes[1].password")
	w.pulumi.set(t, "berth:nodes[1].privateKey", readFile(t, w.cluster.SSHKey), true)
	if out := w.pulumi.must(t, "up", "--yes", "--skip-preview").text(); !strings.Contains(out, "updated") || strings.Contains(out, "replaced") {
		t.Errorf("another login of worker1 did this:\n%s", out)
	}
	for name, now := range w.containerds(t) {
		if now != running[name] {
			t.Errorf("containerd of %s was touched: %+v, now %+v", name, running[name], now)
		}
	}
	w.pulumi.must(t, "preview", "--expect-no-changes")
}

// wrongBastion ends in bounded time, says that it was the bastion, and leaves the state with the way that works.
func (w *ways) wrongBastion(t *testing.T) {
	bastion, master1 := w.node(t, "worker2"), w.node(t, "master1")
	for _, test := range []struct{ name, key, value, good, want string }{
		{"host-key", "hostKey", master1.HostKey, bastion.HostKey, "ssh: handshake failed: ssh: host key mismatch"},
		{"unreachable", "address", w.freeAddress(t), bastion.Address, "dial tcp " + w.freeAddress(t) + ":22: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.pulumi.set(t, "berth:ssh.bastion."+test.key, test.value, false)
			begin := time.Now()
			r := w.pulumi.mustFail(t, "up", "--yes", "--skip-preview")
			contains(t, "the output of up", r.text(), "node-master1", "node-worker1", "by SSH: its bastion ", "proxy: after 5 failed attempts: "+test.want)
			noTrace(t, r.text())
			if took := time.Since(begin); took > 2*time.Minute {
				t.Errorf("that took %s", took)
			}
			w.pulumi.set(t, "berth:ssh.bastion."+test.key, test.good, false)
		})
	}
	w.pulumi.must(t, "preview", "--expect-no-changes")
}
