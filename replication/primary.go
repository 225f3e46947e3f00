package replication

import "slices"

// limits are numbers of bytes; the simulator has smaller ones.
type limits struct {
	shipment int64 // in one message
	window   int64 // that may be under way to a server that is being brought to the log
	near     int64 // that a server may lack to become a member: the new epoch waits for the rest
}

var defaultLimits = limits{shipment: 1 << 20, window: 4 << 20, near: 1 << 20}

// progress is what the primary knows of the log of another server.
type progress struct {
	round   uint64
	life    uint64
	phase   phase
	next    int64   // what is shipped next
	acked   int64   // up to where it is durable there
	goal    int64   // what a server is to have acknowledged before it is made a member: all that was there when it began
	known   int64   // up to where it has said that it knows what is committed
	told    int64   // up to where it was told
	moved   Instant // when it last came forward, or was last spoken to
	resent  int64   // what was shipped from before this was sent once more: gaps there are known
	align   Message // that it has not answered yet
	history History
	origin  Origin // of its log, while it lacks bytes below where that was compacted
}

// phase is how far a round has come.
type phase uint8

const (
	syncing  phase = iota // its report is awaited
	aligning              // it is told where to cut
	shipping              // it gets the bytes that it lacks, and the new ones
)

// lead begins the epoch as its primary: the log as it is becomes that of all members.
func (g *Group) lead(now Instant) {
	g.cut(g.whole)
	g.proposed, g.syncTo = g.proposed[:0], 0
	epoch := g.durable.Config.Epoch
	if g.durable.History.Last().Epoch < epoch {
		g.durable.History = g.durable.History.begin(epoch, g.length)
	}
	g.save()
	g.progress = map[Server]*progress{}
	g.learners = slices.DeleteFunc(g.learners, g.durable.Config.Has)
	for _, m := range g.members {
		g.sync(m.server, now)
	}
	for _, s := range g.learners {
		g.sync(s, now)
	}
	g.advance(now)
}

// sync begins a round with a server.
func (g *Group) sync(s Server, now Instant) {
	p := g.progress[s]
	if p == nil {
		p = &progress{}
		g.progress[s] = p
	}
	g.rounds++
	*p = progress{round: g.rounds, acked: -1, moved: now}
	g.sendSync(s, p)
}

func (g *Group) sendSync(to Server, p *progress) {
	c := g.durable.Config
	g.send(to, Message{Kind: MsgSync, Round: p.round, Config: &c})
}

// heard takes a message of a member, or of a server that is to become one.
func (g *Group) heard(from Server, m *Message, now Instant) {
	p := g.progress[from]
	if p == nil {
		return
	}
	if m.Kind == MsgHello {
		if m.Round == p.round || p.phase != syncing && (m.Life != p.life || now-p.moved >= g.times.Lease/12) {
			g.sync(from, now)
		}
		return
	}
	if m.Round != p.round || p.phase != syncing && m.Life != p.life {
		return
	}
	p.moved = now
	switch m.Kind {
	case MsgReport:
		if p.phase == syncing {
			to, reset := g.meet(m)
			p.phase, p.life, p.next, p.known, p.origin = aligning, m.Life, to, 0, g.origin
			p.align = Message{
				Kind: MsgAlign, Round: p.round, Life: p.life, Offset: to, Committed: g.committed,
				History: g.durable.History, Origin: reset,
			}
			g.send(from, p.align)
		}
	case MsgAck:
		if p.phase == syncing {
			return
		}
		if p.phase != shipping {
			p.phase, p.goal = shipping, g.length
		}
		p.acked = max(p.acked, m.Length)
		p.known = max(p.known, m.Committed)
		g.advance(now)
		g.ship(from, p, now)
		if g.active && p.told == 0 {
			g.sendAppend(from, p, 0)
		}
	case MsgGap:
		if p.phase == shipping && m.Offset >= p.resent {
			p.resent, p.next = p.next, m.Length
			g.ship(from, p, now)
		}
	}
}

// ship sends what a server lacks, as far as the window allows.
func (g *Group) ship(to Server, p *progress, now Instant) {
	if p.phase == shipping && p.next < g.origin.Floor && p.origin != g.origin && !g.bugs.keepOld {
		g.sync(to, now) // what it lacks was compacted since
		return
	}
	for p.phase == shipping && p.next < g.length && p.next < max(p.acked, 0)+g.leases.limits.window {
		n := min(g.length-p.next, g.leases.limits.shipment)
		g.sendAppend(to, p, n)
	}
}

func (g *Group) sendAppend(to Server, p *progress, n int64) {
	m := Message{Kind: MsgAppend, Round: p.round, Life: p.life, Offset: p.next, Size: n, Committed: g.committed}
	if n > 0 && p.next < g.syncTo {
		m.Length = g.syncTo
	}
	if n > 0 && p.next < g.origin.Floor {
		origin := g.origin
		m.Origin = &origin
	}
	if g.active {
		m.Complete = g.durable.Config.Epoch
		p.told = g.committed // unless this is lost: see nudgeOne
	}
	g.send(to, m)
	p.next += n
}

