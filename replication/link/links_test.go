package link

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/replication"
)

func TestFramesArriveInOrder(t *testing.T) {
	box := newInbox()
	a := startNode(t, "127.0.0.1:0", newInbox(), nil)
	b := startNode(t, "127.0.0.1:0", box, nil)
	sizes := []int64{0, 1, 1 << 10, 60 << 10, 70 << 10, 5, 300 << 10, 1 << 20, MaxFrame - headBytes - messageBytes, 17}
	config := &replication.Config{Epoch: 3, Primary: a.self, Members: []replication.Server{a.self, b.self}, Copies: 2}
	offset := int64(replication.LogStart)
	for i, size := range sizes {
		f := appendOf(blob.VolumeID(i+1), offset, size)
		a.Send(b.self, f, Frame{Volume: 9, Message: replication.Message{Kind: replication.MsgConfig, Config: config}},
			Frame{Lease: &replication.LeaseMessage{Kind: replication.LeaseAsk, Seq: uint64(i)}})
		offset += size
	}
	offset = replication.LogStart
	for i, size := range sizes {
		f := box.next(t)
		if f.Volume != blob.VolumeID(i+1) || f.Message.Offset != offset || int64(len(f.Message.Bytes)) != size {
			t.Fatalf("append %d: volume %v, offset %d, %d bytes", i, f.Volume, f.Message.Offset, len(f.Message.Bytes))
		}
		checkBytes(t, f)
		f.Release()
		if f := box.next(t); f.Message.Config == nil || f.Message.Config.Primary != a.self {
			t.Fatalf("got %+v, want the configuration", f)
		}
		if f := box.next(t); f.Lease == nil || f.Lease.Seq != uint64(i) {
			t.Fatalf("got %+v, want lease message %d", f, i)
		}
		offset += size
	}
	eventually(t, "everything is counted", func() bool { return a.peer(b.self).Frames == uint64(3*len(sizes)) })
	if p := a.peer(b.self); !p.Connected || p.Dropped != 0 || p.Queued != 0 {
		t.Fatalf("%+v", p)
	}
}

// TestBatch checks that what waits goes out together, and is flushed together.
func TestBatch(t *testing.T) {
	box := newInbox()
	gate := make(chan struct{})
	a := startNode(t, "127.0.0.1:0", newInbox(), func(c *Config) {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			<-gate
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	})
	b := startNode(t, "127.0.0.1:0", box, nil)
	for i := range 100 {
		a.Send(b.self, ackOf(1, int64(i)))
	}
	close(gate)
	for i := range 100 {
		if f := box.next(t); f.Message.Length != int64(i) {
			t.Fatalf("ack %d tells length %d", i, f.Message.Length)
		}
	}
	eventually(t, "the frames are counted", func() bool { return a.peer(b.self).Frames == 100 })
	if p := a.peer(b.self); p.Writes != 1 {
		t.Errorf("%d writes, want 1", p.Writes)
	}
	<-box.flushed
	if n := len(box.flushed); n > 1 { // the first read may end within the batch
		t.Errorf("%d more flushes", n)
	}
}

func TestSendDropsWhenFull(t *testing.T) {
	gate := make(chan struct{})
	a := startNode(t, "127.0.0.1:0", newInbox(), func(c *Config) {
		c.QueueFrames = 10
		c.Dial = func(context.Context, string) (net.Conn, error) {
			<-gate
			return nil, errors.New("nobody there")
		}
	})
	to := replication.Server("127.0.0.1:1")
	a.Send(to, make([]Frame, 8)...)
	a.Send(to, make([]Frame, 8)...)
	if p := a.peer(to); p.Queued != 10 || p.Dropped != 6 || p.Connected {
		t.Errorf("%+v, want 10 queued and 6 dropped", p)
	}
	close(gate)
	eventually(t, "the queue is dropped", func() bool { p := a.peer(to); return p.Dropped == 16 && p.Queued == 0 })
}

func TestBytesThatAreNotThere(t *testing.T) {
	box := newInbox()
	a := startNode(t, "127.0.0.1:0", newInbox(), nil)
	b := startNode(t, "127.0.0.1:0", box, nil)
	a.Send(b.self, ackOf(1, 1), appendOf(404, 8, 1000), ackOf(1, 2))
	for want := range int64(2) {
		if f := box.next(t); f.Message.Kind != replication.MsgAck || f.Message.Length != want+1 {
			t.Fatalf("got %+v, want the ack of %d", f.Message, want+1)
		}
	}
	if p := a.peer(b.self); p.Dropped != 1 {
		t.Errorf("%d dropped, want 1", p.Dropped)
	}
}

