package testcluster

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent lets the kernel kill the process when the tests are killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// waitStopped waits until all threads of a child that was sent SIGSTOP stand still, which takes a while when they
// wait for a CPU.
func waitStopped(pid int) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
