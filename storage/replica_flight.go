package storage

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// flight is a batch that was appended here as primary, and is not decided.
type flight struct {
	ops   []*operation
	end   int64 // of the last one's record
	began time.Time
}

func (f *flight) wantsSync() bool {
	for _, op := range f.ops {
		if op.sync {
			return true
		}
	}
	return false
}

// land ends the flight. It is called in a turn that is followed by another one, which takes the operations that came
// meanwhile and woke nobody.
func (p *replica) land() {
	p.flight = nil
	p.flying.Store(false)
}

// recall takes the operations of a flight that end behind an offset back into the queue. Those before it stay: another
// copy may have had the front of the batch only.
func (c *committer) recall(f *flight, to int64) {
	n := 0
	for n < len(f.ops) && f.ops[n].end() <= to {
		n++
	}
	back := f.ops[n:]
	skipped := c.v.Origin().Skipped
	for _, op := range back {
		op.sent = true
		op.cut = place{int64(op.entry.offset)*needleAlignment + skipped, op.needle.AppendAtNs}
	}
	c.replica.cuts = true
	c.queue = slices.Concat(back, c.replica.doubted, c.queue) // those that were refused for them come behind
	c.replica.doubted = nil
	clear(back)
	if f.ops = f.ops[:n]; n == 0 {
		c.replica.land()
	} else {
		f.end = f.ops[n-1].end()
	}
}

// end is the offset behind the operation's record.
func (op *operation) end() int64 { return int64(op.entry.offset)*needleAlignment + op.rec.length }

// Lonely says that fewer servers than copies hold what is in flight from now on: a put that comes about is not
// acknowledged, since that would promise all copies.
func (l *Log) Lonely() {
	if f := l.c.replica.flight; f != nil {
		for _, op := range f.ops {
			op.short = op.short || !op.delete
		}
	}
}

// Outlived says that another server leads now than the one that has appended what is in flight: a put that was to be
// synced by all comes about, if it does, without that, and is not acknowledged.
func (l *Log) Outlived() {
	if f := l.c.replica.flight; f != nil {
		for _, op := range f.ops {
			op.short = op.short || op.sync
		}
	}
}

// propose appends the next operations, if the replicator lets it; false says that nothing was done.
func (c *committer) propose() bool {
	p := &c.replica
	if p.flight != nil || c.gathers() || len(c.queue) == 0 {
		return false
	}
	err := p.r.Accepts(false)
	if errors.Is(err, ErrWait) {
		return false
	}
	c.settleCut()
	if err != nil {
		for _, op := range c.queue {
			op.answer(err)
		}
		c.drop(len(c.queue))
		return true
	}
	if p.noPuts = p.r.Accepts(true); len(c.queue) == 0 {
		return true
	}
	batch := c.queue[:batchLength(c.queue)]
	err = c.cut()
	end := c.end
	if err == nil {
		end = c.accept(batch)
		err = c.append()
	}
	if err != nil { // no other server has seen any of it
		err = c.fail(batch, err)
		for _, op := range batch {
			op.done <- struct{}{}
		}
		c.forgetAccepted()
		c.drop(len(batch))
		if !errors.Is(err, ErrNoSpace) { // deletes go on, or try to, on a full disk
			p.r.Failed(err)
		}
		return true
	}
	c.launch(batch, end)
	return true
}

// launch makes the accepted operations of a batch the flight, and answers the others.
func (c *committer) launch(batch []*operation, end int64) {
	p := &c.replica
	current := true
	for _, op := range batch {
		if errors.Is(op.err, ErrNotFound) || errors.Is(op.err, ErrCookie) {
			current = p.r.Current()
			break
		}
	}
	var f *flight
	puts, n := false, end-c.end
	for _, op := range batch {
		switch {
		case op.err == nil:
			if f == nil {
				f = &flight{ops: make([]*operation, 0, len(c.accepted)), end: end, began: time.Now()}
			}
			f.ops = append(f.ops, op)
			op.short = false
			c.addTail(op.entry, op.end())
			puts = puts || !op.delete
		case op.byMate, !current && (errors.Is(op.err, ErrNotFound) || errors.Is(op.err, ErrCookie)):
			p.doubted = append(p.doubted, op)
		default:
			op.done <- struct{}{}
		}
	}
	c.forgetAccepted()
	c.drop(len(batch))
	if f == nil {
		return
	}
	c.end, p.parsed, p.flight, p.unsettled = end, end, f, true
	p.flying.Store(true)
	p.r.Appended(n, puts)
	p.unsynced = true
	c.persistReplica()
	if p.flight == nil { // decided at once, and with it what was refused for it
		c.askAgain()
	}
}

// askAgain has the operations decided anew that what is published here could not be trusted to refuse.
func (c *committer) askAgain() {
	p := &c.replica
	if len(p.doubted) > 0 {
		c.queue = append(p.doubted, c.queue...)
		p.doubted = nil
	}
}

// persistReplica makes durable what was written, if anything was.
func (c *committer) persistReplica() {
	p := &c.replica
	if !p.unsynced {
		return
	}
	want := p.sync || c.v.cfg.Sync == SyncAlways || p.flight != nil && p.flight.wantsSync()
	if want && c.helped {
		return
	}
	p.unsynced, p.sync = false, false
	if want {
		if err := c.sync(); err != nil {
			p.r.Failed(err)
			return
		}
	}
	p.r.Persisted()
}

// idleReplica tells the replicator once that nothing follows what was appended last. What is in flight has carried
// to the others what was decided before it.
func (c *committer) idleReplica() {
	if p := &c.replica; p.unsettled && p.flight == nil && !c.gather.holds() {
		p.unsettled = false
		p.r.Idle()
	}
}

// Expire answers those who have waited for so many calls of it that they should not wait longer.
func (l *Log) Expire(calls int) {
	c := l.c
	c.askAgain()
	c.queue = expire(c.queue, calls)
	if f := c.replica.flight; f != nil {
		for _, op := range f.ops {
			op.sent = true
		}
		f.ops = expire(f.ops, calls) // the flight stays: it is decided some time, for nobody who waits
	}
}

func expire(ops []*operation, calls int) []*operation {
	n := 0
	for _, op := range ops {
		if op.age++; op.age <= calls {
			ops[n] = op
			n++
			continue
		}
		op.answer(op.outcome(ErrUnsettled))
	}
	clear(ops[n:])
	return ops[:n]
}

// outcome is what is known of an operation that is given up: unsent unless another server may have it.
func (op *operation) outcome(unsent error) error {
	if op.sent {
		return ErrOutcomeUnknown
	}
	return unsent
}

// giveUp answers all that are left when the volume is closed.
func (c *committer) giveUp() {
	p := &c.replica
	c.askAgain()
	if p.flight != nil {
		for _, op := range p.flight.ops {
			op.answer(ErrOutcomeUnknown)
		}
		p.land()
	}
	closed := fmt.Errorf("volume %d: %w", c.v.id, ErrClosed)
	for _, op := range c.queue {
		op.answer(op.outcome(closed))
	}
	c.drop(len(c.queue))
}
