package gateway

import (
	"os/exec"
	"syscall"
)

// dieWithParent leaves no Caddy behind when a test is killed, by its time limit for one.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
