package replication

// report tells about this server's log.
func (g *Group) report(round uint64) Message {
	m := Message{Kind: MsgReport, Round: round, Life: g.leases.life, Length: g.length, History: g.durable.History}
	if g.origin != (Origin{}) {
		origin := g.origin
		m.Origin = &origin
	}
	if g.complete() && !g.failed { // what a failed server knows it may not have kept
		m.Complete = g.durable.Config.Epoch
	}
	return m
}

// follow takes a message of the primary.
func (g *Group) follow(primary Server, m *Message, now Instant) {
	if m.Kind != MsgSync && m.Life != g.leases.life {
		g.notAligned(primary, now)
		return
	}
	if g.gaveUp != 0 && m.Round == g.gaveUp { // what it has reported in that round is not so any more
		g.notAligned(primary, now)
		return
	}
	switch m.Kind {
	case MsgSync:
		if m.Round > g.round {
			g.round, g.aligned, g.gaveUp = m.Round, false, 0
		}
		if m.Round == g.round && !g.aligned {
			g.send(primary, g.report(g.round))
		}
	case MsgAlign:
		if m.Round == g.round {
			g.align(m)
		}
	case MsgAppend:
		if m.Round == g.round && g.aligned {
			begins := !g.begun && m.Complete == g.durable.Config.Epoch
			g.begun = g.begun || begins
			g.append(primary, m)
			if begins {
				g.ack()
			}
		} else if m.Round >= g.round {
			g.notAligned(primary, now)
		}
	}
}

// notAligned tells a primary that does not know, say because this server has restarted. A member says so by itself,
// one that is to become a member would not.
func (g *Group) notAligned(primary Server, now Instant) {
	if now-g.helloAt >= g.times.Lease/6 {
		g.helloAt = now
		g.hello(primary)
	}
}

func (g *Group) hello(to Server) {
	g.send(to, Message{Kind: MsgHello, Round: g.gaveUp, Life: g.leases.life})
}

// align makes the log a prefix of the primary's.
func (g *Group) align(m *Message) {
	if g.aligned { // already; the answer was lost
		g.ack()
		return
	}
	switch {
	case m.Origin != nil:
		g.reset(*m.Origin)
	case !g.bugs.keepTail:
		g.cut(m.Offset)
	}
	g.durable.History = m.History
	g.save()
	g.aligned = true
	// Of what lies below, nothing but the primary's word tells what is committed.
	// It may be more than this log has: of a restart without -fsync=always.
	g.serveFrom = max(m.History.Last().Start, m.Offset, m.Committed, g.origin.Floor)
	g.ack()
}

func (g *Group) append(primary Server, m *Message) {
	end := m.Offset + int64(len(m.Bytes))
	switch {
	case m.Offset > g.length:
		g.send(primary, Message{
			Kind: MsgGap, Round: g.round, Life: g.leases.life, Offset: m.Offset, Length: g.length,
		})
		return
	case end > g.length:
		bytes := m.Bytes[g.length-m.Offset:]
		g.emit(Effect{Kind: EffectWrite, Offset: g.length, Bytes: bytes, Cuts: g.cuts, Sync: m.Length > g.length})
		g.length = end
	case len(m.Bytes) > 0:
		g.ack() // the answer was lost
	}
	g.commit(min(m.Committed, g.length))
	if len(m.Bytes) == 0 {
		g.ack() // so that the primary need not tell again
	}
}

func (g *Group) ack() {
	m := Message{Kind: MsgAck, Round: g.round, Life: g.leases.life, Length: g.persisted}
	if g.begun { // else the primary has yet to say so
		m.Committed = g.committed
	}
	g.send(g.durable.Config.Primary, m)
}
