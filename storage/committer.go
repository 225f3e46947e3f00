package storage

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
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

// accept checks each operation of the batch against the state that the ones before it leave, and gives the
// good ones their place and time. It returns where the log will end.
func (c *committer) accept(batch []*operation) (end int64) {
	end = c.end
	ns := max(uint64(c.v.cfg.Now().UnixNano())&^batchMask, c.lastNs&^batchMask+batchMask+1)
	clear(c.inBatch)
	for _, op := range batch {
		if op.err = c.admit(op, end); op.err != nil {
			continue
		}
		at := ns + batchNumber(len(c.accepted))
		op.rec.stamp(at)
		if c.v.superblock.Version == Version3 {
			op.needle.AppendAtNs = at
		}
		op.entry = idxEntry{key: op.needle.Key, offset: uint32(end / needleAlignment), size: int32(op.rec.size),
			rest: op.rec.restSum()}
		if op.delete {
			op.entry.size = tombstoneSize
		}
		end += op.rec.length
		c.lastNs = at
		c.accepted = append(c.accepted, op)
		if len(batch) > 1 {
			c.inBatch[op.needle.Key] = op
		}
	}
	return end
}

// admit says whether an operation may be appended at offset end. For a delete it lays out the tombstone.
func (c *committer) admit(op *operation, end int64) error {
	op.byMate = false
	if err := c.v.denies(op.delete); err != nil {
		return err
	}
	if c.replica.noPuts != nil && !op.delete {
		return c.replica.noPuts
	}
	if before := c.inBatch[op.needle.Key]; before != nil {
		switch {
		case op.delete && (before.delete || before.needle.Cookie != op.needle.Cookie):
			op.byMate = true
			return ErrNotFound
		case !before.delete && before.needle.Cookie != op.needle.Cookie:
			op.byMate = true
			return ErrCookie
		case op.delete:
			op.size = before.contentSize()
			op.rec.encodeDelete(c.v.superblock.Version, op.needle, before.needle.Checksum)
		}
	} else if err := c.admitAgainstDisk(op); err != nil {
		return err
	}
	if end+op.rec.length > MaxVolumeSizeBytes {
		return fmt.Errorf("volume %d: %w", c.v.id, ErrFull)
	}
	return nil
}

// admitAgainstDisk compares the operation with the needle that the index knows under its key.
func (c *committer) admitAgainstDisk(op *operation) error {
	loc, ok := c.v.index().Get(op.needle.Key)
	if !ok {
		if op.delete {
			return ErrNotFound
		}
		return nil
	}
	offset := int64(loc.Offset) * needleAlignment
	var b [needleHeaderSize]byte
	if err := readFull(c.v.dat(), b[:], offset); err != nil {
		return err
	}
	h := parseHeader(b[:])
	switch {
	case h.key != op.needle.Key || h.size != Size(loc.Size):
		return &CorruptError{c.v.dat().Name(), offset, errOther.Error()}
	case h.cookie != op.needle.Cookie && op.delete:
		return ErrNotFound
	case h.cookie != op.needle.Cookie:
		return ErrCookie
	case !op.delete:
		return nil
	}
	old, err := readLayout(c.v.dat(), c.v.superblock.Version, offset, h)
	if err != nil {
		return err
	}
	if c.v.expired(&old.Needle) {
		return ErrNotFound
	}
	if op.size, err = old.contentSize(c.v.dat()); err != nil {
		return err
	}
	op.rec.encodeDelete(c.v.superblock.Version, op.needle, old.Checksum)
	return nil
}

