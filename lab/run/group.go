package run

import (
	"os/exec"
	"syscall"
)

// ownGroup puts cmd in a process group and has a cancelled context kill the group: go build and debootstrap start
// children that a kill of the parent alone would leave behind.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
