package replication

import (
	"slices"
	"time"
)

// Kinds of faults.
const (
	faultKill    = iota // the process ends
	faultPower          // the machine ends, with what was not synced
	faultRestart        // clean
	faultPause
	faultCutOff    // of one server from all others, one way or both
	faultPartition // of two servers, one way or both
	faultSlow      // link
	faultDisk
	faultMasters // they are away
	faultAll     // all servers end at once
	faultKinds
)

func (s *sim) byID(id Server) *simServer { return s.servers[id[0]-'a'] }

// fault lets the next one happen, now and then.
func (s *sim) fault() {
	s.after(time.Duration(s.rng.ExpFloat64()*float64(s.plan.every)), func() {
		if s.calm {
			return
		}
		s.fault()
		total := 0
		for _, w := range s.plan.weights {
			total += w
		}
		if total == 0 {
			return
		}
		n := s.rng.IntN(total)
		for kind, w := range s.plan.weights {
			if n -= w; n < 0 {
				s.inflict(kind, s.servers[s.rng.IntN(len(s.servers))])
				return
			}
		}
	})
}

func (s *sim) inflict(kind int, x *simServer) {
	long := s.upTo(4 * simLease)
	if s.rng.IntN(4) == 0 {
		long = simLease + s.upTo(simLease)
	}
	switch kind {
	case faultKill, faultPower:
		if x.up {
			x.crash(kind == faultPower)
		}
	case faultRestart:
		if x.up {
			x.shutDown()
		}
	case faultAll:
		if s.rng.IntN(8) == 0 {
			for _, x := range s.servers {
				if x.up {
					x.crash(s.rng.IntN(4) == 0)
				}
			}
		}
	case faultPause:
		s.logf("%s pauses for %v", x.id, long)
		x.paused = max(x.paused, s.now+long)
	case faultCutOff:
		way := s.rng.IntN(3)
		s.logf("%s is cut off for %v, way %d", x.id, long, way)
		for i := range s.servers {
			s.disturb(s.blocked, x.index, i, way, long)
		}
	case faultPartition, faultSlow:
		y, way := s.rng.IntN(len(s.servers)), s.rng.IntN(3)
		s.logf("%s and %s: fault %d for %v, way %d", x.id, s.servers[y].id, kind, long, way)
		if kind == faultSlow {
			s.disturb(s.slow, x.index, y, way, long)
		} else {
			s.disturb(s.blocked, x.index, y, way, long)
		}
	case faultDisk:
		x.broken = s.rng.Float64()
		s.logf("%s: disk errors, %.2f", x.id, x.broken)
		life := x.life
		s.after(long, func() {
			switch {
			case x.life != life || !x.up || x.broken == 0 || s.calm:
			case s.rng.IntN(2) == 0:
				s.logf("%s: the disk takes bytes again", x.id)
				x.broken = 0
			default: // the operator has it replaced
				x.crash(false)
			}
		})
	case faultMasters:
		s.logf("the masters are away for %v", long)
		s.masters = max(s.masters, s.now+long)
	}
}

func (s *sim) disturb(links [][]time.Duration, a, b, way int, long time.Duration) {
	if way != 1 {
		links[a][b] = max(links[a][b], s.now+long)
	}
	if way != 2 {
		links[b][a] = max(links[b][a], s.now+long)
	}
}

// crash ends a server, and starts it again some time later.
func (x *simServer) crash(power bool) {
	s := x.sim
	x.stop(power)
	down := s.upTo(4 * simLease)
	s.after(down, func() {
		if !x.up {
			x.start(false)
		}
	})
}

// shutDown ends a server as an operator does it: it takes its leave.
func (x *simServer) shutDown() {
	for _, l := range x.leases.Release() {
		x.letter(l)
	}
	if x.sim.plan.sync || x.broken == 0 {
		for _, c := range x.copies {
			if c != nil && x.broken == 0 {
				c.synced = c.length()
			}
		}
	}
	x.crash(false)
}

// heal ends all faults.
func (s *sim) heal() {
	s.logf("no more faults")
	s.calm = true
	s.masters = 0
	for i, x := range s.servers {
		clear(s.blocked[i])
		clear(s.slow[i])
		x.paused = min(x.paused, s.now)
		if x.up && x.broken > 0 {
			x.stop(false)
		}
		if !x.up {
			x.start(false)
		}
	}
}

