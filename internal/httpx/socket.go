package httpx

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// peekByte waits under the read deadline for the first byte of the input and returns it without taking it,
// or -1 at the end of the input and on errors.
func peekByte(raw syscall.RawConn) int {
	first := -1
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		for {
			n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err == nil && n == 1:
				first = int(b[0])
			}
			return true
		}
	})
	if err != nil {
		return -1
	}
	return first
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
