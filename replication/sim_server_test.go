package replication

import (
	"bytes"
	"slices"
	"time"
)

// simServer is a server: its clock, its leases, and its copies of volumes.
type simServer struct {
	sim    *sim
	index  int
	id     Server
	up     bool
	life   uint64
	rate   float64 // of its clock
	base   time.Duration
	paused time.Duration // until when it does nothing
	broken float64       // probability that a write or sync fails
	leases *Leases
	copies []*simCopy // by volume; nil: none
}

// simCopy is a server's copy of a volume, with the driver that servers have.
type simCopy struct {
	server *simServer
	volume *simVolume

	// On disk.
	log    []byte // without what a compaction left out
	origin Origin
	synced int // offset
	kept   Durable
	saved  bool // the copy is there after a crash
	lost   bool // a crash has taken what was reported as durable, as it may without sync, and it is not back

	// In memory.
	group   *Group
	applied int // offset up to which records are in kv
	kv      [simKeys]uint32
	syncing bool
	pumping bool
	resting bool // the group needs no tick
	resets  int  // of the log
	queue   []*simOp
	tail    []*simOp // proposed, and not settled
	reads   []*simRead
}

func (x *simServer) clock() Instant {
	return x.base + Instant(float64(x.sim.now)*x.rate)
}

// start begins a life.
func (x *simServer) start(fresh bool) {
	s := x.sim
	x.up, x.paused, x.broken = true, 0, 0
	x.life += 1 << 20
	x.rate = 1 + s.plan.drift*(2*s.rng.Float64()-1)
	x.base = time.Second + time.Duration(s.rng.Int64N(int64(time.Hour)))
	x.leases = NewLeases(x.life, Times{Lease: simLease}, x.clock())
	x.leases.bugs, x.leases.limits = s.bugs, s.plan.limits
	s.logf("%s starts, life %d", x.id, x.life>>20)
	for i, c := range x.copies {
		if c == nil {
			continue
		}
		if !c.saved {
			x.copies[i] = nil
			continue
		}
		c.log = c.log[:wholeRecords(len(c.log))]
		c.synced = min(c.synced, c.length())
		if s.plan.sync {
			c.synced = c.length() // what a killed process has left in the page cache is not durable of itself
		}
		c.applied, c.kv, c.queue, c.tail = int(c.origin.Begin()), [simKeys]uint32{}, nil, nil
		c.syncing, c.pumping, c.resting = false, false, false
		c.group = NewGroup(c.volume.id, x.id, x.leases, c.kept, c.origin, int64(c.length()), fresh, x.clock())
		s.logf("%s v%d: %s", x.id, c.volume.id, c.describe())
		if fresh {
			c.do(c.group.Tick(x.clock()))
		}
	}
	x.tick()
	x.heartbeat()
}

// stop ends a life: power takes what was not synced, as far as it likes.
func (x *simServer) stop(power bool) {
	s := x.sim
	x.up = false
	s.stats.crashes++
	s.logf("%s stops, power lost %v", x.id, power)
	for _, c := range x.copies {
		if c == nil {
			continue
		}
		for _, o := range slices.Concat(c.tail, c.queue) {
			o.settle(s, opUnknown)
		}
		s.open -= len(c.reads)
		c.reads = nil
		if power && c.length() > c.synced {
			to := c.synced + s.rng.IntN(c.length()-c.synced+1)
			if !s.plan.sync && to < c.length() {
				c.lost = true
			}
			c.log = c.log[:c.file(to)]
		}
	}
}

// tick lets time pass.
func (x *simServer) tick() {
	s := x.sim
	for _, l := range x.leases.Tick(x.clock()) {
		x.letter(l)
	}
	for _, c := range x.copies {
		if c == nil || !x.up || c.resting && (c.group.role == Outside || c.group.Readable(x.clock())) {
			continue
		}
		c.recover()
		c.do(c.group.Tick(x.clock()))
		c.resting = s.plan.rest && c.group.Quiet()
	}
	if x.up {
		s.on(x, simLease/12+time.Duration(s.rng.Int64N(int64(simLease/20))), x.tick)
	}
}

