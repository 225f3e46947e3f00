package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// relayBytes pass through memory where a relay can't do without.
const relayBytes = 32 << 10

// ReceiverError says that the connection that a download is relayed to has failed, not the download.
type ReceiverError struct{ Err error }

func (e *ReceiverError) Error() string { return "relay a download: " + e.Err.Error() }

// Unwrap returns what writing to the connection has failed with.
func (e *ReceiverError) Unwrap() error { return e.Err }

// Relay sends some of the next bytes, n at most, on to another connection, and returns how many have gone there. Where
// the system can (splice), they do not come into the memory of this process. io.EOF comes only after the last one, as
// from Read. After an error the download is at an end: bytes that were read may not have gone on. A *ReceiverError is
// to's, and that includes its deadline, which the caller sets; any other is the download's.
func (d *Download) Relay(to *net.TCPConn, n int64) (int64, error) {
	if d.err != nil || n <= 0 {
		return 0, d.err
	}
	from, ok := d.cn.nc.(*net.TCPConn)
	if buffered := d.cn.br.Buffered(); !ok || d.r != nil || buffered > 0 {
		if ok && d.r == nil {
			n = min(n, int64(buffered))
		}
		return d.relayCopy(to, min(n, relayBytes))
	}
	if err := d.cn.touch(); err != nil {
		return 0, d.fail(err)
	}
	n = min(n, d.left)
	sent, err := to.ReadFrom(&io.LimitedReader{R: from, N: n})
	d.left -= sent
	switch {
	case d.left == 0 && err == nil:
		d.end(io.EOF, true)
	case err == nil && sent < n:
		return sent, d.fail(io.ErrUnexpectedEOF)
	case errors.Is(err, syscall.EPIPE), isTimeout(err) && time.Now().Before(d.cn.deadline):
		d.end(&ReceiverError{err}, false)
		return sent, d.err
	case err != nil:
		return sent, d.fail(err)
	}
	return sent, nil
}

// relayCopy is Relay by way of memory.
func (d *Download) relayCopy(to *net.TCPConn, n int64) (int64, error) {
	b := make([]byte, n)
	m, err := d.Read(b)
	if m == 0 {
		return 0, err
	}
	sent, err := to.Write(b[:m])
	if err != nil {
		d.end(&ReceiverError{err}, false)
		return int64(sent), d.err
	}
	return int64(sent), nil
}

// fail ends a download whose connection has failed.
func (d *Download) fail(err error) error {
	d.end(fmt.Errorf("download %s: %w", d.fid, d.c.cause(d.ctx, d.host, noEOF(err))), false)
	return d.err
}
