package link

import (
	"errors"
	"sync/atomic"
	"time"
)

// watchEvery is how often a reader is looked after while it has work. One that is in the same Flush at two looks, because
// a disk hangs say, is replaced: what comes for others, and the leases, must not wait for it.
const watchEvery = 200 * time.Millisecond

// errTakenOver ends a reader that was replaced.
var errTakenOver = errors.New("another reader has taken over")

// A watch looks after the readers of a connection.
type watch struct {
	flushes atomic.Uint64 // odd during a call of Flush
	on      atomic.Bool   // somebody is going to look
	seen    uint64        // at the last look
}

// flush calls the handler's Flush. It reports false when another reader has taken over meanwhile.
func (in *inbound) flush() bool {
	n := in.watch.flushes.Add(1)
	in.lookAfter()
	in.handler.Flush(in.from)
	return in.watch.flushes.CompareAndSwap(n, n+1)
}

func (in *inbound) lookAfter() {
	if !in.watch.on.Load() && in.watch.on.CompareAndSwap(false, true) {
		time.AfterFunc(watchEvery, in.look)
	}
}

// look replaces a reader that is stuck, and ends the watch when nothing has come since the last time.
func (in *inbound) look() {
	w := &in.watch
	n := w.flushes.Load()
	inside := n%2 == 1
	switch {
	case n != w.seen:
	case !inside:
		w.on.Store(false)
		if w.flushes.Load() != n { // it has seen the watch on
			in.lookAfter()
		}
		return
	case w.flushes.CompareAndSwap(n, n+1):
		in.readers.Add(1)
		go in.read()
	}
	w.seen = n
	time.AfterFunc(watchEvery, in.look)
}
