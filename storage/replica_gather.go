package storage

import (
	"sync/atomic"
	"time"
)

// gather holds the next flight back until most of those have come again who were answered when the last one landed.
// Clients that write one thing after the other would else form two halves for ever, of which one waits while the other is
// under way: each flight would carry half of what could share it.
//
// It lasts no longer than the flight and its answers would have taken for whoever had missed it by a moment. Where the clients
// don't come again in that time it is tried ever more rarely.
type gather struct {
	want  atomic.Int32 // operations that the next flight waits for; 0: it waits for none
	over  atomic.Bool  // the time is up
	timer *time.Timer
	limit time.Duration // of the time; maxGather

	// Owned by the committer.
	landed int           // operations of the flight that landed last; 0 once that was looked at
	took   time.Duration // how long it was under way
	vain   int           // how many flights go without after one for which too few came
	skip   int           // how many of them still do
}

const (
	minGather = 20 * time.Microsecond // less is not worth a timer
	maxGather = 5 * time.Millisecond
	maxVain   = 63
)

// lacks reports whether so many operations are too few for a flight as yet. It may be called concurrently with all else.
func (g *gather) lacks(waiting int) bool {
	want := int(g.want.Load())
	return waiting < want && !g.over.Load()
}

// ended reports whether there is a flight to begin that was held back, with so many operations. It may be called
// concurrently with all else.
func (g *gather) ended(waiting int) bool { return g.want.Load() > 0 && !g.lacks(waiting) }

// land notes what has landed.
func (g *gather) land(f *flight) { g.landed, g.took = len(f.ops), time.Since(f.began) }

// begin decides, with so many operations that wait, whether the flight after the one that landed is held back; alarm is
// called when the time is up.
func (g *gather) begin(waiting int, alarm func()) {
	want, within := min((g.landed+waiting)*15/16, maxBatchOps), min(4*g.took, g.limit)
	g.landed = 0
	switch {
	case want <= waiting || within < minGather:
		return
	case g.skip > 0:
		g.skip--
		return
	}
	g.over.Store(false)
	g.want.Store(int32(want))
	if g.timer == nil {
		g.timer = time.AfterFunc(within, alarm)
	} else {
		g.timer.Reset(within)
	}
}

// end lets the next flight begin with what there is.
func (g *gather) end(waiting int) {
	g.timer.Stop()
	if waiting >= int(g.want.Swap(0)) {
		g.vain = 0
	} else {
		g.vain = min(2*g.vain+1, maxVain)
	}
	g.skip = g.vain
}

// gathers reports whether the next flight is held back.
func (c *committer) gathers() bool {
	g := &c.replica.gather
	if g.landed > 0 {
		g.begin(len(c.queue), c.stopGathering)
	}
	if g.ended(len(c.queue)) {
		g.end(len(c.queue))
	}
	return g.want.Load() > 0
}

// stopGathering is called by the timer, which may be late: then it cuts short what another one is for.
func (c *committer) stopGathering() {
	c.replica.gather.over.Store(true)
	c.mu.Lock()
	c.unlock(true)
}
