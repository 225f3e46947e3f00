package link

import (
	"testing"

	"weed/internal/blob"
	"weed/replication"
)

// slow is a Handler that takes nothing until the gate opens.
type slow struct {
	*inbox
	gate chan struct{}
}

func (s *slow) Receive(from replication.Server, f Frame) {
	<-s.gate
	s.inbox.Receive(from, f)
}

// TestSendBeyondTheSocket sends one by one more than a connection takes: what it took half of goes on where that ended.
func TestSendBeyondTheSocket(t *testing.T) {
	h := &slow{newInbox(), make(chan struct{})}
	a := startNode(t, "127.0.0.1:0", newInbox(), nil)
	b := startNode(t, "127.0.0.1:0", h, nil)
	a.Send(b.self, ackOf(1, 0))
	eventually(t, "connected", func() bool { return a.peer(b.self).Frames == 1 })
	const count, size = 300, 50_001
	for i := range int64(count) {
		a.Send(b.self, appendOf(1, i, size))
	}
	close(h.gate)
	h.next(t)
	for i := range int64(count) {
		f := h.next(t)
		if f.Message.Offset != i || len(f.Message.Bytes) != size {
			t.Fatalf("append %d: at %d, %d bytes", i, f.Message.Offset, len(f.Message.Bytes))
		}
		checkBytes(t, f)
		f.Release()
	}
	eventually(t, "all counted", func() bool { return a.peer(b.self).Frames == count+1 })
	if p := a.peer(b.self); p.Dropped != 0 || p.Queued != 0 {
		t.Errorf("%+v", p)
	}
}

// TestSendersTogether has several goroutines send to one server: what each sends stays in order.
func TestSendersTogether(t *testing.T) {
	box := newInbox()
	a := startNode(t, "127.0.0.1:0", newInbox(), func(c *Config) { c.QueueFrames = 1 << 16 })
	b := startNode(t, "127.0.0.1:0", box, nil)
	const senders, each = 4, 2000
	for s := range senders {
		a.wg.Go(func() {
			for i := range int64(each) {
				a.Send(b.self, ackOf(blob.VolumeID(s+1), i))
			}
		})
	}
	var next [senders]int64
	for range senders * each {
		f := box.next(t)
		if s := f.Volume - 1; f.Message.Length != next[s] {
			t.Fatalf("sender %d: %d, want %d", s, f.Message.Length, next[s])
		} else {
			next[s]++
		}
	}
}
