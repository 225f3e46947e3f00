package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds every wait of a test; nothing depends on how far below it things happen.
const deadline = 20 * time.Second

// logByte is what the log of patternLogs has at an offset.
func logByte(v blob.VolumeID, offset int64) byte { return byte(int64(v)*7 + offset ^ offset>>8) }

// patternLogs are logs of endless length, except for volume 404, which is not there.
type patternLogs struct{}

func (patternLogs) ReadLog(v blob.VolumeID, offset int64, p []byte, _ *replication.Origin) (int, error) {
	if v == 404 {
		return len(p) / 2, errors.New("no such volume")
	}
	for i := range p {
		p[i] = logByte(v, offset+int64(i))
	}
	return len(p), nil
}

func checkBytes(t testing.TB, f Frame) {
	t.Helper()
	for i, c := range f.Message.Bytes {
		if want := logByte(f.Volume, f.Message.Offset+int64(i)); c != want {
			t.Errorf("byte %d of the append at %d of volume %v is %d, want %d", i, f.Message.Offset, f.Volume, c, want)
			return
		}
	}
}

// inbox is a Handler that keeps what it gets.
type inbox struct {
	frames  chan Frame
	flushed chan replication.Server
}

func newInbox() *inbox {
	return &inbox{frames: make(chan Frame, 1<<16), flushed: make(chan replication.Server, 1<<16)}
}

func (b *inbox) Receive(_ replication.Server, f Frame) { b.frames <- f }
func (b *inbox) Flush(from replication.Server)         { b.flushed <- from }

func (b *inbox) next(t testing.TB) Frame {
	t.Helper()
	select {
	case f := <-b.frames:
		return f
	case <-time.After(deadline):
		t.Fatal("no frame came")
		return Frame{}
	}
}

// node is a server: links, and a port on which others reach them.
type node struct {
	*Links
	self   replication.Server
	ln     net.Listener
	served chan error // what Serve and the handshakes returned
	wg     sync.WaitGroup
}

// startNode starts a server on an address, "127.0.0.1:0" for any.
func startNode(t testing.TB, addr string, h Handler, change func(*Config)) *node {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{self: replication.Server(ln.Addr().String()), ln: ln, served: make(chan error, 1<<10)}
	cfg := Config{Self: n.self, Source: patternLogs{}, Handler: h}
	if change != nil {
		change(&cfg)
	}
	n.Links = New(cfg)
	n.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.served <- n.answer(conn) })
		}
	})
	t.Cleanup(n.stop)
	return n
}

// answer is what the front end of a server does.
func (n *node) answer(conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(n.ctx, func() { conn.Close() })
	defer stop()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	from, err := n.Accept(r.Header.Get("Upgrade"), r.Host, r.Header.Get("From"))
	if err == nil && r.URL.Path != wire.PathReplicate {
		err = errors.New("wrong path")
	}
	if err != nil {
		fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return err
	}
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+Protocol+"\r\n\r\n")
	return n.Serve(conn, from)
}

func (n *node) stop() {
	n.ln.Close()
	n.Close()
	n.wg.Wait()
}

// wantServed waits for the end of a connection and checks why it was.
func (n *node) wantServed(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-n.served:
		if !errors.Is(err, want) {
			t.Fatalf("a connection ended with %v, want %v", err, want)
		}
	case <-time.After(deadline):
		t.Fatal("the connection did not end")
	}
}

func (n *node) peer(to replication.Server) Peer {
	for _, p := range n.Peers() {
		if p.Server == to {
			return p
		}
	}
	return Peer{}
}

// eventually waits for a condition, looking every millisecond.
func eventually(t testing.TB, what string, cond func() bool) {
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

func appendOf(v blob.VolumeID, offset, size int64) Frame {
	return Frame{Volume: v, Message: replication.Message{Kind: replication.MsgAppend, Epoch: 3, Offset: offset, Size: size}}
}

func ackOf(v blob.VolumeID, length int64) Frame {
	return Frame{Volume: v, Message: replication.Message{Kind: replication.MsgAck, Epoch: 3, Length: length}}
}