// configure brings the wish of a group to the masters, and their answer back; it may be lost, late, or done
// twice.
func (s *sim) configure(c *simCopy, wish Config) {
	x, v := c.server, c.volume
	s.logf("%s v%d: asks for %+v", x.id, v.id, wish)
	life, answered := x.life, false
	answer := func(known bool) {
		if answered {
			return
		}
		answered = true
		config := v.config
		if !known {
			s.on(x, 0, func() { c.do(c.group.ConfigureFailed(x.clock())) })
			return
		}
		s.transmit(x.index, -1, func() {
			s.happen(event{server: x, life: life, do: func() {
				s.logf("%s v%d: is told of %+v", x.id, v.id, config)
				c.do(c.group.Configured(config, x.clock()))
				if x.up {
					c.do(c.group.ConfigureFailed(x.clock()))
				}
			}})
		})
	}
	s.transmit(x.index, -1, func() {
		if s.masters > s.now {
			if s.rng.IntN(2) == 0 {
				return
			}
			s.after(s.masters-s.now+s.upTo(simLease), func() { s.swap(v, wish) }) // the leader has it in its log
			return
		}
		s.swap(v, wish)
		answer(true)
	})
	s.on(x, simLease/2, func() { answer(false) })
}

func (s *sim) swap(v *simVolume, wish Config) {
	if wish.Epoch == v.config.Epoch+1 {
		v.config = wish
		s.logf("masters: v%d is %+v", v.id, wish)
		if len(wish.Members) == 0 || !wish.Has(wish.Primary) {
			s.fail("v%d: %+v has no primary", v.id, wish)
		}
	}
}

// heartbeat tells the masters of a server's configurations, and the server of newer ones.
func (x *simServer) heartbeat() {
	s := x.sim
	for _, c := range x.copies {
		if c == nil || !x.up {
			continue
		}
		epoch := c.group.durable.Config.Epoch
		s.transmit(x.index, -1, func() {
			if s.masters > s.now || c.volume.config.Epoch <= epoch {
				return
			}
			config, life := c.volume.config, x.life
			s.transmit(-1, x.index, func() {
				s.happen(event{server: x, life: life, do: func() {
					c.do(c.group.Configured(config, x.clock()))
				}})
			})
		})
	}
	if x.up {
		s.on(x, simLease/4+s.upTo(simLease/8), x.heartbeat)
	}
}

// order is what masters and operators do: they let a server that is up become a member where one is missing, and
// now and then leave one out, or have another be the primary.
func (s *sim) order() {
	s.after(simLease/6+s.upTo(simLease), func() {
		s.order()
		v := s.volumes[s.rng.IntN(len(s.volumes))]
		p := s.byID(v.config.Primary)
		x := s.servers[s.rng.IntN(len(s.servers))]
		c := p.copies[v.index]
		if s.masters > s.now {
			return
		}
		for _, y := range s.servers {
			if y == x || s.calm {
				s.follow(v, y)
			}
		}
		if old := x.copies[v.index]; old != nil && x.up && !s.calm && x.paused <= s.now && s.plan.vacuum && s.rng.IntN(4) == 0 {
			old.do(old.group.Renew())
		}
		if !p.up || p.paused > s.now || c == nil {
			return
		}
		switch n := s.rng.IntN(8); {
		case len(v.config.Members) < v.config.Copies:
			if s.calm {
				x = s.spare(v, c)
			}
			if x != nil && x.up && !slices.Contains(v.config.Members, x.id) {
				s.logf("masters: %s is to join v%d", x.id, v.id)
				if effects, err := c.group.Learn(x.id, p.clock()); err == nil {
					c.do(effects)
				}
			}
		case s.calm:
		case n == 0 && len(c.group.learners) > 0:
			c.group.Forget(c.group.learners[0])
		case n == 1 && len(v.config.Members) > 1 && v.config.Has(x.id):
			s.logf("masters: %s is to leave v%d", x.id, v.id)
			if effects, err := c.group.Drop(x.id, p.clock()); err == nil {
				c.do(effects)
			}
		case n >= 6 && s.plan.vacuum:
			s.vacuum(c)
		case n == 2:
			s.logf("masters: %s is to be primary of v%d", x.id, v.id)
			if effects, err := c.group.HandOver(x.id, p.clock()); err == nil {
				c.do(effects)
			}
		}
	})
}

// spare returns a server that may join, the one that is about to first.
func (s *sim) spare(v *simVolume, primary *simCopy) *simServer {
	if l := primary.group.learners; len(l) > 0 {
		return s.byID(l[0])
	}
	for _, x := range s.servers {
		if !v.config.Has(x.id) {
			return x
		}
	}
	return nil
}
