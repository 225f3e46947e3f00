package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenError is one line for the person who typed the command; the cause stays reachable.
type ListenError struct {
	Host, Port string
	PortFlag   string // name of the flag that chose the port; Listen says "port"
	Cause      error
}

func (e *ListenError) Error() string {
	switch {
	case errors.Is(e.Cause, syscall.EADDRINUSE):
		return fmt.Sprintf("port %s is in use: stop the other process or choose another -%s", e.Port, e.PortFlag)
	case errors.Is(e.Cause, syscall.EACCES):
		return fmt.Sprintf("port %s needs privileges: choose a -%s above 1023", e.Port, e.PortFlag)
	case errors.Is(e.Cause, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("%s is no address of this machine: correct -ip.bind", e.Host)
	}
	return fmt.Sprintf("can't listen on %s: %v", net.JoinHostPort(e.Host, e.Port), cause(e.Cause))
}

func (e *ListenError) Unwrap() error { return e.Cause }

// Listen opens a TCP listener on addr, "host:port" or ":port". Its error, a *ListenError but for a malformed
// addr, is one line that says what to do.
// Keep-alive probes are off, because every connection of a weed server has to make progress anyway, and
// so is multipath TCP, which makes accepted sockets dearer.
func Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err == nil {
		return ln, nil
	}
	host, port, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		return nil, fmt.Errorf("%q is no address to listen on: give host:port", addr)
	}
	return nil, &ListenError{Host: host, Port: port, PortFlag: "port", Cause: err}
}

// cause strips the operation and the addresses that a *net.OpError repeats.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// RaiseFileLimit raises the soft limit of open files to the hard one and returns the limit in force, even
// when raising it failed.
func RaiseFileLimit() (limit uint64, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if r.Cur >= r.Max {
		return uint64(r.Cur), nil
	}
	soft := uint64(r.Cur)
	r.Cur = r.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return soft, fmt.Errorf("raise the limit of open files from %d to %d: %w", soft, uint64(r.Max), err)
	}
	return uint64(r.Max), nil
}

const (
	// maxDefaultConns bounds the memory of idle connections where the file limit is generous.
	maxDefaultConns = 32768
	// minReservedFiles and maxReservedFiles bound the quarter of the file limit that connections leave
	// to volumes, logs and outgoing connections.
	minReservedFiles, maxReservedFiles = 64, 8192
)

// DefaultMaxConns is how many connections the limit of open files, raised as far as it goes, allows after a
// reserve. Servers that share a process share it.
func DefaultMaxConns() int {
	limit, err := RaiseFileLimit()
	if limit == 0 && err != nil {
		limit = 1024
	}
	reserve := min(max(limit/4, minReservedFiles), maxReservedFiles)
	if limit <= reserve+16 {
		return 16
	}
	return int(min(limit-reserve, maxDefaultConns))
}
