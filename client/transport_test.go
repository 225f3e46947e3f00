package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serveOnce answers the first request of every connection with text and hangs up.
func serveOnce(t *testing.T, text string) string {
	return serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		if readRequest(br) != nil {
			io.WriteString(nc, text)
		}
	})
}

const okJSON = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"size\":3}"

// staleServer answers one request per connection and closes it at the second, as a server does whose idle
// timeout strikes while the request is on its way. It counts the requests it has seen.
func staleServer(t *testing.T) (addr string, seen *atomic.Int32) {
	seen = new(atomic.Int32)
	return serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		for k := range 2 {
			if readRequest(br) == nil {
				return
			}
			seen.Add(1)
			if k == 0 {
				io.WriteString(nc, okJSON)
			}
		}
	}), seen
}

func TestStaleConnection(t *testing.T) {
	addr, seen := staleServer(t)
	m := &fakeMaster{}
	m.place("3", addr)
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	calls := map[string]func() error{
		"upload": func() error { _, err := c.UploadTo(bg, addr, fid1, &Blob{Data: []byte("x")}); return err },
		"stream": func() error {
			_, err := c.UploadTo(bg, addr, fid1, &Blob{Reader: strings.NewReader("abc"), Size: 3})
			return err
		},
		"delete": func() error { _, err := c.Delete(bg, fid1); return err },
		"get":    func() error { _, _, err := c.Get(bg, fid1, nil); return err },
		"forward": func() error {
			_, _, err := c.Forward(bg, &Request{Host: addr, Path: "/x", Idempotent: true}, nil)
			return err
		},
	}
	for name, call := range calls {
		c.pool.expire(time.Now().Add(time.Hour))
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := seen.Load()
		if err := call(); err != nil {
			t.Errorf("%s over a stale connection: %v", name, err)
		}
		if n := seen.Load() - before; n != 2 {
			t.Errorf("%s: the server saw %d requests, want 2", name, n)
		}
	}
}

func TestStaleConnectionIsNotRetriedForPosts(t *testing.T) {
	addr, seen := staleServer(t)
	c, _ := newTestClient(t, Config{})
	var out struct{ Size int }
	if err := c.PostJSON(bg, addr, "/order", map[string]int{"id": 1}, &out); err != nil || out.Size != 3 {
		t.Fatalf("PostJSON = %+v, %v", out, err)
	}
	if err := c.PostJSON(bg, addr, "/order", map[string]int{"id": 2}, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("PostJSON over a stale connection = %v, want ErrUnavailable", err)
	}
	if seen.Load() != 2 {
		t.Errorf("the server saw %d requests, want 2", seen.Load())
	}
}

// A connection that was closed long ago is noticed before a post is sent over it.
func TestClosedConnectionIsNoticed(t *testing.T) {
	closed := make(chan struct{})
	addr := serveRaw(t, func(n int, nc net.Conn, br *bufio.Reader) {
		if readRequest(br) == nil {
			return
		}
		io.WriteString(nc, okJSON)
		if n == 0 {
			nc.Close()
			close(closed)
		}
	})
	c, _ := newTestClient(t, Config{})
	if err := c.PostJSON(bg, addr, "/", 1, nil); err != nil {
		t.Fatal(err)
	}
	<-closed
	if err := c.PostJSON(bg, addr, "/", 2, nil); err != nil {
		t.Errorf("PostJSON = %v, want a new connection", err)
	}
}

// blocked is a server that takes requests and neither reads on nor answers, until the test ends.
func blocked(t *testing.T, prefix string) (addr string, reached chan struct{}) {
	reached = make(chan struct{}, 16)
	release := make(chan struct{})
	addr = serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		if _, err := br.ReadString('\n'); err != nil {
			return
		}
		io.WriteString(nc, prefix)
		reached <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	return addr, reached
}

