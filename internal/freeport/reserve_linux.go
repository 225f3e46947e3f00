package freeport

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// reserve binds a socket that never listens. Linux gives a port that is bound to nobody who leaves the choice to
// it, but lets a socket with SO_REUSEADDR, which Go's listeners have, listen on it by name.
func reserve() (port int, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, err
	}
	bound, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return 0, nil, fmt.Errorf("bound to %T", name)
	}
	return bound.Port, func() { _ = unix.Close(fd) }, nil
}
