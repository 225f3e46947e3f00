package cmd

import (
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// timerSlackNanos is how late the kernel may wake a thread that sleeps; 50 µs is Linux's default. While there is work the
// Go runtime's monitor sleeps for 20 µs again and again, which costs much more than it brings. It also finds out that a
// sync takes long, and has another thread go on with the requests, so it must not be much later.
const timerSlackNanos = 200_000

// relax raises the timer slack. A thread inherits that of the thread that starts it, and the monitor runs before main
// does, so only a new beginning reaches it: the slack outlasts that. A larger one, by systemd's TimerSlackNSec= say,
// stays. Where something does not work the process goes on as it is.
func relax() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			return timerSlackNanos
		}
		return n
	}
	if slack() >= timerSlackNanos || unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlackNanos, 0, 0, 0) != nil || slack() != timerSlackNanos {
		return
	}
	if path, ok := ownPath(); ok {
		_ = unix.Exec(path, os.Args, os.Environ())
	}
}

// ownPath returns the program's path as it was called, from which the process has its name.
func ownPath() (string, bool) {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", false
	}
	named, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", false
	}
	file, err := os.Stat(named)
	return named, err == nil && os.SameFile(own, file)
}