func TestCancellation(t *testing.T) {
	partial := "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc"
	big := make([]byte, 64<<20)
	for name, tc := range map[string]struct {
		prefix string
		call   func(ctx context.Context, c *Client, addr string) error
	}{
		"before the answer": {"", func(ctx context.Context, c *Client, addr string) error {
			return c.PostJSON(ctx, addr, "/", 1, nil)
		}},
		"in mid-upload": {"", func(ctx context.Context, c *Client, addr string) error {
			_, err := c.UploadTo(ctx, addr, fid1, &Blob{Data: big})
			return err
		}},
		"in mid-upload of a reader": {"", func(ctx context.Context, c *Client, addr string) error {
			_, err := c.UploadTo(ctx, addr, fid1, &Blob{Reader: bytes.NewReader(big), Size: int64(len(big))})
			return err
		}},
		"in mid-get": {partial, func(ctx context.Context, c *Client, addr string) error {
			_, _, err := c.Get(ctx, fid1, nil)
			return err
		}},
		"in mid-download": {partial, func(ctx context.Context, c *Client, addr string) error {
			d, err := c.Download(ctx, fid1, DownloadOptions{})
			if err != nil {
				return err
			}
			defer d.Close()
			_, err = io.Copy(io.Discard, d)
			return err
		}},
	} {
		for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(fmt.Sprint(name, " ", want), func(t *testing.T) {
				addr, reached := blocked(t, tc.prefix)
				m := &fakeMaster{}
				m.place("3", addr)
				c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
				ctx, end := endlessUntil(want)
				done := make(chan error, 1)
				go func() { done <- tc.call(ctx, c, addr) }()
				<-reached
				end()
				if err := <-done; !errors.Is(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
				if n := len(c.pool.hosts[addr].idle); n != 0 {
					t.Errorf("%d broken connections are kept", n)
				}
			})
		}
	}
}

// endlessUntil returns a context that ends with err when end is called.
func endlessUntil(err error) (ctx context.Context, end func()) {
	if err == context.Canceled {
		return context.WithCancel(bg)
	}
	c := &manualContext{Context: bg, done: make(chan struct{})}
	return c, func() { close(c.done) }
}

// manualContext is a foreign implementation whose deadline passes by hand.
type manualContext struct {
	context.Context
	done chan struct{}
}

func (c *manualContext) Done() <-chan struct{} { return c.done }
func (c *manualContext) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestSilentServer(t *testing.T) {
	addr, _ := blocked(t, "")
	c, _ := newTestClient(t, Config{IOTimeout: 20 * time.Millisecond})
	_, err := c.UploadTo(bg, addr, fid1, &Blob{Data: []byte("x")})
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("UploadTo = %v, want ErrUnavailable and no DeadlineExceeded", err)
	}
}

func TestRefusedBody(t *testing.T) {
	addr := serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(nc, "HTTP/1.1 413 Too Large\r\nContent-Length: 23\r\n\r\n{\"error\":\"over 1 byte\"}\n")
		// As servers do: stop reading, linger for the rest, close.
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, br)
	})
	c, _ := newTestClient(t, Config{})
	_, err := c.UploadTo(bg, addr, fid1, &Blob{Data: make([]byte, 8<<20)})
	var s *StatusError
	if !errors.Is(err, ErrTooLarge) || !errors.As(err, &s) || s.Message != "over 1 byte" {
		t.Errorf("UploadTo = %v, want ErrTooLarge", err)
	}
}

func TestAnswerLimits(t *testing.T) {
	c, _ := newTestClient(t, Config{MaxGetBytes: 10})
	m := &fakeMaster{}
	c.cfg.Masters = []string{m.serve(t)}
	for head, want := range map[string]error{
		"Content-Length: 10\r\n\r\n0123456789":                              nil,
		"Content-Length: 11\r\n\r\n01234567890":                             ErrTooLarge,
		"Content-Length: 9999999999999\r\n\r\n0":                            ErrTooLarge,
		"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n":    nil,
		"Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n":   ErrTooLarge,
		"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n01234567890123456": ErrTooLarge,
	} {
		m.place("3", serveOnce(t, "HTTP/1.1 200 OK\r\n"+head))
		c.lookups.forget(3, c.clock.Now())
		got, _, err := c.Get(bg, fid1, nil)
		if !errors.Is(err, want) || err == nil && string(got) != "0123456789" {
			t.Errorf("%q: Get = %q, %v", head, got, err)
		}
	}
}

func TestLongHead(t *testing.T) {
	long := strings.Repeat("v", 60<<10)
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Long", long)
		io.WriteString(w, "content")
	})
	m := &fakeMaster{}
	m.place("3", addr)
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	for range 2 {
		if got, _, err := c.Get(bg, fid1, nil); err != nil || string(got) != "content" {
			t.Errorf("Get = %q, %v", got, err)
		}
	}
}

func TestInterimAnswers(t *testing.T) {
	addr := serveOnce(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+okJSON)
	c, _ := newTestClient(t, Config{})
	var out struct{ Size int }
	if err := c.GetJSON(bg, addr, "/", &out); err != nil || out.Size != 3 {
		t.Errorf("GetJSON = %+v, %v", out, err)
	}
}

