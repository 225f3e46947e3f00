package link

import (
	"sync"
	"sync/atomic"
)

// Sizes of buffers. Most reads and writes are small; 256 KiB is where one system call more costs nothing; a shipment
// of the protocol is 1 MiB with its head.
var classBytes = [...]int{64 << 10, 256 << 10, 1<<20 + 4<<10, MaxFrame}

const (
	readBytes  = 64 << 10
	batchBytes = 256 << 10
	// directBytes bounds what is written by whoever sends it.
	directBytes = 64 << 10
)

var pools [len(classBytes)]sync.Pool

// A buffer is memory that is used again. It lives until each of its holders has released it.
type buffer struct {
	b     []byte // of length 0 when it is taken
	class int    // -1: of no pool
	refs  atomic.Int32
	quota *quota // that it counts for, or nil
}

// takeBuffer returns a buffer of at least so many bytes, with one holder.
func takeBuffer(size int) *buffer {
	class, n := classOf(size)
	var buf *buffer
	if class >= 0 {
		buf, _ = pools[class].Get().(*buffer)
	}
	if buf == nil {
		buf = &buffer{b: make([]byte, 0, n), class: class}
	}
	buf.refs.Store(1)
	return buf
}

// classOf returns the class of buffers of at least so many bytes, and their size.
func classOf(size int) (class, n int) {
	for class, n := range classBytes {
		if size <= n {
			return class, n
		}
	}
	return -1, size
}

func (buf *buffer) hold() { buf.refs.Add(1) }

// alone reports whether nobody but the caller holds the buffer.
func (buf *buffer) alone() bool { return buf.refs.Load() == 1 }

func (buf *buffer) release() {
	switch n := buf.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("link: a frame was released twice")
	}
	if buf.quota != nil {
		buf.quota.put(cap(buf.b))
		buf.quota = nil
	}
	if buf.class >= 0 {
		buf.b = buf.b[:0]
		pools[buf.class].Put(buf)
	}
}

// A quota bounds the memory of what one connection has received.
type quota struct {
	limit int

	mu     sync.Mutex // guards the rest
	freed  sync.Cond
	used   int
	closed bool
}

func newQuota(limit int) *quota {
	q := &quota{limit: limit}
	q.freed.L = &q.mu
	return q
}

// take waits until there is room for a buffer of at least so many bytes. It returns nil when the quota is closed.
func (q *quota) take(size int) *buffer {
	_, n := classOf(size)
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.used+n > q.limit && !q.closed {
		q.freed.Wait()
	}
	if q.closed {
		return nil
	}
	q.used += n
	buf := takeBuffer(n)
	buf.quota = q
	return buf
}

func (q *quota) put(n int) {
	q.mu.Lock()
	q.used -= n
	q.mu.Unlock()
	q.freed.Signal()
}

// close makes those who wait give up.
func (q *quota) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.freed.Broadcast()
}
