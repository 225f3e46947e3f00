package filer

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// errBusy says that there was no memory for a transfer in time.
var errBusy = errors.New("too many transfers are in flight: try again in a moment")

const (
	firstBufferBytes = 64 << 10 // what a body begins with; a client that is slow holds little
	bufferWait       = 10 * time.Second
)

// buffers is the memory of all chunks in flight. Whoever holds none waits for his turn; whoever holds one and wants
// a larger or another one only gets it if it is there at once, so nobody who holds something waits, and there is
// always progress. A quarter of the memory may lie ready for reuse besides.
type buffers struct {
	room  *semaphore.Weighted
	total int64

	mu     sync.Mutex
	spare  map[int][][]byte // by capacity
	spared int64            // bytes in spare
}

func newBuffers(total int64) *buffers {
	return &buffers{room: semaphore.NewWeighted(total), total: total, spare: make(map[int][][]byte)}
}

// get waits for a buffer of n bytes, for bufferWait at most. Only who holds none may ask.
func (p *buffers) get(ctx context.Context, n int) ([]byte, error) {
	if b := p.try(n); b != nil {
		return b, nil
	}
	limited, cancel := context.WithTimeout(ctx, bufferWait)
	defer cancel()
	if err := p.room.Acquire(limited, int64(n)); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errBusy
	}
	return p.make(n), nil
}

// try returns a buffer of n bytes if there is room for it, else nil.
func (p *buffers) try(n int) []byte {
	if !p.room.TryAcquire(int64(n)) {
		return nil
	}
	return p.make(n)
}

func (p *buffers) make(n int) []byte {
	p.mu.Lock()
	list := p.spare[n]
	if len(list) > 0 {
		b := list[len(list)-1]
		p.spare[n] = list[:len(list)-1]
		p.spared -= int64(n)
		p.mu.Unlock()
		return b
	}
	p.mu.Unlock()
	return make([]byte, n)
}

// put gives a buffer back, whole as get or try returned it.
func (p *buffers) put(b []byte) {
	b = b[:cap(b)]
	p.mu.Lock()
	if p.spared+int64(len(b)) > p.total/4 {
		clear(p.spare) // sizes that nobody asks for any more must not stay for ever
		p.spared = 0
	}
	p.spare[len(b)] = append(p.spare[len(b)], b)
	p.spared += int64(len(b))
	p.mu.Unlock()
	p.room.Release(int64(len(b)))
}

// classOf returns the size of the buffer for n bytes: a few sizes, so that they can be used again.
func classOf(n int64) int {
	size := int64(4 << 10)
	for size < n {
		size <<= 2
	}
	return int(size)
}
