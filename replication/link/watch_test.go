package link

import (
	"testing"

	"weed/replication"
)

// stuck is a Handler whose first Flush waits.
type stuck struct {
	*inbox
	first chan struct{} // has the capacity for one Flush to be the first
	gate  chan struct{}
}

func (s *stuck) Flush(replication.Server) {
	select {
	case s.first <- struct{}{}:
		<-s.gate
	default:
	}
}

// TestStuckFlush sends on while the one who took the first frame hangs.
func TestStuckFlush(t *testing.T) {
	h := &stuck{newInbox(), make(chan struct{}, 1), make(chan struct{})}
	n := startNode(t, "127.0.0.1:0", h, nil)
	conn := rawDial(t, n, "127.0.0.1:1")
	for i := range int64(200) {
		if i == 100 {
			close(h.gate)
		}
		conn.Write(encoded(t, appendOf(1, i, 3000)))
		f := h.next(t)
		if f.Message.Offset != i {
			t.Fatalf("offset %d, want %d", f.Message.Offset, i)
		}
		checkBytes(t, f)
		f.Release()
	}
	conn.Close()
	n.wantServed(t, nil)
}

// TestCloseWithStuckFlush closes while a Flush hangs, which Close waits for.
func TestCloseWithStuckFlush(t *testing.T) {
	h := &stuck{newInbox(), make(chan struct{}, 1), make(chan struct{})}
	n := startNode(t, "127.0.0.1:0", h, nil)
	conn := rawDial(t, n, "127.0.0.1:1")
	conn.Write(encoded(t, ackOf(1, 1)))
	h.next(t)
	conn.Write(encoded(t, ackOf(1, 2)))
	h.next(t) // by the second reader
	closed := make(chan struct{})
	go func() {
		n.Close()
		close(closed)
	}()
	eventually(t, "closed", func() bool { return n.ctx.Err() != nil })
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	close(h.gate)
	<-closed
	n.wantServed(t, ErrClosed)
}
