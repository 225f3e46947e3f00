package storage

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
)

const (
	// maxBatchBytes and maxBatchOps bound one commit, so that a burst does not make the first in it wait
	// for the last. The numbers must fit batchMask.
	maxBatchBytes = 8 << 20
	maxBatchOps   = 1024
	// copyLimit is the size from which on data is written from where it lies instead of being copied into
	// the commit's buffer.
	copyLimit = 32 << 10
	// bufferLimit is the length from which on the commit's buffer is written and begun anew.
	bufferLimit = 256 << 10
)

// committer is the volume's only writer. Operations queue up; its goroutine takes all that wait, appends
// them with as few writes as can be, syncs once if the policy says so, publishes them in the index, and
// answers them all. So a lone operation pays one sync, and a hundred that come together share one. In a replicated volume
// others take turns in its place, one at a time: see help and lead.
//
// The needles of one commit carry timestamps that tell so: the time of the commit with its low 12 bits replaced by
// the needle's number in it (see batchNumber). Commits never share the upper bits. Recovery reads from that
// which needles were written together (see scanTail).
type committer struct {
	v       *Volume
	idx     *idxWriter
	wake    chan struct{} // capacity 1
	stopped chan struct{} // closed when the goroutine has ended
	dirty   atomic.Bool   // the log was changed since the last sync

	syncMu  sync.Mutex // guards syncErr; one sync at a time, so that a failure is not taken for another's
	syncErr error      // of the first sync that failed

	mu      sync.Mutex // guards the next ones
	waiting []*operation
	tasks   []func()
	closed  bool
	busy    bool // somebody takes turns, and looks for more work at the end
	due     bool // the goroutine was woken and has not begun
	held    int  // length of queue when nobody takes turns

	// Owned by whoever takes turns: the goroutine, or a helper.
	queue    []*operation // taken, to be decided in this order
	spare    []func()     // memory of tasks
	end      int64        // of the log
	lastNs   uint64       // timestamp of the last needle
	uncut    bool         // bytes of a failed commit are still in the file behind end
	buf      []byte
	inBatch  map[blob.Key]*operation // latest accepted operation of a key in this commit
	accepted []*operation
	replica  replica
	gather   gather
	helped   bool // by somebody who does not wait for a sync
}

var operations = sync.Pool{New: func() any { return &operation{done: make(chan struct{}, 1)} }}

func newCommitter(v *Volume, idx *idxWriter, end int64, lastNs uint64) *committer {
	c := &committer{
		v: v, idx: idx, end: end, lastNs: lastNs,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		inBatch: map[blob.Key]*operation{},
	}
	c.gather.limit = maxGather
	go c.run()
	return c
}

// do queues op and waits until it is decided.
func (c *committer) do(op *operation) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return fmt.Errorf("volume %d: %w", c.v.id, ErrClosed)
	}
	c.waiting = append(c.waiting, op)
	switch {
	case c.replica.flying.Load(): // what is in flight comes first, and its end is followed by another turn
		c.mu.Unlock()
	case !c.busy && c.gather.lacks(len(c.waiting)+c.held):
		c.mu.Unlock()
	case c.replica.on.Load() && c.free():
		c.lead()
	default:
		c.unlock(true)
	}
	<-op.done
	return op.err
}

// batchLength returns how many of the operations go into one commit.
func batchLength(ops []*operation) int {
	n, bytes := 0, int64(0)
	for n < len(ops) && n < maxBatchOps && (n == 0 || bytes+ops[n].rec.length <= maxBatchBytes) {
		bytes += ops[n].rec.length
		n++
	}
	return n
}

// commit decides a batch: it appends what is acceptable, makes it durable, publishes it, and answers all.
func (c *committer) commit(batch []*operation) {
	err := c.cut()
	end := c.end
	if err == nil {
		end = c.accept(batch)
		err = c.append()
	}
	if err == nil && c.wantsSync() {
		began := time.Now()
		err = c.sync()
		c.land(0, began) // they are in the queue
	}
	if err != nil {
		_ = c.fail(batch, err) // the operations have it
	} else {
		c.publish(end)
	}
	for _, op := range batch {
		op.done <- struct{}{}
	}
	c.forgetAccepted()
}

func (c *committer) forgetAccepted() {
	clear(c.accepted)
	c.accepted = c.accepted[:0]
}

// wantsSync says whether an accepted operation must be durable before it is answered.
func (c *committer) wantsSync() bool {
	for _, op := range c.accepted {
		if op.sync || c.v.cfg.Sync == SyncAlways {
			return true
		}
	}
	return false
}

// publish makes the accepted operations visible.
func (c *committer) publish(end int64) {
	for _, op := range c.accepted {
		c.v.apply(op.entry)
		c.idx.add(op.entry)
	}
	if len(c.accepted) > 0 {
		c.v.stats.modifiedAtUnix.Store(c.v.cfg.Now().Unix())
	}
	c.end = end
	c.v.setLength(end)
}

// stop decides what is queued, ends the goroutine, makes the files durable, and closes the index file, whose
// length it returns.
func (c *committer) stop() (idxBytes int64, err error) {
	c.gather.close() // before others see that it is closed
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wakeUp()
	<-c.stopped
	err = c.cut()
	if err == nil {
		err = c.sync()
	}
	idxBytes, idxErr := c.idx.close()
	return idxBytes, errors.Join(err, idxErr)
}