func (x *simServer) letter(l Letter) {
	s := x.sim
	y := s.byID(l.To)
	s.logf("%s -> %s lease %+v", x.id, y.id, l.Message)
	if l.Message.Kind == LeaseAsk && s.chance(s.plan.nap) && !s.calm {
		s.inflict(faultPause, x) // so that the answer waits
	}
	s.transmit(x.index, y.index, func() {
		s.happen(event{server: y, do: func() {
			s.logf("%s <- %s lease %d seq %d", y.id, x.id, l.Message.Kind, l.Message.Seq)
			letters := y.leases.Receive(x.id, l.Message, y.clock(), func(v volumeID) {
				if c := y.copies[v-1]; c != nil && y.up {
					c.do(c.group.Uncovered(x.id, y.clock()))
				}
			})
			for _, l := range letters {
				if y.up {
					y.letter(l)
				}
			}
		}})
	})
}

// do carries out effects. A server may crash between any two of them, and readers come between them.
func (c *simCopy) do(effects []Effect) {
	x := c.server
	s := x.sim
	c.resting = false
	for i := range effects {
		if !x.up {
			return
		}
		if s.chance(s.plan.between) && !s.calm {
			s.logf("%s crashes between effects", x.id)
			x.crash(s.chance(0.5))
			return
		}
		if s.rng.IntN(64) == 0 && !s.calm {
			s.read(x, c.volume)
		}
		if !c.carryOut(&effects[i]) {
			c.do(c.group.Failed(x.clock())) // what follows may depend on what was not done
			return
		}
	}
	c.notice()
}

// recover goes on with a log that had failed when the disk takes bytes again.
func (c *simCopy) recover() {
	x := c.server
	s := x.sim
	if !c.group.failed || x.broken > 0 || s.chance(0.5) {
		return
	}
	c.synced = c.length()
	effects, done := c.group.Restart(c.kept, c.origin, int64(c.length()), int64(wholeRecords(c.length())), x.clock())
	if !done {
		return
	}
	s.stats.recoveries++
	s.logf("%s v%d: goes on, %s", x.id, c.volume.id, c.describe())
	c.do(effects)
}

// carryOut does one thing, and reports whether what follows may be done.
func (c *simCopy) carryOut(e *Effect) bool {
	x := c.server
	s := x.sim
	if e.Kind == EffectWrite || e.Kind == EffectCut || e.Kind == EffectSave || e.Kind == EffectReset {
		if c.group.failed {
			return true // it holds nothing any more that anybody counts on
		}
		if s.chance(x.broken) {
			s.logf("%s v%d: disk error", x.id, c.volume.id)
			return false
		}
	}
	switch e.Kind {
	case EffectSend:
		c.send(e.To, e.Message)
	case EffectWrite:
		if e.Offset != int64(c.length()) {
			s.fail("%s v%d: write at %d of a log of %d", x.id, c.volume.id, e.Offset, c.length())
		}
		c.log = append(c.log, e.Bytes...)
		s.logf("%s v%d: write %d..%d", x.id, c.volume.id, e.Offset, c.length())
		c.group.Whole(int64(wholeRecords(c.length())))
		c.persist()
	case EffectCut:
		c.cut(int(e.Offset))
	case EffectReset:
		c.reset(e.Origin)
	case EffectSave:
		s.logf("%s v%d: save %+v complete %d asked %v %v", x.id, c.volume.id, e.Durable.Config, e.Durable.Complete,
			e.Durable.Asked != nil, e.Durable.History)
		c.kept, c.saved = e.Durable, true
		if c.group.role == Primary && !c.volume.within(c) {
			c.volume.excuse(s, c) // it makes the others as short as itself from now on
		}
	case EffectCommit:
		c.commit(int(e.Offset))
	case EffectConfigure:
		s.configure(c, e.Config)
	case EffectReady:
		c.ready()
	}
	return true
}

