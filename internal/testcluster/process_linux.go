package testcluster

import "syscall"

// dieWithParent lets the kernel kill the process when the tests are killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
