package volume

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"testing"
)

// stalled is an upload whose client stops in the middle.
type stalled struct {
	t    *testing.T
	conn net.Conn
}

// stall declares length bytes and sends the first one of them.
func stall(t *testing.T, n *node, path string, length int) *stalled {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", path, length); err != nil {
		t.Fatal(err)
	}
	return &stalled{t, c}
}

// abort resets the connection.
func (s *stalled) abort() {
	if err := s.conn.(*net.TCPConn).SetLinger(0); err != nil {
		s.t.Error(err)
	}
	s.conn.Close()
}

// wait reads until the server closes, however it does.
func (s *stalled) wait() { _, _ = io.Copy(io.Discard, s.conn) }

func mustParse(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not tell its descriptors")
	}
	return len(entries)
}