func (c *simCopy) cut(to int) {
	s := c.server.sim
	s.logf("%s v%d: cut %d -> %d", c.server.id, c.volume.id, c.length(), to)
	if to > c.length() || int64(to) < c.origin.Begin() {
		s.fail("%s v%d: cut to %d of a log of %d, %+v", c.server.id, c.volume.id, to, c.length(), c.origin)
	}
	if to < c.applied {
		if !c.volume.excuse(s, s.byID(c.group.durable.Config.Primary).copies[c.volume.index]) {
			s.fail("I1: %s v%d: cut to %d below the commit point %d", c.server.id, c.volume.id, to, c.applied)
		}
		c.applied, c.kv = int(c.origin.Begin()), [simKeys]uint32{} // the driver reads the volume again
		c.apply(to)
	}
	c.log = c.log[:c.file(to)]
	c.synced = to
	c.group.Whole(int64(wholeRecords(to)))
}

// persist makes what is written durable, after a while.
func (c *simCopy) persist() {
	if c.syncing {
		return
	}
	c.syncing = true
	x := c.server
	s := x.sim
	s.on(x, s.upTo(20*time.Millisecond), func() {
		c.syncing = false
		cuts, length := c.group.cuts, c.length()
		finish := func() {
			if !s.plan.sync && s.rng.IntN(8) > 0 {
				c.do(c.group.Persisted(cuts, int64(length), x.clock()))
				return
			}
			if s.chance(x.broken) {
				s.logf("%s v%d: sync fails", x.id, c.volume.id)
				c.do(c.group.Failed(x.clock()))
				return
			}
			if cuts == c.group.cuts {
				c.synced = max(c.synced, length)
				if length == c.length() && c.group.role != Primary {
					c.do(c.group.AllPersisted(x.clock())) // as servers have it: who has written all that it was sent need not say how much
					return
				}
			}
			c.do(c.group.Persisted(cuts, int64(length), x.clock()))
		}
		s.on(x, s.upTo(20*time.Millisecond), finish)
	})
}

func (c *simCopy) send(to Server, m Message) {
	x := c.server
	s := x.sim
	y := s.byID(to)
	if m.Kind == MsgAppend {
		if m.Offset+m.Size > int64(c.length()) || m.Offset < c.origin.Begin() && m.Size > 0 {
			if c.group.failed {
				return
			}
			s.fail("%s v%d: ships %d+%d of a log of %d, %+v", x.id, c.volume.id, m.Offset, m.Size, c.length(), c.origin)
		}
		if m.Size > 0 {
			m.Bytes = bytes.Clone(c.log[c.file(int(m.Offset)):c.file(int(m.Offset+m.Size))])
		}
	}
	if s.trace != nil {
		s.logf("%s -> %s v%d %s", x.id, to, c.volume.id, describe(&m))
	}
	v := c.volume
	s.transmit(x.index, y.index, func() {
		s.happen(event{server: y, do: func() {
			c := y.copies[v.index]
			if c == nil {
				if m.Kind != MsgSync {
					return
				}
				c = &simCopy{server: y, volume: v, log: make([]byte, LogStart), synced: LogStart, applied: LogStart}
				c.group = NewGroup(v.id, y.id, y.leases, Durable{}, Origin{}, LogStart, false, y.clock())
				y.copies[v.index] = c
			}
			if s.trace != nil {
				s.logf("%s <- %s v%d %s", y.id, x.id, v.id, describe(&m))
			}
			c.do(c.group.Receive(x.id, m, y.clock()))
		}})
	})
}

