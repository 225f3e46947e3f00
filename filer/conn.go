package filer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/httpx"
)

// connKey is where a request's context holds its connection.
type connKey struct{}

// listener accepts connections that keep the limits of this package: a bounded number of them, and writes that make
// progress.
type listener struct {
	net.Listener
	idle time.Duration
	room chan struct{} // one for each open connection
}

const fullAnswer = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n" +
	"Content-Type: application/json\r\nContent-Length: 55\r\n\r\n" + `{"error":"too many connections: try again in a moment"}`

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &conn{Conn: nc, idle: l.idle, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			_ = nc.SetDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(nc, fullAnswer) // fits into an empty send queue
			_ = nc.Close()
		}
	}
}

// conn is a connection whose writes make progress or fail, and that tells errors of HTTP itself as JSON.
type conn struct {
	net.Conn
	idle      time.Duration
	leave     func()
	answering atomic.Bool // a handler has begun, and its answer is not out yet

	writeBy time.Time // deadline that is set; only the goroutine that writes uses it
}

// trackState follows net/http: what is written while a connection has no request under way is its own.
func trackState(c net.Conn, state http.ConnState) {
	if own, ok := c.(*conn); ok && state == http.StateIdle {
		own.answering.Store(false)
	}
}

// markAnswering says that what is written on the request's connection from now on is a handler's.
func markAnswering(r *http.Request) {
	if own, ok := r.Context().Value(connKey{}).(*conn); ok {
		own.answering.Store(true)
	}
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection softly.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Write sends all of b, as long as minProgress bytes of it move in every idle time.
func (c *conn) Write(b []byte) (int, error) {
	size := len(b)
	if !c.answering.Load() {
		b = jsonError(b)
	}
	sent := 0
	for {
		if err := c.touch(); err != nil {
			return sent, err
		}
		n, err := c.Conn.Write(b[sent:])
		sent += n
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && n >= minProgress {
			continue
		}
		if err == nil {
			sent = size
		}
		return min(sent, size), err
	}
}

// touch moves the deadline of what is written next. It is moved in coarse steps: setting it costs.
func (c *conn) touch() error {
	now := time.Now()
	if c.writeBy.Sub(now) >= c.idle*7/8 {
		return nil
	}
	c.writeBy = now.Add(c.idle)
	return c.SetWriteDeadline(c.writeBy)
}

// ReadFrom lets net/http send a stretch of a file's content past the memory of this process.
func (c *conn) ReadFrom(src io.Reader) (int64, error) {
	tcp, ok := c.Conn.(*net.TCPConn)
	s, isStretch := src.(*stretch)
	if !ok || !isStretch {
		return io.Copy(struct{ io.Writer }{c}, src)
	}
	return s.relay(c, tcp)
}

// plainError is what net/http says before it closes a connection whose request it can't read.
const plainError = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// jsonError returns an error of net/http in the form of all others.
func jsonError(b []byte) []byte {
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 4")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 5")) {
		return b
	}
	head, text, found := strings.Cut(string(b), plainError)
	if !found || strings.Contains(head, "\r\n") {
		return b
	}
	body := append([]byte(`{"error":`), httpx.AppendString(nil, text)...)
	return append(append([]byte(head+"\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"), body...), '}')
}
