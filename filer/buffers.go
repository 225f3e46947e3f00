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
// always progress. What is given back lies ready for reuse, and with what is in use never makes more than 1.25 times the total.
type buffers struct {
	room  *semaphore.Weighted
	total int64

	mu        sync.Mutex
	spare     map[int][][]byte // by capacity
	allocated int64            // bytes in use and in spare
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
	defer p.mu.Unlock()
	if list := p.spare[n]; len(list) > 0 {
		p.spare[n] = list[:len(list)-1]
		return list[len(list)-1]
	}
	p.allocated += int64(n)
	for size, list := range p.spare { // any of another size makes room
		for len(list) > 0 && p.allocated > p.total+p.total/4 {
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			p.allocated -= int64(size)
		}
		p.spare[size] = list
	}
	return make([]byte, n)
}

// put gives a buffer back, whole as get or try returned it.
func (p *buffers) put(b []byte) {
	b = b[:cap(b)]
	p.mu.Lock()
	p.spare[len(b)] = append(p.spare[len(b)], b)
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