// TestReconnect ends the other server and starts it again on the same port.
func TestReconnect(t *testing.T) {
	var dials atomic.Int64
	a := startNode(t, "127.0.0.1:0", newInbox(), func(c *Config) {
		c.MaxBackoff = 100 * time.Millisecond
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	})
	box := newInbox()
	b := startNode(t, "127.0.0.1:0", box, nil)
	a.Send(b.self, ackOf(1, 1))
	box.next(t)
	b.stop()
	eventually(t, "the loss is noticed without a write", func() bool { return !a.peer(b.self).Connected })
	if n := dials.Load(); n != 1 {
		t.Fatalf("%d attempts to connect with nothing to send", n)
	}
	eventually(t, "attempts while there is something to send", func() bool {
		a.Send(b.self, ackOf(1, 2))
		return dials.Load() > 2
	})
	again := newInbox()
	startNode(t, string(b.self), again, nil)
	eventually(t, "a frame arrives at the server that came back", func() bool {
		a.Send(b.self, ackOf(1, 3))
		select {
		case <-again.frames:
			return true
		default:
			return false
		}
	})
}

// TestPeerThatDoesNotRead has the writer give up, and go on with a new connection.
func TestPeerThatDoesNotRead(t *testing.T) {
	var deaf sync.Map
	release := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var accepted atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(release)
	defer ln.Close()
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			deaf.Store(conn, true)
			accepted.Add(1)
			wg.Go(func() {
				defer conn.Close()
				conn.(*net.TCPConn).SetReadBuffer(4 << 10)
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: "+Protocol+"\r\n\r\n")
				<-release
			})
		}
	})
	a := startNode(t, "127.0.0.1:0", newInbox(), func(c *Config) {
		c.StallTimeout, c.QueueFrames = 200*time.Millisecond, 50
	})
	to := replication.Server(ln.Addr().String())
	eventually(t, "the writer gives up and connects again", func() bool {
		a.Send(to, appendOf(1, 8, 1<<20))
		return accepted.Load() >= 2
	})
	if p := a.peer(to); p.Dropped == 0 || p.Queued > 50 {
		t.Errorf("%+v, want dropped frames and a short queue", p)
	}
}

// TestSlowHandler checks that what is not released is bounded, that the reader goes on once it is, and that the
// bytes of held frames stay what they are.
func TestSlowHandler(t *testing.T) {
	box := newInbox()
	a := startNode(t, "127.0.0.1:0", newInbox(), nil)
	b := startNode(t, "127.0.0.1:0", box, func(c *Config) { c.ReceiveBytes = 4 << 20 })
	const size, count = 100 << 10, 400
	sent := 0
	var held []Frame
	gather := func() {
		for len(box.frames) > 0 {
			held = append(held, <-box.frames)
		}
	}
	quotaFull := func() bool {
		b.mu.RLock()
		in := b.in[a.self]
		b.mu.RUnlock()
		if in == nil {
			return false
		}
		in.quota.mu.Lock()
		defer in.quota.mu.Unlock()
		if in.quota.used > 4<<20 {
			t.Errorf("%d bytes are held", in.quota.used)
		}
		return in.quota.used > 4<<20-256<<10
	}
	for ; sent < count; sent++ {
		a.Send(b.self, appendOf(5, int64(sent)*size, size))
	}
	eventually(t, "the quota is used up", quotaFull)
	gather()
	if n := len(held); n > 4<<20/size || n < 10 {
		t.Fatalf("%d frames are held", n)
	}
	for next := 0; next < count; {
		gather()
		eventually(t, "a frame", func() bool { gather(); return len(held) > 0 })
		f := held[0]
		if f.Message.Offset != int64(next)*size {
			t.Fatalf("frame %d begins at %d", next, f.Message.Offset)
		}
		checkBytes(t, f)
		f.Release()
		held = held[1:]
		next++
	}
	eventually(t, "all memory is given back but for the reader's own", func() bool {
		b.mu.RLock()
		in := b.in[a.self]
		b.mu.RUnlock()
		in.quota.mu.Lock()
		defer in.quota.mu.Unlock()
		return in.quota.used <= 256<<10
	})
}

func TestReleaseTwicePanics(t *testing.T) {
	buf := takeBuffer(10)
	f := Frame{hold: buf}
	f.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f.Release()
}

// TestCloseWhileReaderWaits ends links whose reader waits for memory.
func TestCloseWhileReaderWaits(t *testing.T) {
	box := newInbox()
	a := startNode(t, "127.0.0.1:0", newInbox(), nil)
	b := startNode(t, "127.0.0.1:0", box, func(c *Config) { c.ReceiveBytes = 1 })
	for i := range 20 {
		a.Send(b.self, appendOf(5, int64(i)<<20, 1<<20))
	}
	first := box.next(t)
	b.Close()
	b.wantServed(t, ErrClosed)
	checkBytes(t, first) // its memory is still its own
	first.Release()
	a.Close()
	a.Send(b.self, ackOf(1, 1)) // says nothing, does nothing
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