func TestConnectionsAreKeptAndBounded(t *testing.T) {
	var conns, busy, most atomic.Int32
	arrived := make(chan struct{}, 64)
	release := make(chan struct{})
	addr := serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for readRequest(br) != nil {
			for n, m := busy.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			arrived <- struct{}{}
			<-release
			busy.Add(-1)
			io.WriteString(nc, okJSON)
		}
	})
	c, _ := newTestClient(t, Config{MaxConnsPerHost: 2})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.PostJSON(bg, addr, "/", 1, nil); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(bg)
	waiting := make(chan error, 1)
	<-arrived
	<-arrived // both connections are taken
	go func() { waiting <- c.PostJSON(ctx, addr, "/", 1, nil) }()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a connection = %v, want context.Canceled", err)
	}
	close(release)
	wg.Wait()
	if conns.Load() > 2 || most.Load() > 2 {
		t.Errorf("%d connections, %d busy at once, want at most 2", conns.Load(), most.Load())
	}
	if err := c.PostJSON(bg, addr, "/", 1, nil); err != nil || conns.Load() > 2 {
		t.Errorf("after the rush: %v, %d connections", err, conns.Load())
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	ended := make(chan struct{}, 1)
	addr := serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			io.WriteString(nc, okJSON)
		}
		ended <- struct{}{}
	})
	c, _ := newTestClient(t, Config{MaxIdle: 10 * time.Millisecond})
	if err := c.PostJSON(bg, addr, "/", 1, nil); err != nil {
		t.Fatal(err)
	}
	<-ended
	c.pool.expire(time.Now())
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if len(c.pool.hosts) != 0 {
		t.Error("a server that nobody uses is not forgotten")
	}
}

func TestClose(t *testing.T) {
	addr := serveRaw(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			io.WriteString(nc, okJSON)
		}
	})
	c, err := New(Config{Masters: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PostJSON(bg, addr, "/", 1, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if err := c.PostJSON(bg, addr, "/", 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("PostJSON = %v, want ErrClosed", err)
	}
	if _, err := c.Lookup(bg, 3); !errors.Is(err, ErrClosed) {
		t.Errorf("Lookup = %v, want ErrClosed", err)
	}
}

func TestForward(t *testing.T) {
	v := &fakeVolume{}
	addr := v.serve(t)
	c, _ := newTestClient(t, Config{})
	for _, size := range []int{0, 1, copyBodyBytes, copyBodyBytes + 1, writeStepBytes + 1, 3*writeStepBytes + 5} {
		body := bytes.Repeat([]byte{'x'}, size)
		dst := make([]byte, 0, 256)
		status, answer, err := c.Forward(bg, &Request{Host: addr, Path: "/" + fid1 + "?ts=1", ContentType: "a/b",
			Header: []Field{{"Seaweed-A", "1"}}, Body: body}, dst)
		if err != nil || status != 201 || !bytes.Contains(answer, []byte(`"eTag":"e1"`)) || &answer[0] != &dst[:1][0] {
			t.Errorf("Forward = %d, %q, %v", status, answer, err)
		}
		stored, h, _ := v.stored(fid1)
		if !bytes.Equal(stored, body) || h.Get("Seaweed-A") != "1" || h.Get("Content-Type") != "a/b" {
			t.Errorf("%d bytes: stored %d, header %v", size, len(stored), h)
		}
	}
	status, answer, err := c.Forward(bg, &Request{Method: "GET", Host: addr, Path: "/9,0100000001"}, nil)
	if err != nil || status != 404 || !bytes.Contains(answer, []byte("not found")) {
		t.Errorf("Forward of a miss = %d, %q, %v", status, answer, err)
	}
}

// scripted is a connection that yields fixed bytes.
type scripted struct {
	net.Conn
	r io.Reader
}

func (s *scripted) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *scripted) SetDeadline(time.Time) error { return nil }

// FuzzAnswer feeds the client what no server should say: it must neither panic, hang, nor take a body that is
// shorter than announced for a whole one.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		okJSON, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 100 C\r\n\r\n", "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nabc",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		cn := newConn(nil, &scripted{r: bytes.NewReader(answer)}, time.Minute)
		if cn.readHead() != nil {
			return
		}
		const limit = 1 << 16
		body, err := cn.appendBody(nil, "GET", limit)
		if n, _ := cn.length("GET"); err == nil && n >= 0 && int64(len(body)) != n || len(body) > limit+1 {
			t.Errorf("%d bytes of %d from %q", len(body), n, answer)
		}
	})
}
