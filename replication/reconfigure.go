package replication

import "slices"

// wishes are changes of the configuration that were ordered.
type wishes struct {
	drop    Server
	primary Server
}

// asking is a change of the configuration on its way. Until it is known what came of it, or who else came
// first, those whom it leaves out are promised nothing.
type asking struct {
	config Config
	left   []Server
	after  Instant // when all that they were promised has run out
	sent   bool
	sentAt Instant
}

// Learn orders the primary to make a server a member.
func (g *Group) Learn(s Server, now Instant) ([]Effect, error) {
	if g.role != Primary || g.returning || g.failed {
		return nil, ErrNotPrimary
	}
	if !g.durable.Config.Has(s) && !slices.Contains(g.learners, s) {
		g.learners = append(g.learners, s)
		g.sync(s, now)
	}
	return g.flush(), nil
}

// Forget takes back what Learn ordered.
func (g *Group) Forget(s Server) {
	g.learners = slices.DeleteFunc(g.learners, func(l Server) bool { return l == s })
	if g.durable.Config.Has(s) {
		return
	}
	delete(g.progress, s)
	if a := g.asking; a != nil && len(a.left) == 0 && a.config.Has(s) {
		g.asking = nil // what is on its way may still make it a member, who is left out again then
	}
}

// Drop orders the primary to leave a member out.
func (g *Group) Drop(s Server, now Instant) ([]Effect, error) {
	if g.role != Primary || g.returning || s == g.self {
		return nil, ErrNotPrimary
	}
	g.wishes.drop = s
	g.tick(now)
	return g.flush(), nil
}

// HandOver orders the primary to make another member the primary.
func (g *Group) HandOver(to Server, now Instant) ([]Effect, error) {
	if g.role != Primary || g.returning {
		return nil, ErrNotPrimary
	}
	g.wishes.primary = to
	g.tick(now)
	return g.flush(), nil
}

// ConfigureFailed tells the group that it is unknown, or known to be wrong, that the masters have done what was
// asked for.
func (g *Group) ConfigureFailed(now Instant) []Effect {
	if g.asking != nil && len(g.asking.left) == 0 {
		g.asking = nil // it may still happen, and does no harm then
	}
	g.tick(now)
	return g.flush()
}

// watch looks after the members, and asks for another configuration when that is due.
func (g *Group) watch(now Instant) {
	for i := range g.members {
		m := &g.members[i]
		if m.pair.covers(m.after, now, g.times) {
			m.uncovered = -1
		} else if m.uncovered < 0 {
			m.uncovered = now
		}
	}
	if g.asking != nil {
		g.pursue(now)
		return
	}
	if !g.complete() {
		if g.failed && g.role == Follower { // the epoch waits for its log
			g.resign(now)
		}
		return
	}
	if g.joined {
		g.joined, g.mayAsk = false, now+g.times.Lease
	}
	switch {
	case g.failed:
		g.resign(now)
	case g.returning:
		g.resume(now)
	default:
		if left := g.lost(now); len(left) > 0 {
			g.leaveOut(left, now)
		} else if g.role == Primary && g.active {
			g.fulfil(now)
		}
	}
}

// lost returns the members that this one takes to be gone, once it is its turn to say so.
func (g *Group) lost(now Instant) (left []Server) {
	c := &g.durable.Config
	if now-g.since < g.times.Lease {
		return g.resigned()
	}
	rank, primaryLost := 0, false
	for _, m := range g.members {
		if m.out() || m.pair.gone.Load() || m.uncovered >= 0 && now-m.uncovered >= g.times.Lease/4 {
			left = append(left, m.server)
			primaryLost = primaryLost || m.server == c.Primary
		} else if m.server < g.self {
			rank++
		}
	}
	if g.role == Primary || len(left) == 0 {
		return left
	}
	// The primary comes first, then one after the other, so that they do not all ask at once.
	patience := g.times.Lease * Instant(2+rank) / 4
	if !primaryLost {
		patience = 2 * g.times.Lease
	}
	for _, s := range left {
		if m := g.member(s); !m.out() && !m.pair.gone.Load() && now-m.uncovered < patience {
			return nil
		}
	}
	return left
}

// resigned returns the members that have said themselves that they can't go on, or stop.
func (g *Group) resigned() (left []Server) {
	for _, m := range g.members {
		if m.out() && g.role == Primary || m.pair.gone.Load() {
			left = append(left, m.server)
		}
	}
	return left
}

// leaveOut begins to ask for a configuration without some members.
func (g *Group) leaveOut(left []Server, now Instant) {
	c := g.without(left)
	if slices.Contains(left, c.Primary) || g.role != Primary && g.round == 0 {
		// A primary that was not heard of in this epoch may not have come to it: the next would begin without
		// anybody who has been in all of them.
		c.Primary = g.self
	}
	g.ask(c, left, now)
}

