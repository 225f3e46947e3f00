package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestAnswers(t *testing.T) {
	s := start(t, Config{Handler: hello})
	for _, tc := range []struct {
		name, request, method string
		status                int
		closed                bool
	}{
		{"get", get, "GET", 200, false},
		{"head", "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD", 200, false},
		{"lower-case headers", "GET /x HTTP/1.1\r\nhOST: h\r\ncONNECTION: Close\r\n\r\n", "GET", 200, true},
		{"http 1.0", "GET /x HTTP/1.0\r\n\r\n", "GET", 200, true},
		{"http 1.0 keep-alive", "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", 200, false},
		{"options", "OPTIONS /x HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS", 204, false},
		{"options of everything", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS", 204, false},
		{"post", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST", 405, false},
		{"unread body", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST", 405, false},
		{"unknown method", "BREW /x HTTP/1.1\r\nHost: h\r\n\r\n", "BREW", 405, false},
		{"malformed line", "nonsense\r\n\r\n", "GET", 400, true},
		{"no version", "GET /x\r\n\r\n", "GET", 400, true},
		{"bad version", "GET /x HTTP/9.x\r\nHost: h\r\n\r\n", "GET", 400, true},
		{"unknown version", "GET /x HTTP/2.0\r\nHost: h\r\n\r\n", "GET", 505, true},
		{"unknown version with a body", "POST /x HTTP/9.9\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST", 505, true},
		{"later minor version", "GET /x HTTP/1.2\r\nHost: h\r\n\r\n", "GET", 200, true},
		{"chunks and a length", "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "GET", 400, true},
		{"a length and chunks", "POST /x HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "POST", 400, true},
		{"a length and no coding", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello", "POST", 400, true},
		{"a length and chunks, asked before", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", "POST", 400, true},
		{"chunks, closing", "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST", 405, true},
		{"no host", "GET /x HTTP/1.1\r\n\r\n", "GET", 400, true},
		{"two lengths", "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", "PUT", 400, true},
		{"space before colon", "GET /x HTTP/1.1\r\nHost : h\r\n\r\n", "GET", 400, true},
		{"negative length", "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "PUT", 400, true},
		{"tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "GET", 400, true},
		{"huge header", "GET /x HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 32<<10) + "\r\n\r\n", "GET", 431, true},
		{"huge line", "GET /" + strings.Repeat("a", 32<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", "GET", 431, true},
		{"5 KiB header", "GET /x HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 5<<10) + "\r\n\r\n", "GET", 200, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, s.addr)
			r := c.send(tc.request).read(tc.method).want(t, tc.status)
			if r.Header.Get("Date") == "" || r.Header.Get("Server") != "" {
				t.Errorf("headers %v: want a Date and no Server", r.Header)
			}
			if tc.status == 204 || tc.status == 405 {
				if allow := r.Header.Get("Allow"); allow != "GET, HEAD, OPTIONS" {
					t.Errorf("Allow is %q", allow)
				}
			}
			if tc.status == 204 && r.Header.Get("Content-Type") != "" {
				t.Errorf("Content-Type %q on an empty answer", r.Header.Get("Content-Type"))
			}
			if tc.closed {
				c.wantClosed()
				return
			}
			c.send(get).read("GET").want(t, 200)
		})
	}
}

func TestPipelining(t *testing.T) {
	s := start(t, Config{Handler: hello})
	c := dial(t, s.addr)
	c.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /4 HTTP/1.1\r\nHost: h\r\n\r\n")
	for i, want := range []int{200, 200, 405, 200} {
		r := c.read("GET").want(t, want)
		if want == 200 && !strings.Contains(r.body, fmt.Sprintf("/%d", i+1)) {
			t.Fatalf("answer %d is %q", i+1, r.body)
		}
	}
}

func TestPanic(t *testing.T) {
	s := start(t, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.Set("X-Half", "done")
		if string(ctx.Path()) == "/panic" {
			panic("pear")
		}
	}})
	c := dial(t, s.addr)
	r := c.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n").read("GET").want(t, 500)
	if r.Header.Get("X-Half") != "" || strings.Contains(r.body, "pear") {
		t.Errorf("the answer tells what the handler did: %v %q", r.Header, r.body)
	}
	c.wantClosed()
	if log := s.logs.String(); !strings.Contains(log, "pear") || !strings.Contains(log, "server_test.go") {
		t.Errorf("no stack in the log: %s", log)
	}
	dial(t, s.addr).send(get).read("GET").want(t, 200)
}

func TestDrain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/slow" {
			close(entered)
			<-leave
		}
		JSON(ctx, 200, "done")
	}})
	fresh := dial(t, s.addr)
	idle := dial(t, s.addr)
	idle.send(get).read("GET").want(t, 200)
	busy := dial(t, s.addr)
	busy.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	// fresh must have been accepted, or closing the listener resets it.
	eventually(t, "three connections", func() bool { return s.open() == 3 })

	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	idle.wantClosed()
	fresh.wantClosed()
	if c, err := net.Dial("tcp", s.addr); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
	select {
	case <-stopped:
		t.Fatal("Serve returned while a request was running")
	default:
	}
	close(leave)
	if r := busy.read("GET").want(t, 200); !r.Close {
		t.Error("the last answer lacks Connection: close")
	}
	busy.wantClosed()
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func (s *testServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func TestDrainGivesUp(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, Config{DrainTimeout: 20 * time.Millisecond, Handler: func(ctx *fasthttp.RequestCtx) {
		close(entered)
		<-leave
	}})
	c := dial(t, s.addr).send(get)
	<-entered
	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	c.wantClosed()
	if !strings.Contains(s.logs.String(), "cutting off") {
		t.Error("the log does not tell")
	}
	close(leave)
}

func TestConnLimit(t *testing.T) {
	s := start(t, Config{Handler: hello, MaxConns: 2})
	a, b := dial(t, s.addr), dial(t, s.addr)
	a.send(get).read("GET").want(t, 200)
	b.send(get).read("GET").want(t, 200)
	c := dial(t, s.addr).send(get)
	r := c.read("GET").want(t, 503)
	if r.Header.Get("Retry-After") == "" || !r.Close {
		t.Errorf("headers %v", r.Header)
	}
	c.wantClosed()
	a.send(get).read("GET").want(t, 200)
	_ = b.Close()
	eventually(t, "a place is free again", func() bool { return s.open() == 1 })
	dial(t, s.addr).send(get).read("GET").want(t, 200)
}

func TestListen(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for addr, want := range map[string]string{
		ln.Addr().String(): "port " + port + " is in use: stop the other process or choose another -port",
		"192.0.2.1:0":      "192.0.2.1 is no address of this machine: correct -ip.bind",
		"here":             `"here" is no address to listen on: give host:port`,
	} {
		_, err := Listen(addr)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	if _, err := Listen(ln.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := New(Config{Handler: hello}).Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

func TestLimits(t *testing.T) {
	limit, err := RaiseFileLimit()
	if err != nil || limit < 16 {
		t.Fatalf("RaiseFileLimit: %d, %v", limit, err)
	}
	if n := DefaultMaxConns(); n < 16 || uint64(n) >= limit {
		t.Errorf("default of MaxConns is %d with %d files", n, limit)
	}
}

func TestStd(t *testing.T) {
	s := start(t, Config{Handler: Std(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "std "+r.URL.Path)
	}))})
	if r := dial(t, s.addr).send(get).read("GET").want(t, 200); r.body != "std /x" {
		t.Errorf("body %q", r.body)
	}
}