// commit makes records visible, and settles what waits for them.
func (c *simCopy) commit(to int) {
	s := c.server.sim
	v := c.volume
	s.stats.commits++
	s.logf("%s v%d: commit %d, epoch %d", c.server.id, v.id, to, c.group.durable.Config.Epoch)
	if c.group.role == Primary && to != wholeRecords(to) {
		s.fail("%s v%d: commit of half a record, %d", c.server.id, v.id, to)
	}
	if to > c.length() {
		s.fail("%s v%d: commit %d of a log of %d", c.server.id, v.id, to, c.length())
	}
	to = wholeRecords(to)
	v.committed(s, c, to)
	c.apply(to)
	c.tail = slices.DeleteFunc(c.tail, func(o *simOp) bool {
		if o.start >= to || !c.holds(o) {
			return false
		}
		v.acknowledge(s, c, o)
		return true
	})
}

// holds reports whether an operation is in the log, where it was proposed, or was before it was compacted. Of what was
// proposed at once the beginning may have remained.
func (c *simCopy) holds(o *simOp) bool {
	if o.start < int(c.origin.Floor) {
		return o.at > 0 && o.at < int(c.origin.Floor)
	}
	return o.start+recordSize <= c.length() && c.record(o.start) == o.id
}

func (c *simCopy) apply(to int) {
	for ; c.applied < to; c.applied += recordSize {
		id := c.record(c.applied)
		c.kv[keyOf(id)] = id
	}
}

// notice looks for what the group has come to: a server that was the primary and is in sync again knows what
// became of its proposals.
func (c *simCopy) notice() {
	if c.group.role == Follower && c.group.inSync() {
		c.lost = false
	}
	if len(c.tail) == 0 || c.group.role != Follower || !c.server.up || !c.group.inSync() {
		return
	}
	s := c.server.sim
	c.tail = slices.DeleteFunc(c.tail, func(o *simOp) bool {
		if o.epoch == c.group.durable.Config.Epoch || c.holds(o) {
			return false
		}
		o.settle(s, opRefused)
		return true
	})
}

// ready settles, at the beginning of an epoch, what the primary had to cut: nobody has it.
func (c *simCopy) ready() {
	s := c.server.sim
	c.volume.begun(s, c)
	var again []*simOp
	c.tail = slices.DeleteFunc(c.tail, func(o *simOp) bool {
		if c.holds(o) {
			return false
		}
		again = append(again, o)
		return true
	})
	for _, o := range again {
		switch {
		case o.state != opPending: // the client has gone
		case o.put && c.group.Accepts(true) != nil:
			o.settle(s, opRefused)
		default:
			c.queue = append(c.queue, o)
		}
	}
	c.pump()
}

// pump sees to it that what is queued is proposed.
func (c *simCopy) pump() {
	if c.pumping || len(c.queue) == 0 {
		return
	}
	c.pumping = true
	s := c.server.sim
	s.on(c.server, s.upTo(10*time.Millisecond), c.propose)
}

func (c *simCopy) propose() {
	x := c.server
	s := x.sim
	c.pumping = false
	var batch []byte
	var ops []*simOp
	puts := false
	for _, o := range c.queue {
		if c.group.Accepts(o.put) != nil {
			o.settle(s, opRefused)
			continue
		}
		o.epoch, o.start = c.group.durable.Config.Epoch, c.length()+len(batch)
		batch = appendRecord(batch, o.id)
		ops = append(ops, o)
		puts = puts || o.put
	}
	c.queue = nil
	if len(ops) == 0 {
		return
	}
	offset, effects, err := c.group.Propose(int64(len(batch)), puts, x.clock())
	if err != nil || offset != int64(c.length()) {
		s.fail("%s v%d: proposal at %d of a log of %d: %v", x.id, c.volume.id, offset, c.length(), err)
	}
	c.tail = append(c.tail, ops...)
	if s.chance(x.broken) {
		s.logf("%s v%d: write fails", x.id, c.volume.id)
		c.do(c.group.Failed(x.clock()))
		return
	}
	c.log = append(c.log, batch...)
	s.logf("%s v%d: propose %d..%d %v", x.id, c.volume.id, offset, c.length(), ops)
	c.persist()
	c.do(effects)
	if x.up && s.rng.IntN(2) == 0 {
		s.on(x, s.upTo(50*time.Millisecond), func() { c.do(c.group.Idle()) })
	}
}
