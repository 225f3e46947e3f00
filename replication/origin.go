package replication

import "errors"

// Origin tells how a log came to begin as it does: a compaction has left out, below Floor, what was deleted there. What
// lies at an offset from Floor on is the same in all logs, compacted or not, and keeps its offset; what is below is
// that of this compaction. Two logs that were compacted in the same way have the same Origin, and the same bytes.
type Origin struct {
	Revision uint16 // counts the compactions
	Floor    int64  // offset in bytes; 0 if there was no compaction
	Skipped  int64  // bytes that were left out: the log begins so much behind LogStart
	AsOf     int64  // nanoseconds since 1970 UTC: what had expired then was left out
	Sum      uint32 // CRC32-C of the bytes below Floor
}

// Begin returns the offset of the first byte of a log.
func (o *Origin) Begin() int64 { return LogStart + o.Skipped }

// ErrNotYet says that a log can't be compacted now, but may be later: it is not in touch with the others, has not got
// what is to be compacted, or is being copied to a server that is to become a member.
var ErrNotYet = errors.New("the copy is not in a state to be compacted: try again later")

// MayCompact returns nil if the log may be compacted up to an offset, else ErrNotYet. All that is below must be
// committed, so that no other log differs from it there but by its origin.
func (g *Group) MayCompact(floor int64) error {
	if floor > g.committed || !g.inSync() || len(g.learners) > 0 {
		return ErrNotYet
	}
	return nil
}

// Compacted tells the group that the log was compacted, after MayCompact. No offset changes by it.
func (g *Group) Compacted(o Origin) { g.origin = o }

// Renew gives up a log that can't be mended, so that all of it is fetched anew once this server is made a member again.
// It does nothing before the others have left this server out: so they have all that was acknowledged.
func (g *Group) Renew() []Effect {
	if g.role == Outside && g.durable.Config.Epoch > 0 {
		g.durable.History, g.durable.Complete = nil, 0
		g.save()
		g.empty(Origin{})
		g.aligned, g.gaveUp = false, g.round
	}
	return g.flush()
}

// meet returns from which offset on a server is to be brought to this log: up to there the two are equal. With a reset
// it is to begin anew, with that origin, because what it lacks, or must give up, lies below where one of them was
// compacted.
func (g *Group) meet(m *Message) (to int64, reset *Origin) {
	var theirs Origin
	if m.Origin != nil {
		theirs = *m.Origin
	}
	to = Divergence(g.durable.History, g.length, m.History, m.Length)
	switch {
	case g.bugs.keepOld:
		return max(to, g.origin.Begin()), nil
	case to >= max(g.origin.Floor, theirs.Floor):
		return to, nil
	case theirs == g.origin && to >= theirs.Begin():
		return to, nil
	}
	mine := g.origin
	return mine.Begin(), &mine
}

// reset begins the log anew.
func (g *Group) reset(o Origin) {
	if o == g.origin {
		g.cut(o.Begin())
		return
	}
	// First, so that no one takes the empty log for one that has anything.
	g.durable.History, g.durable.Complete = nil, 0
	g.save()
	g.empty(o)
}

func (g *Group) empty(o Origin) {
	begin := o.Begin()
	g.origin = o
	g.length, g.whole, g.persisted, g.committed = begin, begin, begin, min(g.committed, begin)
	g.cuts++
	g.emit(Effect{Kind: EffectReset, Origin: o, Offset: begin, Cuts: g.cuts})
}