// advance commits what all members have.
func (g *Group) advance(now Instant) {
	if g.failed && !g.active {
		return
	}
	to := g.persisted
	for _, m := range g.members {
		p := g.progress[m.server]
		if p.phase != shipping {
			return
		}
		if !g.bugs.commitEarly || !g.active {
			to = min(to, p.acked)
		}
	}
	start := g.durable.History.Last().Start
	if to < start {
		return
	}
	whole := max(g.committed, start) // operations are committed as a whole
	for len(g.proposed) > 0 && g.proposed[0] <= to {
		whole = g.proposed[0]
		g.proposed = append(g.proposed[:0], g.proposed[1:]...)
	}
	g.commit(whole)
	if !g.active {
		g.active = true
		g.emit(Effect{Kind: EffectReady})
		g.tell()
		g.watch(now)
	}
}

// Idle tells the group that nothing is about to be proposed, so that the members are told now of what was
// committed last.
func (g *Group) Idle() []Effect {
	if g.role == Primary && g.active {
		g.tell()
	}
	return g.flush()
}

// tell lets those know the commit point that are not about to hear it with the next bytes.
func (g *Group) tell() {
	for _, m := range g.members {
		if p := g.progress[m.server]; p.phase == shipping && max(p.told, p.known) < g.committed {
			g.sendAppend(m.server, p, 0)
		}
	}
}

// Propose makes room for n bytes at the end of the log, which the caller writes there, and reports by Persisted;
// the effects ship them. puts says that there are puts among them, which need all copies.
func (g *Group) Propose(n int64, puts bool, now Instant) (offset int64, effects []Effect, err error) {
	if err := g.Accepts(puts); err != nil {
		return 0, nil, err
	}
	offset = g.length
	g.length += n
	g.whole = g.length
	g.proposed = append(g.proposed, g.length)
	for _, m := range g.members {
		g.ship(m.server, g.progress[m.server], now)
	}
	for _, s := range g.learners {
		if p := g.progress[s]; p != nil {
			g.ship(s, p, now)
		}
	}
	return offset, g.flush(), nil
}

// Sync has the members sync what lies below an offset of the log before they acknowledge it, whatever their policies.
// It comes before the Propose of those bytes.
func (g *Group) Sync(to int64) { g.syncTo = max(g.syncTo, to) }

// Accepts returns why a proposal would be refused: ErrNotPrimary, ErrCopies.
func (g *Group) Accepts(puts bool) error {
	if g.role != Primary || !g.active || g.failed {
		return ErrNotPrimary
	}
	if puts && len(g.durable.Config.Members) < g.durable.Config.Copies && !g.bugs.putBelowCopies {
		return ErrCopies
	}
	return nil
}

// nudge repeats what may have been lost.
func (g *Group) nudge(now Instant) {
	for _, m := range g.members {
		g.nudgeOne(m.server, now)
	}
	for _, s := range g.learners {
		g.nudgeOne(s, now)
	}
}

func (g *Group) nudgeOne(s Server, now Instant) {
	p := g.progress[s]
	if p == nil {
		g.sync(s, now)
		return
	}
	if now-p.moved < g.times.Lease/6 {
		return
	}
	p.moved = now
	switch {
	case p.phase == syncing:
		g.sendSync(s, p)
	case p.phase == aligning:
		g.send(s, p.align)
	case p.acked < p.next:
		p.resent, p.next = p.next, max(p.acked, 0)
		g.ship(s, p, now)
	case p.known < g.committed:
		g.sendAppend(s, p, 0)
	}
}

// query asks the members for their logs after a restart.
func (g *Group) query(now Instant) {
	if now-g.helloAt < g.times.Lease/6 {
		return
	}
	g.helloAt = now
	if g.progress == nil {
		g.progress = map[Server]*progress{}
	}
	for _, m := range g.members {
		if g.progress[m.server] == nil {
			c := g.durable.Config
			g.send(m.server, Message{Kind: MsgQuery, Config: &c})
		}
	}
}

// reported takes the answer to a query.
func (g *Group) reported(from Server, m *Message) {
	if g.member(from) == nil || g.progress == nil {
		return
	}
	p := &progress{life: m.Life, acked: m.Length, history: m.History}
	if m.Complete != g.durable.Config.Epoch {
		p.acked = -1
	}
	g.progress[from] = p
}

// fullest returns who of the servers has most of the log, this one if it is among them, having restarted.
func (g *Group) fullest(among []Server) Server {
	best, era, length := g.self, g.durable.History.Last().Epoch, g.length
	for _, s := range among {
		if p := g.progress[s]; p != nil && p.acked >= 0 {
			if e := p.history.Last().Epoch; e > era || e == era && p.acked > length {
				best, era, length = s, e, p.acked
			}
		}
	}
	return best
}
