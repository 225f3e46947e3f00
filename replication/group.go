package replication

import (
	"errors"
	"sync/atomic"

	"weed/internal/blob"
)

// Errors of proposals.
var (
	// ErrNotPrimary says that this server is not the primary, or not yet ready to be: see Status.
	ErrNotPrimary = errors.New("this server is not the primary of the volume")
	// ErrCopies says that a copy is missing, so that nothing new is taken.
	ErrCopies = errors.New("a copy of the volume is missing: it takes no new blobs until that is back or made again")
)

// Group is one server's part in the group of servers that hold a volume. Its methods must not be called
// concurrently, but for Readable. The effects that they return are valid until the next call.
type Group struct {
	volume blob.VolumeID
	self   Server
	leases *Leases
	times  Times
	bugs   bugs

	durable   Durable
	origin    Origin
	role      Role
	length    int64 // of the log, with what is being written
	whole     int64 // end of its last whole record
	persisted int64 // up to where it is durable
	committed int64
	cuts      int
	since     Instant // when the configuration was adopted
	// Until mayAsk this server asks for no configuration that leaves somebody out: promises of a life before to
	// that one may hold, or, if this server has joined, those of the members before. These are in the epoch by
	// the time that the log here is complete, and promise nothing of the one before any more.
	mayAsk    Instant
	joined    bool // the log was not complete when the configuration was adopted
	members   []member
	failed    bool // the log takes nothing any more
	returning bool // the server has restarted as the primary, and needs a new epoch to be it again

	// Of a follower, and of a server that is being brought to the primary's log.
	round     uint64
	aligned   bool
	gaveUp    uint64  // the round in which it has given up its log, if there is no later one
	begun     bool    // the primary has said that the epoch has begun: no member's log goes beyond its own
	serveFrom int64   // reads are right once this is committed
	helloAt   Instant // when it last turned to the primary

	// Of the primary.
	active   bool    // all members have its log: the epoch has begun
	syncTo   int64   // what lies below is to be synced by all members, whatever their policies
	proposed []int64 // ends of proposals that are not committed, in order
	progress map[Server]*progress
	rounds   uint64   // the latest that was begun; none has the number of another, even one of a server forgotten
	learners []Server // to be made members
	wishes   wishes

	asking  *asking
	reading atomic.Pointer[reading]
	out     []Effect
}

// member is another member, as this one sees it.
type member struct {
	server    Server
	pair      *pair
	after     Instant // only grants that were asked for after this cover the volume
	uncovered Instant // since when there is no cover; -1 while there is
	resigned  uint64  // the life that has said that it can't go on
	unclaimed bool    // this server asks for a configuration without it: its grants cover the volume no more
}

// out reports whether the member has said that it can't go on, and has not restarted since.
func (m *member) out() bool { return m.resigned != 0 && m.resigned >= m.pair.life.Load() }

// NewGroup makes the part of a server in a group, with what it kept, and the origin and the length of its log, which is
// durable.
// fresh says that the volume was made by this life of the server, on order of the masters.
func NewGroup(v blob.VolumeID, self Server, leases *Leases, kept Durable, origin Origin, length int64,
	fresh bool, now Instant) *Group {
	g := &Group{
		volume: v, self: self, leases: leases, times: leases.times, bugs: leases.bugs,
		durable: kept, origin: origin, length: length, whole: length, persisted: length, since: now,
		mayAsk: leases.started + leases.times.Lease,
	}
	if fresh {
		g.committed = length
	}
	g.begin(now, true)
	if g.returning && fresh {
		g.returning = false
		g.lead(now)
	}
	g.publish()
	return g
}

// begin takes up what was kept; claim says that it is still in force as far as is known.
func (g *Group) begin(now Instant, claim bool) {
	g.enter(now, claim)
	g.returning = g.role == Primary
	if a := g.durable.Asked; a != nil && a.Epoch == g.durable.Config.Epoch+1 && g.role != Outside {
		g.askAgain(*a)
	}
}

// complete reports whether the log has all that may have been acknowledged before and in this epoch, but for
// what the primary of this epoch has not been told by this server. Only who is complete may be the next primary.
func (g *Group) complete() bool {
	c := &g.durable.Config
	last := g.durable.History.Last()
	return c.Has(g.self) && (g.durable.Complete == c.Epoch || last.Epoch == c.Epoch && g.has(last))
}

// has reports whether the log has all that was there when its last era began. Below where it was compacted it has
// that only as a whole.
func (g *Group) has(last Era) bool { return g.length >= max(last.Start, g.origin.Floor) }

// wholeIn returns the last epoch at whose begin the log had all that had been acknowledged.
func (g *Group) wholeIn() uint64 {
	if last := g.durable.History.Last(); g.has(last) {
		return max(g.durable.Complete, last.Epoch)
	}
	return g.durable.Complete
}

// Configured tells the group of a configuration that the masters have in force, or had.
func (g *Group) Configured(c Config, now Instant) []Effect {
	g.adopt(c, now)
	return g.flush()
}

