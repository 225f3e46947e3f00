package replication

// Failed tells the group that its log can't be written any more, so that it must be left out.
func (g *Group) Failed(now Instant) []Effect {
	g.failed = true
	// What it could not note down it does not ask for; it claims nothing of those any more whom that left out.
	g.asking = nil
	g.learners = nil // whom it has told of an epoch that it leads alone, and perhaps has not saved
	if g.role == Primary && !g.active && !g.returning {
		g.returning, g.progress = true, nil // the epoch may not be saved, so it does not begin
	}
	g.tick(now)
	return g.flush()
}

// Restart begins anew after Failed, once the log can be written again: with what was kept, as if the server had restarted,
// and with the configuration that the group has come to since. The log has an origin and a length, all of it is durable,
// and its last whole record ends at whole. It does nothing, and returns false, for a member that makes way: that is left out
// by the others, and then it can be restarted.
func (g *Group) Restart(kept Durable, origin Origin, length, whole int64, now Instant) (effects []Effect, done bool) {
	latest, round := g.durable.Config, g.round
	if g.role == Follower && latest.Epoch == kept.Config.Epoch {
		return nil, false
	}
	for i := range g.members {
		g.leases.claim(g.volume, 0, g.members[i].server)
	}
	g.durable, g.origin, g.length, g.whole, g.persisted = kept, origin, length, whole, length
	g.committed = 0 // it may not have come to those who read
	g.cuts++
	g.since, g.failed, g.active, g.returning = now, false, false, false
	g.asking, g.progress, g.proposed, g.syncTo = nil, nil, g.proposed[:0], 0
	g.learners, g.wishes = nil, wishes{}
	g.out = g.out[:0]
	g.begin(now, kept.Config.Epoch == latest.Epoch)
	if kept.Config.Epoch == latest.Epoch {
		g.round, g.gaveUp = round, round // what it has reported in that round need not be so any more
		g.save()
	}
	g.adopt(latest, now)
	g.tick(now)
	return g.flush(), true
}
