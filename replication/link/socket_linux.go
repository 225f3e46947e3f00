package link

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limitSilence ends a connection whose other end acknowledges nothing for so long. Otherwise TCP would wait ever
// longer between its attempts, and after a partition of a minute what is sent would arrive a minute late.
func limitSilence(conn net.Conn, d time.Duration) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil // a Dial of one's own knows what it does
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	return errors.Join(err, set)
}

// tryWrite writes what a socket takes at once, which may be nothing.
var tryWrite = func(fd int, p []byte) (n int, err error) {
	n, err = unix.Write(fd, p)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}
