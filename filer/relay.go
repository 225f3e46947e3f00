package filer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"

	"weed/client"
)

const (
	// relayFromBytes is the length from which on content goes from the volume server's connection to the client's without
	// being copied by this process, as far as the system can.
	relayFromBytes = 256 << 10
	relayStepBytes = 1 << 20 // in which deadlines are moved
)

// stretch is the next bytes of a content, as the source that net/http hands to conn.ReadFrom.
type stretch struct {
	body *contentReader
	left int64
}

// Read reads what net/http wants to see itself.
func (s *stretch) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.body.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	return n, err
}

// relay sends the stretch to a client whose connection moves minProgress bytes in every idle time. A *client.ReceiverError
// says that the client is gone or too slow.
func (s *stretch) relay(c *conn, tcp *net.TCPConn) (sent int64, err error) {
	var gone error
	for s.left > 0 && err == nil {
		if err := c.touch(); err != nil {
			return sent, &client.ReceiverError{Err: err}
		}
		var n int64
		n, err = s.body.move(func(d *client.Download, most int64) (int64, error) {
			n, err := d.Relay(tcp, min(most, s.left, relayStepBytes))
			var receiver *client.ReceiverError
			if errors.As(err, &receiver) && (n < minProgress || !errors.Is(err, os.ErrDeadlineExceeded)) {
				gone = err
			}
			return n, err
		})
		sent += n
		if s.left -= n; gone != nil {
			err = gone
		}
	}
	return sent, err
}

// relay sends as much of the next n bytes as it can without copying them.
func (f *Filer) relay(w http.ResponseWriter, body *contentReader, n int64) (sent int64, err error) {
	if counted, ok := w.(*recorder); ok {
		w = counted.ResponseWriter
	}
	to, ok := w.(io.ReaderFrom)
	if !ok || n < relayFromBytes {
		return 0, nil
	}
	return to.ReadFrom(&stretch{body, n})
}
