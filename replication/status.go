package replication

import "slices"

// Role is what a server is in a group.
type Role uint8

// Roles.
const (
	Outside  Role = iota // no member; it may be on its way to become one
	Follower             // a member
	Primary
)

// Status is a snapshot of a group.
type Status struct {
	Config    Config
	Role      Role
	Active    bool // of the primary: the epoch has begun
	InSync    bool // the log has all that is committed
	Returning bool // the primary has restarted and waits for a new epoch
	Failed    bool
	Length    int64
	Persisted int64
	Committed int64
	Cuts      int
	Origin    Origin // of the log, in whose offsets the lengths are
	// WholeIn is the last epoch at whose begin the log had all that had been acknowledged: a copy of the log may
	// stand for the volume only if that is the epoch in force.
	WholeIn  uint64
	Learners []LearnerStatus
}

// LearnerStatus says how far a server is that is being made a member.
type LearnerStatus struct {
	Server Server
	Length int64 // bytes of the log that it has
}

func (g *Group) inSync() bool {
	switch g.role {
	case Primary:
		return g.active && !g.failed
	case Follower:
		// What is committed ends with a record: where it does not here, what came from another copy is damaged.
		return g.aligned && g.begun && min(g.committed, g.persisted) >= g.serveFrom && g.whole >= g.committed && !g.failed
	}
	return false
}

// reading is what Readable needs to know, for concurrent use.
type reading struct {
	serve   bool
	members []member
}

// Readable reports whether a read that looks a blob up after the call, in a log that has nothing uncommitted of it,
// may be answered: all that was acknowledged by anybody before the call is in the log here. A lookup before the call
// may have come before that, though the answer is true. It may be called concurrently with all other methods.
func (g *Group) Readable(now Instant) bool {
	r := g.reading.Load()
	if !r.serve {
		return false
	}
	for i := range r.members {
		if m := &r.members[i]; m.unclaimed || !m.pair.covers(m.after, now, g.times) {
			return false
		}
	}
	return true
}

// publish shows readers the state.
func (g *Group) publish() {
	serve := g.inSync()
	old := g.reading.Load()
	if old != nil && old.serve == serve && slices.EqualFunc(old.members, g.members, func(a, b member) bool {
		return a.pair == b.pair && a.after == b.after && a.unclaimed == b.unclaimed
	}) {
		return
	}
	g.reading.Store(&reading{serve, slices.Clone(g.members)})
}

// Status returns a snapshot; Members must not be changed.
func (g *Group) Status() Status {
	s := Status{
		Config: g.durable.Config, Role: g.role, Active: g.active, InSync: g.inSync(), Returning: g.returning,
		Failed: g.failed, Length: g.length, Persisted: g.persisted, Committed: g.committed, Cuts: g.cuts, Origin: g.origin,
		WholeIn: g.wholeIn(),
	}
	for _, l := range g.learners {
		status := LearnerStatus{Server: l}
		if p := g.progress[l]; p != nil {
			status.Length = max(p.acked, 0)
		}
		s.Learners = append(s.Learners, status)
	}
	return s
}
