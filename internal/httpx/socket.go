package httpx

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// peekByte waits under the read deadline for the first byte of the input and returns it without taking it. The
// end of the input is io.EOF.
func peekByte(raw syscall.RawConn) (first byte, err error) {
	var b [1]byte
	waitErr := raw.Read(func(fd uintptr) bool {
		var n int
		for {
			n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			if err != unix.EINTR {
				break
			}
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return b[0], err
}

// ioctl returns the integer that request yields for the socket, 0 on errors.
func ioctl(raw syscall.RawConn, request uint) int {
	value := 0
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), request); err == nil {
			value = n
		}
	})
	return value
}

// pendingBytes is the length of the receive queue.
func pendingBytes(raw syscall.RawConn) int { return ioctl(raw, unix.TIOCINQ) }

// queuedBytes is the length of the send queue: what the peer has not acknowledged.
func queuedBytes(raw syscall.RawConn) int { return ioctl(raw, unix.TIOCOUTQ) }
