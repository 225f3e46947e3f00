package replication

// Quiet reports whether time alone changes nothing for the group, so that it need not be called until it is told
// something, or a member's promise ends: see Readable. Outside the group's members there is nothing to wait for.
func (g *Group) Quiet() bool {
	switch g.role {
	case Outside:
		return true
	case Follower:
		if !g.inSync() {
			return false
		}
	case Primary:
		if !g.active || g.returning || len(g.learners) > 0 || g.wishes != (wishes{}) || g.committed < g.length {
			return false
		}
		for i := range g.members {
			p := g.progress[g.members[i].server]
			if p == nil || p.phase != shipping || p.acked < g.length || p.known < g.committed {
				return false
			}
		}
	}
	for i := range g.members {
		if m := &g.members[i]; m.uncovered >= 0 || m.out() {
			return false
		}
	}
	return g.asking == nil && !g.failed
}

// Stands reports whether a snapshot still tells the group's standing: all but its lengths and learners.
func (g *Group) Stands(s *Status) bool {
	return s.Config.Epoch == g.durable.Config.Epoch && s.Role == g.role && s.Active == g.active &&
		s.InSync == g.inSync() && s.Returning == g.returning && s.Failed == g.failed && s.WholeIn == g.wholeIn()
}
