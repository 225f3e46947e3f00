package storage

import (
	"sync/atomic"
	"time"
)

// gather holds the next commit back until nearly all of those have come again who were answered by the last one. Clients
// that write one thing after the other would else form two halves for ever: one waits while the other is synced, or is on
// its way to the other copies, and each commit carries half of what could share it.
//
// That takes as long as four commits at most, and where these are slow, half of one: see within. Where the clients don't
// come again in that time it is tried ever more rarely, down to one commit in 64.
type gather struct {
	want    atomic.Int32 // operations that the next commit waits for; 0: it waits for none
	over    atomic.Bool  // the time is up
	closing atomic.Bool  // nothing is held back any more
	timer   *time.Timer
	limit   time.Duration // of the time: maxGather, or 0 to hold nothing back

	// Owned by the committer.
	landed int           // operations of the last commit and those that waited at its end; 0 after the next look
	took   time.Duration // to make that commit
	vain   int           // how many commits go without after one for which too few came
	skip   int           // how many of them still do
}

const (
	minCommit = 50 * time.Microsecond // after a shorter one nobody has to wait for the next
	// fewOps are so few that what they could share is worth less than the wait, unless a commit takes as long as slowCommit.
	fewOps     = 6
	slowCommit = 300 * time.Microsecond
	maxGather  = 5 * time.Millisecond
	longGather = time.Millisecond
	maxVain    = 63
	// enoughBytes is a commit for which more are not worth the wait.
	enoughBytes = 1 << 20
)

// holds reports whether something is held back.
func (g *gather) holds() bool { return g.want.Load() > 0 }

// lacks reports whether so many operations are too few as yet. It may be called concurrently with all else.
func (g *gather) lacks(waiting int) bool {
	want := int(g.want.Load())
	return waiting < want && !g.over.Load()
}

// ended reports whether a commit that was held back may begin, with so many operations. It may be called concurrently
// with all else.
func (g *gather) ended(waiting int) bool { return g.holds() && !g.lacks(waiting) }

// land notes, when a commit is made and before anybody is answered, who may share the next one: those who wait, the commit's
// own if they are in the queue still, and n others. Who comes again before the next look is not to be counted twice.
func (c *committer) land(n int, began time.Time) {
	g := &c.gather
	c.mu.Lock()
	g.landed = n + len(c.waiting)
	c.mu.Unlock()
	g.landed += len(c.queue) + len(c.replica.doubted)
	g.took = time.Since(began)
}

// within returns how long the next commit is held back at most. What comes again at once makes up for a wait of several
// quick commits, which cost more work than time. A wait for much of a slow one does not pay: as many come in that time of
// those who come when they like, too, and each would wait for the next.
func (g *gather) within() time.Duration { return min(4*g.took, max(g.took/2, longGather), g.limit) }

// begin decides, with so many operations that wait, whether the commit after the last one is held back; alarm is called when
// the time is up.
func (g *gather) begin(waiting int, alarm func()) {
	want, within := min(g.landed*15/16, maxBatchOps), g.within()
	switch {
	case want <= max(1, waiting), within == 0, g.took < minCommit, want < fewOps && g.took < slowCommit:
		return
	case g.skip > 0:
		g.skip--
		return
	}
	if g.over.Store(false); g.closing.Load() { // close sets them the other way round
		return
	}
	g.want.Store(int32(want))
	if g.timer == nil {
		g.timer = time.AfterFunc(within, alarm)
	} else {
		g.timer.Reset(within)
	}
}

// end lets the next commit begin with what there is.
func (g *gather) end(waiting int) {
	g.timer.Stop()
	if waiting >= int(g.want.Swap(0)) {
		g.vain = 0
	} else {
		g.vain = min(2*g.vain+1, maxVain)
	}
	g.skip = g.vain
}

// close lets what is held back begin, and all that follows. It may be called concurrently with all else.
func (g *gather) close() {
	g.closing.Store(true)
	g.over.Store(true)
}

// gathers reports whether the next commit is held back.
func (c *committer) gathers() bool {
	g := &c.gather
	if g.landed > 0 && !c.queuesMuch() {
		g.begin(len(c.queue), c.stopGathering)
	}
	g.landed = 0
	if g.ended(len(c.queue)) {
		g.end(len(c.queue))
	}
	return g.holds()
}

// queuesMuch reports whether what is queued is large enough for a commit of its own.
func (c *committer) queuesMuch() bool {
	bytes := int64(0)
	for _, op := range c.queue {
		bytes += op.rec.length
	}
	return bytes >= enoughBytes
}

// stopGathering is called by the timer, which may be late: then it cuts short what another one is for.
func (c *committer) stopGathering() {
	c.gather.over.Store(true)
	c.mu.Lock()
	c.unlock(true)
}