// append writes the accepted records behind the end of the log.
func (c *committer) append() error {
	at := c.end
	c.buf = c.buf[:0]
	flush := func(b []byte) error {
		if len(b) == 0 {
			return nil
		}
		_, err := c.v.dat().WriteAt(b, at)
		c.dirty.Store(true) // not before the write: a sync in between would not cover it
		at += int64(len(b))
		return err
	}
	for _, op := range c.accepted {
		r := &op.rec
		if len(r.data) < copyLimit && len(c.buf) < bufferLimit {
			c.buf = r.appendTo(c.buf)
			continue
		}
		c.buf = append(c.buf, r.prefix[:r.prefixN]...)
		if err := flush(c.buf); err != nil {
			return err
		}
		if err := flush(r.data); err != nil {
			return err
		}
		c.buf = append(c.buf[:0], r.suffix...)
	}
	return flush(c.buf)
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

// fail gives every accepted operation, and those that were refused for them, the disk's error, which it returns, takes
// what was written of them back, and keeps the volume from taking more.
func (c *committer) fail(batch []*operation, err error) error {
	err = fmt.Errorf("append to volume %d: %w", c.v.id, diskError(err))
	c.diskFailed(err)
	for _, op := range batch {
		if op.err == nil || op.byMate {
			op.err = err
		}
	}
	c.takeBack()
	return err
}

// diskFailed keeps the volume from taking more after an error of the disk.
func (c *committer) diskFailed(err error) {
	cause := CauseDamaged
	if errors.Is(err, ErrNoSpace) && c.v.readOnly.load()&CauseDamaged == 0 {
		cause = CauseNoSpace
		c.noteNoRoom()
	}
	c.v.turnReadOnly(cause, err)
}

// noteNoRoom takes down how much room the disk has, which was not enough: what was written of the append counts as free.
func (c *committer) noteNoRoom() {
	usage, err := c.v.fs.Usage(path.Dir(c.v.base))
	if err != nil {
		usage = vfs.Usage{}
	}
	if length, err := c.v.dat().Size(); err == nil && length > c.end {
		usage.FreeBytes += uint64(length - c.end)
	}
	c.v.noRoom.Store(&usage)
}

// takeBack removes what was written behind the end of the log, now if the disk lets it.
func (c *committer) takeBack() {
	c.uncut = true
	if err := c.cut(); err != nil {
		c.v.cfg.Logger.Error("a failed append can't be cut off yet", "volume", c.v.id, "error", err)
	}
}

// cut removes the bytes of a failed commit, durably: until that has worked nothing else is appended.
func (c *committer) cut() error {
	if !c.uncut {
		return nil
	}
	if err := c.v.dat().Truncate(c.end); err != nil {
		return err
	}
	c.dirty.Store(true)
	if c.v.cfg.Sync == SyncAlways {
		// Also after a sync that failed: what lies before the cut was made durable by an earlier one.
		c.syncMu.Lock()
		defer c.syncMu.Unlock()
		if err := c.v.dat().Sync(); err != nil {
			return c.syncFailed(err)
		}
	}
	c.uncut = false
	return nil
}

func (c *committer) flushIdx() {
	if c.idx.err != nil {
		return
	}
	was := c.idx.late
	if err := c.idx.flush(); err != nil && c.idx.late {
		if !was {
			c.v.cfg.Logger.Warn("index file waits for room on the disk", "volume", c.v.id, "error", err)
		}
	} else if err != nil {
		c.v.cfg.Logger.Error("index file is not written any more; the next start completes it", "volume", c.v.id, "error", err)
	}
}

// sync makes durable what was written before the call. Once that has failed it never succeeds again: the
// kernel drops the bytes that it could not write, and the next sync knows nothing of them.
func (c *committer) sync() error {
	c.syncMu.Lock()
	defer c.syncMu.Unlock()
	if c.syncErr == nil && c.dirty.Swap(false) {
		if err := c.v.dat().Sync(); err != nil {
			return c.syncFailed(err)
		}
	}
	return c.syncErr
}

// syncFailed takes note of a sync that failed. c.syncMu is held.
func (c *committer) syncFailed(err error) error {
	c.syncErr = fmt.Errorf("sync volume %d: %w", c.v.id, diskError(err))
	c.v.turnReadOnly(CauseDamaged, c.syncErr)
	return c.syncErr
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

// diskError gives a full disk its kind.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
