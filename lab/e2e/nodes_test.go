package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/lab/cluster"
)

// stockContainerd is what Debian's package runs.
const stockContainerd = "/usr/bin/containerd"

// daemon is containerd as it runs on a node.
type daemon struct{ pid, exe, since string }

func containerdOf(t *testing.T, n *cluster.Node) daemon {
	t.Helper()
	out := run(t, n, `pid=$(systemctl show -p MainPID --value containerd)
echo "$pid $(readlink "/proc/$pid/exe" | sed 's/ (deleted)$//') $(systemctl show -p ActiveEnterTimestampMonotonic --value containerd)"`)
	f := strings.Fields(out)
	if len(f) != 3 {
		t.Fatalf("containerd does not run on %s: %q", n.Name, out)
	}
	return daemon{pid: f[0], exe: f[1], since: f[2]}
}

func (s *suite) containerds(t *testing.T) map[string]daemon {
	t.Helper()
	all := map[string]daemon{}
	for _, n := range s.cluster.Nodes {
		all[n.Name] = containerdOf(t, n)
	}
	return all
}

// unit is what systemd makes of containerd's unit, without process ids and times.
func unit(t *testing.T, n *cluster.Node) string {
	t.Helper()
	return run(t, n, `systemctl show containerd -p ExecStart -p ExecStartPre -p DropInPaths -p Environment -p FragmentPath -p NeedDaemonReload |
sed 's/ ; start_time=.*//'`)
}

// touched is all that a step which runs on a node could not help changing: containerd's process, logins, berth's own files and
// the time of the last change below /etc.
func touched(t *testing.T, n *cluster.Node) string {
	t.Helper()
	return fmt.Sprintf("containerd %+v\n%s", containerdOf(t, n), run(t, n,
		`echo "logins $(journalctl --quiet --no-pager --unit ssh --output cat | grep -c '^Accepted ')"
find /var/lib/berth /etc/containerd /etc/systemd/system/containerd.service.d /usr/local -printf '%p %m %u:%g %T@\n' 2>/dev/null | sort
stat -c '%n %Z' /etc/hosts /etc/ssl/certs/ca-certificates.crt`))
}

func (s *suite) touched(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, n := range s.cluster.Nodes {
		all[n.Name] = touched(t, n)
	}
	return all
}

// untouched fails the test where anything ran on a node since before, except that many looks of the program at the node.
func (s *suite) untouched(t *testing.T, before map[string]string, looks int) {
	t.Helper()
	for _, n := range s.cluster.Nodes {
		head, rest, _ := strings.Cut(before[n.Name], "logins ")
		count, rest, _ := strings.Cut(rest, "\n")
		logins, err := strconv.Atoi(count)
		check(t, err)
		want := fmt.Sprintf("%slogins %d\n%s", head, logins+looks, rest)
		if now := touched(t, n); now != want {
			t.Errorf("something ran on %s:\nwant:  %s\nafter: %s", n.Name, want, now)
		}
	}
}

// traces names what berth has on a node, by meaning: files of its name, images, a changed unit, trust in the cluster's CA.
// A node that berth never saw has none; on one that it left only the lock and the mark of its removal lie, in memory until a reboot.
func traces(t *testing.T, n *cluster.Node) string {
	t.Helper()
	out := run(t, n, `find /etc /usr /opt /root /run /tmp /var/tmp /var/lib -xdev \( -path /var/lib/containerd -o -path /var/lib/kubelet -o -path /run/containerd \) -prune \
	-o ! -path /run/berth.lock ! -path /run/berth.removed -iname '*berth*' -print 2>/dev/null || :
ctr namespaces ls -q | grep -i berth || :
ctr -n k8s.io images ls -q | grep -i -e berth -e `+registryHost+` -e library/registry || :
grep -i -e berth -e `+registryHost+` /etc/hosts || :
systemctl list-units --all --no-legend '*berth*'
if openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /etc/kubernetes/pki/ca.crt >/dev/null 2>&1; then echo "the system trusts the cluster's CA"; fi
pgrep -af '[s]h -s -- ' || :`)
	if d := containerdOf(t, n); d.exe != stockContainerd {
		out += "\ncontainerd is " + d.exe
	}
	return strings.TrimSpace(out)
}

// serves fails the test unless the node's containerd answers the kubelet with all plugins that the stock one has.
func serves(t *testing.T, n *cluster.Node) {
	t.Helper()
	run(t, n, `crictl info >/dev/null && crictl pods -q >/dev/null`)
	if bad := run(t, n, `ctr plugins ls | awk '$1 == "io.containerd.grpc.v1" && $2 == "cri" && $NF != "ok"'`); bad != "" {
		t.Errorf("CRI of %s: %s", n.Name, bad)
	}
}

// temporary puts a file below /var/tmp/e2e of a node without any command line seeing its content, and returns its path there.
func temporary(t *testing.T, n *cluster.Node, name, content string) string {
	t.Helper()
	dir := filepath.Join(n.Root(), "var/tmp/e2e")
	check(t, os.MkdirAll(dir, 0o700))
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	return "/var/tmp/e2e/" + name
}

// withHosts runs f while the node's /etc/hosts has one more line, and takes the line out again.
func withHosts(t *testing.T, n *cluster.Node, line string, f func()) {
	t.Helper()
	addHosts(t, n, line)
	defer dropHosts(t, n)
	// containerd remembers /etc/hosts for five seconds.
	time.Sleep(5500 * time.Millisecond)
	f()
}

// addHosts appends a line in place, as an administrator would.
func addHosts(t *testing.T, n *cluster.Node, line string) {
	t.Helper()
	run(t, n, `printf '%s # e2e\n' '`+line+`' >>/etc/hosts`)
}

func dropHosts(t *testing.T, n *cluster.Node) {
	t.Helper()
	run(t, n, `grep -v '# e2e$' /etc/hosts >/run/e2e-hosts; cat /run/e2e-hosts >/etc/hosts; rm /run/e2e-hosts`)
}
