package httpx

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

const shortIdle = 200 * time.Millisecond

func TestSilentConnectionCloses(t *testing.T) {
	s := start(t, Config{Handler: hello, IdleTimeout: shortIdle})
	dial(t, s.addr).wantClosed() // never said a word: gets none
	c := dial(t, s.addr)
	c.send(get).read("GET").want(t, 200)
	c.wantClosed()
}

// A parked connection is served again when it speaks.
func TestParking(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Handler: hello, IdleTimeout: 2 * time.Second})
	c := dial(t, s.addr)
	for range 2 {
		c.send(get).read("GET").want(t, 200)
		eventually(t, "fasthttp lets go of the connection", func() bool { return s.fast.GetCurrentConcurrency() == 0 })
	}
	c.send(get).read("GET").want(t, 200)
}

// One byte now and then must not keep a connection alive: not in the head, not in the body.
func TestDrip(t *testing.T) {
	budget := NewBudget(0, 0)
	s := start(t, Config{Handler: echoSize(budget, 64<<20), IdleTimeout: shortIdle})
	for name, begin := range map[string]string{
		"head":         "GET /x HTTP/1.1\r\nHost: ",
		"small body":   put(100_000) + "x",
		"large body":   put(10<<20) + "x",
		"chunked body": chunkedHead + "186a0\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s.addr).send(begin)
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				tick := time.NewTicker(shortIdle / 8)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						if _, err := io.WriteString(c.TCPConn, "x"); err != nil {
							return
						}
					}
				}
			}()
			c.read("PUT").want(t, 408)
		})
	}
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })
}

// A body that takes many times IdleTimeout, but moves, is served.
func TestSlowButLivingBody(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Handler: echoSize(NewBudget(0, 0), 64<<20), IdleTimeout: time.Second})
	const pieces = 12 // three windows
	c := dial(t, s.addr).send(put(pieces * minProgressBytes))
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for range pieces {
		<-tick.C
		c.send(strings.Repeat("x", minProgressBytes))
	}
	c.read("PUT").want(t, 201)
}

// bigFile makes a file that no socket buffer swallows.
func bigFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(bigBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end!"), bigBytes-4); err != nil {
		t.Fatal(err)
	}
	return name
}

const bigBytes = 48 << 20

// largeHandler answers /file by sendfile, /memory from memory and /stream from a reader.
func largeHandler(t *testing.T, name string) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		switch string(ctx.Path()) {
		case "/file":
			ctx.SetBodyStream(f, bigBytes)
		case "/stream":
			ctx.SetBodyStream(struct{ io.ReadCloser }{f}, bigBytes)
		default:
			defer f.Close()
			b := make([]byte, bigBytes)
			if _, err := io.ReadFull(f, b); err != nil {
				t.Error(err)
			}
			ctx.Response.SetBodyRaw(b)
		}
	}
}

var largePaths = []string{"/file", "/memory", "/stream"}

func TestStalledReader(t *testing.T) {
	s := start(t, Config{Handler: largeHandler(t, bigFile(t)), IdleTimeout: shortIdle})
	for _, path := range largePaths {
		dial(t, s.addr).send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n") // and never reads
	}
	eventually(t, "they were accepted", func() bool { return s.open() == len(largePaths) })
	eventually(t, "they are given up", func() bool { return s.open() == 0 })
}

// A write makes progress when the peer acknowledges, also while the kernel takes nothing new.
func TestStallSeesAcknowledgedBytes(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer := dial(t, ln.Addr().String())
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{TCPConn: nc.(*net.TCPConn), srv: New(Config{IdleTimeout: time.Hour}), raw: raw}
	for err == nil { // until the queues are full
		_ = nc.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = nc.Write(make([]byte, 1<<20))
	}
	var st stall
	if !st.alive(c, 0) {
		t.Error("given up at the first look")
	}
	before := queuedBytes(raw)
	if _, err := io.CopyN(io.Discard, peer.TCPConn, 1<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer acknowledges", func() bool {
		if queuedBytes(raw) > before-minProgressBytes {
			_, _ = io.CopyN(io.Discard, peer.TCPConn, 64<<10)
			return false
		}
		return true
	})
	if !st.alive(c, 0) || st.quiet != 0 {
		t.Error("acknowledged bytes are no progress")
	}
	if !st.alive(c, 0) || st.alive(c, 0) {
		t.Error("want it to be given up at the second look without progress")
	}
}

// A client that reads slowly, for much longer than IdleTimeout, gets everything.
func TestSlowButLivingReader(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Handler: largeHandler(t, bigFile(t)), IdleTimeout: time.Second})
	for _, path := range largePaths {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			c := dial(t, s.addr).send("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			var got int64
			for range 24 { // more than two windows
				<-tick.C
				n, err := io.CopyN(io.Discard, c.TCPConn, 1<<20)
				got += n
				if err != nil {
					t.Fatalf("cut off after %d bytes: %v", got, err)
				}
			}
			rest, err := io.ReadAll(c.TCPConn)
			if err != nil {
				t.Fatal(err)
			}
			got += int64(len(rest))
			if got < bigBytes || string(rest[len(rest)-4:]) != "end!" {
				t.Fatalf("%d bytes, want %d and a head", got, bigBytes)
			}
		})
	}
}

// Files must reach TCPConn.ReadFrom as *os.File. The kernel counts calls that write: with sendfile there are
// a few for every megabyte, with copying at least 32.
func TestFilesAreSentByTheKernel(t *testing.T) {
	s := start(t, Config{Handler: largeHandler(t, bigFile(t))})
	count := func(path string) int {
		c := dial(t, s.addr).send("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		before := writeCalls(t)
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c.TCPConn}, make([]byte, 1<<20)); err != nil || n < bigBytes {
			t.Fatalf("%d bytes, %v", n, err)
		}
		return writeCalls(t) - before
	}
	sent, copied := count("/file"), count("/stream")
	if sent > copied/2 {
		t.Errorf("%d calls to send a file, %d to copy a stream", sent, copied)
	}
}

// writeCalls is the number of system calls of this process that wrote.
func writeCalls(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("the kernel does not count calls:", err)
	}
	_, rest, _ := strings.Cut(string(text), "syscw: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
