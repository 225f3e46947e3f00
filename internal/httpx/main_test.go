package httpx

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// fasthttp refreshes its Date for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// deadline bounds every wait of a test; nothing depends on how far below it things happen.
const deadline = 10 * time.Second

type testServer struct {
	*Server
	addr string
	logs *syncBuffer
	stop func() error // ends the server and returns what Serve returned
}

func start(t *testing.T, cfg Config) *testServer {
	t.Helper()
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, cfg, ln)
}

func startOn(t *testing.T, cfg Config, ln net.Listener) *testServer {
	t.Helper()
	logs := new(syncBuffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(logs)
		}
	})
	cfg.Logger = slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, ln) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &testServer{Server: s, addr: ln.Addr().String(), logs: logs, stop: stop}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// client is a raw connection.
type client struct {
	t *testing.T
	*net.TCPConn
	br *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(deadline))
	return &client{t: t, TCPConn: c.(*net.TCPConn), br: bufio.NewReader(c)}
}

func (c *client) send(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c.TCPConn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	return c
}

type reply struct {
	*http.Response
	body string
}

// read reads one response to a request with that method.
func (c *client) read(method string) reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read the response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read the body: %v", err)
	}
	return reply{resp, string(body)}
}

// want checks the status, and that an error is JSON.
func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d; body %q", r.StatusCode, status, r.body)
	}
	if status >= 400 && r.Request.Method != "HEAD" {
		var e struct{ Error string }
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Error == "" {
			t.Fatalf("error body %q: %v", r.body, err)
		}
		if ct := r.Header.Get("Content-Type"); ct != "application/json" {
			t.Fatalf("Content-Type of an error is %q", ct)
		}
	}
	return r
}

// wantClosed waits until the server has closed the connection without another byte.
func (c *client) wantClosed() {
	c.t.Helper()
	b, err := c.br.ReadByte()
	if err == nil {
		c.t.Fatalf("got byte %q instead of the end", b)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatal("the connection is still open")
	}
}

// eventually waits for a condition, looking every millisecond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(deadline)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func hello(ctx *fasthttp.RequestCtx) {
	if Allow(ctx, "GET") {
		JSON(ctx, 200, map[string]string{"hello": string(ctx.Path())})
	}
}

// fail answers as a server without errors of its own.
func fail(ctx *fasthttp.RequestCtx, err error) {
	ErrorTable(nil).Fail(ctx, slog.New(slog.DiscardHandler), err)
}

// echoSize takes a body with PUT and tells its size and its first bytes.
func echoSize(budget *Budget, limit int64) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if !Allow(ctx, "GET", "PUT") || string(ctx.Method()) != "PUT" {
			return
		}
		b, err := ReadBody(ctx, budget, limit)
		if err != nil {
			fail(ctx, err)
			return
		}
		defer b.Release()
		JSON(ctx, 201, map[string]any{"size": len(b.Bytes), "head": string(b.Bytes[:min(len(b.Bytes), 8)])})
	}
}

const get = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"

func lines(s ...string) string { return strings.Join(s, "\r\n") }
