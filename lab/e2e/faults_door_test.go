package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/lab/cluster"
)

// The scripts that users run know nothing of faults. The test stands at a node's door in their place: sshd runs a command of the
// test (command= in authorized_keys) for each that it is asked for, and that one puts the test's tools in front of the node's own.
const (
	doorDir = "/var/tmp/e2e" // on the disk: a machine that lost its power still lets people in
	armed   = "/run/e2e"     // a loss of power takes the fault away
	doorKey = `command="[ ! -x ` + doorDir + `/door ] || exec ` + doorDir + `/door; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"" `
)

// door runs what was asked for. Steps that no fault is armed for do not notice it.
const door = `#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
*"$(cat ` + armed + `/step 2>/dev/null || echo none)"*) ;;
*) exec /bin/sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
echo $$ >` + armed + `/script
echo $PPID >` + armed + `/connection
if [ -e ` + armed + `/bytes ]; then
	dd bs=64k count="$(cat ` + armed + `/bytes)" iflag=count_bytes status=none | /bin/sh -c "$SSH_ORIGINAL_COMMAND"
	mkdir ` + armed + `/happened
	kill -KILL $PPID
fi
PATH=` + doorDir + `/tools:$PATH
export PATH
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
`

// tool stands for each of the tools: what is armed happens at the first call that it is armed for. Units that a script starts get
// the test's tools too.
const tool = `#!/bin/sh
PATH=${PATH#` + doorDir + `/tools:}
export PATH
AT=$(cat ` + armed + `/at 2>/dev/null)
case "${0##*/} $*" in
$AT) ! mkdir ` + armed + `/happened 2>/dev/null || . ` + armed + `/do ;;
esac
[ "${0##*/}" != systemd-run ] || set -- "--setenv=PATH=` + doorDir + `/tools:$PATH" "$@"
exec "${0##*/}" "$@"
`

// tools are what faults happen at.
var tools = []string{"ctr", "curl", "ln", "mv", "openssl", "rmdir", "ss", "sync", "systemctl", "systemd-run", "tar", "update-ca-certificates"}

// What happens at a call. A script's own session is its connection's, or the unit's.
const (
	killed = `pkill -KILL -s 0; exit 1`
	// killedOutside ends the script that waits for the unit; the unit goes on.
	killedOutside = `pkill -KILL -s "$(cat ` + armed + `/script)"`
	// killedAlone ends the shell and none of the tools that it runs.
	killedAlone = `kill -KILL "$(cat ` + armed + `/script)"`
	cut         = `kill -KILL "$(cat ` + armed + `/connection)"`
	// held waits for the test.
	held = `until [ -e ` + armed + `/go ]; do sleep 0.1; done`
	// brokenAndKilled has the restart start a containerd that cannot start, and kills whoever would take it back.
	brokenAndKilled = `printf '[Service]\nExecStartPre=/bin/false\n' >/run/systemd/system/containerd.service.d/zzzz-e2e.conf
systemctl daemon-reload
rm /run/systemd/system/containerd.service.d/zzzz-e2e.conf
systemctl restart containerd.service
` + killed
)

// readOnlyEtc mounts a folder read-only, and full lets nothing of a megabyte or more be written into it; both until mounted undoes it.
// What could be written into a full folder stays there.
const readOnlyEtc = "mount --bind /etc /etc && mount -o remount,bind,ro /etc"

func full(dir string) string {
	return `mkdir -p ` + armed + `/disk && mount -t tmpfs -o size=1m,mode=755 tmpfs ` + armed + `/disk
mkdir ` + armed + `/disk/upper ` + armed + `/disk/work && chmod --reference=` + dir + ` ` + armed + `/disk/upper
mount -t overlay -o lowerdir=` + dir + `,upperdir=` + armed + `/disk/upper,workdir=` + armed + `/disk/work overlay ` + dir
}

// writable undoes readOnlyEtc and full.
func writable(dir string) string {
	return `! mountpoint -q ` + dir + ` || umount --lazy ` + dir + `
[ ! -d ` + armed + `/disk ] || { cp -dR --preserve=mode,ownership,timestamps ` + armed + `/disk/upper/. ` + dir + `/; umount ` + armed + `/disk; }`
}

// openDoor has the test stand at the door of a node until it ends.
func openDoor(t *testing.T, n *cluster.Node) {
	t.Helper()
	dir := filepath.Join(n.Root(), doorDir)
	check(t, os.MkdirAll(filepath.Join(dir, "tools"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "door"), []byte(door), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "tool"), []byte(tool), 0o755))
	for _, name := range tools {
		check(t, os.Symlink("../tool", filepath.Join(dir, "tools", name)))
	}
	keys := filepath.Join(n.Root(), "root/.ssh/authorized_keys")
	// A run that was killed left it open.
	plain := strings.TrimPrefix(readFile(t, keys), doorKey)
	check(t, os.WriteFile(keys, []byte(doorKey+plain), 0o600))
	t.Cleanup(func() { check(t, os.WriteFile(keys, []byte(plain), 0o600)) })
}

// arm lets a fault happen on a node, once.
func arm(t *testing.T, n *cluster.Node, f fault) {
	t.Helper()
	disarm(t, n, f)
	run(t, n, "mkdir "+armed+"\n"+f.before)
	inside, err := n.Inside()
	check(t, err)
	for name, text := range map[string]string{"step": f.step, "at": f.at, "do": f.do, "bytes": f.bytes} {
		if text != "" {
			check(t, os.WriteFile(filepath.Join(inside, armed, name), []byte(text), 0o600))
		}
	}
}

// disarm takes a fault away, with what it did to the node from outside.
func disarm(t *testing.T, n *cluster.Node, f fault) {
	t.Helper()
	run(t, n, f.after+"\nrm -rf --one-file-system "+armed)
}

// happened tells whether the fault that is armed on a node came.
func happened(n *cluster.Node) bool {
	inside, err := n.Inside()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(inside, armed, "happened"))
	return err == nil
}