// without returns the next configuration, without some members.
func (g *Group) without(left []Server) Config {
	c := g.durable.Config
	c.Epoch++
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(s Server) bool { return slices.Contains(left, s) })
	return c
}

func (g *Group) ask(c Config, left []Server, now Instant) {
	g.asking = &asking{config: c, left: left, after: g.mayAsk}
	for _, s := range left {
		g.leases.claim(g.volume, 0, s)
		g.member(s).unclaimed = true
		// Of who can't go on, too: it may have begun anew since it said so, and have been promised something.
		g.asking.after = max(g.asking.after, g.leases.promisedUntil(s))
	}
	g.pursue(now)
}

// askAgain goes on after a restart with what was asked for: it may yet come about, so that those whom it leaves out
// must not be promised anything.
func (g *Group) askAgain(c Config) {
	a := &asking{config: c, sent: true, sentAt: g.since - g.times.Lease}
	for i := range g.members {
		if m := &g.members[i]; !c.Has(m.server) {
			a.left = append(a.left, m.server)
			m.unclaimed = true
			g.leases.claim(g.volume, 0, m.server)
		}
	}
	g.asking = a
}

// pursue goes on with what is asked for.
func (g *Group) pursue(now Instant) {
	a := g.asking
	switch {
	case a.sent && now-a.sentAt >= g.times.Lease/3, !a.sent && now >= a.after:
		if !a.sent && len(a.left) > 0 {
			g.durable.Asked = &a.config
			g.save()
		}
		a.sent, a.sentAt = true, now
		g.emit(Effect{Kind: EffectConfigure, Config: a.config})
	case !a.sent && g.allBack(a.left):
		for _, s := range a.left {
			g.leases.claim(g.volume, g.durable.Config.Epoch, s)
			m := g.member(s)
			m.unclaimed, m.after = false, now
		}
		g.asking = nil
	}
}

// allBack reports whether those who seemed gone are there again.
func (g *Group) allBack(left []Server) bool {
	for _, s := range left {
		if m := g.member(s); m.out() || m.uncovered >= 0 || g.wishes.drop == s {
			return false
		}
	}
	return true
}

// resign makes way: the primary has another one be that, a follower asks to be left out. The primary does not leave
// out itself: the wish may come true after it has restarted and serves again.
func (g *Group) resign(now Instant) {
	if g.role != Primary {
		if now-g.helloAt >= g.times.Lease/6 {
			g.helloAt = now
			for _, m := range g.members {
				g.send(m.server, Message{Kind: MsgResign, Life: g.leases.life})
			}
		}
		return
	}
	for _, m := range g.members {
		p := g.progress[m.server]
		if p == nil || m.uncovered >= 0 || m.out() {
			continue
		}
		if p.phase == shipping && p.acked >= max(g.durable.History.Last().Start, g.origin.Floor) || g.returning && p.acked >= 0 {
			c := g.without(nil)
			c.Primary = m.server
			g.ask(c, nil, now)
			return
		}
	}
}

// takeOver asks for an epoch of which this server is the primary, when the one of this epoch has not all that may
// have been acknowledged: it had lost, before it was made that, what it had not synced.
func (g *Group) takeOver(now Instant) {
	if g.role == Follower && g.asking == nil && !g.failed && g.complete() {
		c := g.without(nil)
		c.Primary = g.self
		g.ask(c, nil, now)
	}
}

// resume asks for a new epoch after a restart as primary, once all members have told of their logs, or are lost.
func (g *Group) resume(now Instant) {
	left := g.lost(now)
	for _, m := range g.members {
		if g.progress[m.server] == nil && !slices.Contains(left, m.server) {
			return
		}
	}
	c := g.without(left)
	c.Primary = g.fullest(c.Members)
	g.ask(c, left, now)
}

// fulfil does what was ordered.
func (g *Group) fulfil(now Instant) {
	c := &g.durable.Config
	w := &g.wishes
	for _, s := range g.learners {
		// Who can't take the bytes, as they are damaged here, must not hold up an epoch.
		if p := g.progress[s]; p != nil && p.phase == shipping && p.acked >= p.goal && g.length-p.acked <= g.leases.limits.near {
			next := g.without(nil)
			next.Members = append(next.Members, s)
			g.ask(next, nil, now)
			return
		}
	}
	switch {
	case w.drop != "" && !c.Has(w.drop):
		w.drop = ""
	case w.drop != "":
		g.leaveOut([]Server{w.drop}, now)
	case w.primary != "" && (w.primary == g.self || !c.Has(w.primary)):
		w.primary = ""
	case w.primary != "":
		next := g.without(nil)
		next.Primary = w.primary
		w.primary = ""
		g.ask(next, nil, now)
	}
}