// adopt goes over to a configuration if it is newer.
func (g *Group) adopt(c Config, now Instant) {
	old := &g.durable.Config
	if c.Epoch <= old.Epoch {
		return
	}
	next := g.durable
	if old.Has(g.self) && g.complete() && c.Has(g.self) && c.Epoch == old.Epoch+1 {
		next.Complete = c.Epoch
	}
	if len(c.Members) == 1 && c.Has(g.self) {
		next.Complete = c.Epoch // who is left alone has everything, or all that is left of it
	}
	next.Config, next.Asked = c, nil
	wasPrimary := g.role == Primary && !g.returning
	for i := range g.members {
		g.leases.claim(g.volume, 0, g.members[i].server)
	}
	g.durable = next
	g.asking, g.active, g.returning = nil, false, false
	g.progress = nil
	g.since = now
	g.enter(now, true)
	g.joined = g.joined || !g.complete()
	if g.role != Primary {
		g.save()
		return
	}
	if g.failed { // it begins no epoch, but looks for who can
		g.returning = true
		return
	}
	if wasPrimary {
		// Nobody was told that this succeeded. What lies before the era may be acknowledged, by the primary
		// that wrote it.
		g.cut(max(g.committed, g.durable.History.Last().Start))
	}
	g.lead(now)
}

// enter takes the role that the configuration gives to this server. With claim it promises the members something from now
// on, but for those whom it has asked to leave out.
func (g *Group) enter(now Instant, claim bool) {
	c := &g.durable.Config
	g.members = g.members[:0:0]
	g.round, g.aligned, g.gaveUp, g.begun, g.helloAt = 0, false, 0, false, now-g.times.Lease
	g.role = Outside
	if !c.Has(g.self) {
		g.learners, g.wishes = nil, wishes{}
		return
	}
	g.role = Follower
	for _, s := range c.Members {
		if s != g.self {
			if a := g.durable.Asked; claim && (a == nil || a.Epoch != c.Epoch+1 || a.Has(s)) {
				g.leases.claim(g.volume, c.Epoch, s)
			}
			g.members = append(g.members, member{server: s, pair: g.leases.with(s), after: now, uncovered: now})
		}
	}
	if c.Primary == g.self && g.complete() {
		g.role = Primary
	} else {
		g.learners, g.wishes = nil, wishes{}
	}
}

func (g *Group) member(s Server) *member {
	for i := range g.members {
		if g.members[i].server == s {
			return &g.members[i]
		}
	}
	return nil
}

// Uncovered tells the group that another server does not promise it anything: that one takes part in another
// epoch, or not at all. So the two compare configurations.
func (g *Group) Uncovered(by Server, now Instant) []Effect {
	if m := g.member(by); m != nil {
		m.after = now
		g.sendConfig(by)
	}
	return g.flush()
}

// Whole tells the group where the last whole record of its log ends, after EffectWrite and EffectCut. What is behind that
// has not been acknowledged by anybody: a primary does not build on it, and a follower that has no record there although it
// is committed is not in sync.
func (g *Group) Whole(offset int64) { g.whole = offset }

// Persisted tells the group that its log is durable up to a length, if it was not cut since: cuts is that of the
// effect that wrote it, or of Status when it was proposed.
func (g *Group) Persisted(cuts int, length int64, now Instant) []Effect {
	if g.failed && g.role != Primary && !g.bugs.ackUnwritten {
		return g.flush() // of what it was sent some was not written
	}
	if cuts == g.cuts && length > g.persisted && length <= g.length {
		g.persisted = length
		switch {
		case g.role == Primary:
			g.advance(now)
		case g.aligned:
			g.ack()
		}
	}
	return g.flush()
}

// AllPersisted is Persisted for all that was written and proposed.
func (g *Group) AllPersisted(now Instant) []Effect { return g.Persisted(g.cuts, g.length, now) }

// Leave ends this server's part: the volume is deleted here. The group is not to be used any more.
func (g *Group) Leave() {
	for i := range g.members {
		g.leases.claim(g.volume, 0, g.members[i].server)
	}
	g.reading.Store(&reading{})
}

// Receive takes a message of another server.
func (g *Group) Receive(from Server, m Message, now Instant) []Effect {
	g.receive(from, &m, now)
	return g.flush()
}

func (g *Group) receive(from Server, m *Message, now Instant) {
	if m.Config != nil {
		g.adopt(*m.Config, now)
	}
	epoch := g.durable.Config.Epoch
	if m.Epoch != epoch {
		g.sendConfig(from) // the one of us who is behind learns the other's
		return
	}
	if m.Kind == MsgHello || m.Kind == MsgReport {
		g.leases.alive(from, m.Life)
	}
	switch m.Kind {
	case MsgSync, MsgAlign, MsgAppend:
		if from == g.durable.Config.Primary && g.role != Primary && !g.failed {
			g.follow(from, m, now)
		}
	case MsgQuery:
		g.send(from, g.report(0))
	case MsgHello, MsgReport, MsgAck, MsgGap:
		if g.role == Primary && !g.returning {
			g.heard(from, m, now)
		} else if g.returning && m.Kind == MsgReport {
			g.reported(from, m)
		} else if m.Kind == MsgReport && from == g.durable.Config.Primary && m.Complete != epoch {
			g.takeOver(now)
		}
	case MsgResign:
		if member := g.member(from); member != nil {
			member.resigned = max(member.resigned, m.Life)
			g.tick(now)
		}
	}
}

// Tick lets time pass. It is to be called every tenth of a lease or so.
func (g *Group) Tick(now Instant) []Effect {
	g.tick(now)
	return g.flush()
}

func (g *Group) tick(now Instant) {
	g.watch(now)
	switch {
	case g.role == Primary && g.returning:
		g.query(now)
	case g.role == Primary:
		g.nudge(now)
	case g.role == Follower && !g.aligned && !g.failed && now-g.helloAt >= g.times.Lease/6:
		g.helloAt = now
		for _, m := range g.members { // all of them: the primary may be another by now
			if g.durable.Config.Primary == g.self { // made it, but its log is not complete: see takeOver
				g.send(m.server, g.report(0))
			} else {
				g.hello(m.server)
			}
		}
	}
}
