package run

import (
	"os/exec"
	"syscall"
)

// ownGroup puts cmd in a process group and has a cancelled context kill the group: go build and debootstrap start
// children that a kill of the parent alone would leave behind. Where this program itself is killed, cmd dies with it: a cp
// that went on would be in the way of the next run. The kernel watches the thread that starts cmd, which must not end before it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
