package replication

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"weed/internal/blob"
)

type volumeID = blob.VolumeID

const (
	simKeys    = 3 // blobs of a volume
	recordSize = 8
)

// A record is the number of an operation, twice: so a torn one is not taken for whole. The operation's key
// follows from its number.
func appendRecord(to []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(to, id), ^id)
}

// recordAt returns the number in the record at an offset; 0 if there is none.
func recordAt(log []byte, at int) uint32 {
	id := binary.BigEndian.Uint32(log[at:])
	if binary.BigEndian.Uint32(log[at+4:]) != ^id {
		return 0
	}
	return id
}

func keyOf(id uint32) int { return int(id % simKeys) }

func wholeRecords(length int) int { return length / recordSize * recordSize }

// opState is what a client knows of its operation.
type opState uint8

const (
	opPending opState = iota
	opAcked
	opRefused // with an error: it must never have happened
	opUnknown // it may have happened, or happen yet
)

// simOp is a put, or a delete.
type simOp struct {
	id    uint32
	put   bool
	state opState
	at    int // its record's offset once it is committed, before 0

	// Of the latest proposal.
	epoch uint64
	start int
}

func (o *simOp) String() string {
	return fmt.Sprintf("%s%d(k%d)", map[bool]string{true: "put", false: "del"}[o.put], o.id, keyOf(o.id))
}

// settle tells the client.
func (o *simOp) settle(s *sim, state opState) {
	if o.state != opPending {
		return
	}
	o.state = state
	s.open--
	s.logf("client: %v %s", o, [...]string{"pending", "acknowledged", "refused", "unknown"}[state])
	switch state {
	case opRefused:
		s.stats.refused++
		if o.at > 0 {
			s.fail("I4: %v is refused, and committed", o)
		}
	case opUnknown:
		s.stats.unknown++
	}
}

// simVolume is a volume: what the masters know, and what must hold.
type simVolume struct {
	index  int
	id     volumeID
	config Config // as the masters have it
	origin Origin // that of the last compaction of which they know

	ops        []*simOp          // by number - 1
	truth      []byte            // what was committed by anybody; it is for ever
	floor      [simKeys]int      // offset of the newest record of a key that a client knows of
	primary    map[uint64]string // by the epochs that have begun
	begunEpoch uint64            // the latest of them
	suspect    bool              // a server has become primary that had lost something and had not got it back
	excused    bool              // a server that lost what it had not synced has become primary without the others
}

// committed takes a server's word that its log is committed up to an offset (I1, I2, I4).
func (v *simVolume) committed(s *sim, c *simCopy, to int) {
	if v.excused {
		return
	}
	if len(v.truth) == 0 {
		v.truth = make([]byte, LogStart)
	}
	if !v.equal(c, c.applied, min(to, len(v.truth))) {
		if v.suspect { // one of two primaries had acknowledged to the other what it has lost
			v.excused = true
			s.stats.excused++
			return
		}
		s.fail("I2: %s v%d: what it commits from %d to %d is not what was committed before", c.server.id, v.id, c.applied, to)
	}
	for at := len(v.truth); at < to; at += recordSize {
		id := c.record(at)
		if id == 0 || int(id) > len(v.ops) {
			s.fail("%s v%d: no record at %d", c.server.id, v.id, at)
		}
		o := v.ops[id-1]
		switch {
		case o.state == opRefused:
			s.fail("I4: %s v%d: %v was refused, and is committed at %d", c.server.id, v.id, o, at)
		case o.at > 0:
			s.fail("%s v%d: %v is committed at %d and at %d", c.server.id, v.id, o, o.at, at)
		}
		o.at = at
		v.truth = append(v.truth, c.log[c.file(at):c.file(at+recordSize)]...)
	}
}

// acknowledge is the end of an operation that has succeeded (I1).
func (v *simVolume) acknowledge(s *sim, c *simCopy, o *simOp) {
	if o.state == opRefused && !v.excused {
		s.fail("I4: %s v%d: %v succeeds after it was refused", c.server.id, v.id, o)
	}
	if o.state != opPending {
		return
	}
	if g := c.group.durable.Config; o.put && o.epoch != g.Epoch && len(g.Members) < g.Copies {
		o.settle(s, opUnknown) // a later epoch keeps it, but not with every copy
		return
	}
	o.settle(s, opAcked)
	s.stats.acked++
	if v.excused {
		return
	}
	v.floor[keyOf(o.id)] = max(v.floor[keyOf(o.id)], o.at)
	if !o.put {
		return
	}
	copies := 0
	for _, x := range s.servers {
		if other := x.copies[v.index]; other != nil && (other.holds(o) || other.lost) {
			copies++
		}
	}
	if copies < v.config.Copies {
		s.fail("%s v%d: %v is acknowledged with %d copies", c.server.id, v.id, o, copies)
	}
}

// begun checks the log with which a primary begins an epoch (I1).
func (v *simVolume) begun(s *sim, c *simCopy) {
	epoch := c.group.durable.Config.Epoch
	s.stats.epochs++
	s.logf("%s v%d: ready, epoch %d", c.server.id, v.id, epoch)
	if v.primary == nil {
		v.primary = map[uint64]string{}
	}
	me := fmt.Sprint(c.server.id, c.server.life)
	if other := v.primary[epoch]; other != "" {
		s.fail("v%d: epoch %d has two primaries, %s and %s", v.id, epoch, other, me)
	}
	v.primary[epoch] = me
	if epoch < v.begunEpoch { // the news of what its members had said come late: it can commit nothing any more
		return
	}
	v.begunEpoch = epoch
	v.suspect = v.suspect || c.lost
	if !v.within(c) && !v.excuse(s, c) {
		s.fail("I1: %s v%d: begins epoch %d with %d bytes and not the %d bytes that were committed",
			c.server.id, v.id, epoch, c.length(), len(v.truth))
	}
}

// within reports whether a copy's log has all that was committed.
func (v *simVolume) within(c *simCopy) bool {
	return c.length() >= len(v.truth) && v.equal(c, int(c.origin.Begin()), len(v.truth))
}

// excuse reports whether a primary may lack what was committed: it has lost what it had not synced. From then on
// nothing is checked but that the volume settles.
func (v *simVolume) excuse(s *sim, primary *simCopy) bool {
	if !v.excused && primary != nil && primary.lost {
		v.excused = true
		s.stats.excused++
		s.logf("v%d: what was not synced is lost", v.id)
	}
	return v.excused
}

// client issues operations on a volume, one after the other in time, without waiting for what becomes of them.
func (s *sim) client(v *simVolume) {
	if s.calm {
		return
	}
	x := s.servers[s.rng.IntN(len(s.servers))]
	if s.rng.IntN(2) == 0 {
		s.read(x, v)
	} else {
		if p := s.byID(v.config.Primary); s.rng.IntN(4) > 0 {
			x = p
		}
		for range 1 + s.rng.IntN(3) {
			s.write(x, v, s.rng.IntN(4) > 0)
		}
	}
	s.after(s.upTo(2*s.plan.think), func() { s.client(v) })
}

// write brings a put or a delete to a server. If that isn't there, nothing has happened.
func (s *sim) write(x *simServer, v *simVolume, put bool) *simOp {
	c := x.copies[v.index]
	if !x.up || c == nil || x.paused > s.now {
		return nil
	}
	o := &simOp{id: uint32(len(v.ops)) + 1, put: put}
	v.ops = append(v.ops, o)
	s.open++
	c.queue = append(c.queue, o)
	c.pump()
	s.after(3*simLease, func() { o.settle(s, opUnknown) })
	return o
}

// simRead is a read of a key at a server, under way.
type simRead struct {
	c     *simCopy
	key   int
	floor int // what the client knew of before
	until time.Duration
	ready bool // the server was entitled to answer when it began to look
	begun int  // resets of the copy by then
}

func (s *sim) read(x *simServer, v *simVolume) {
	c := x.copies[v.index]
	if !x.up || c == nil {
		return
	}
	key := s.rng.IntN(simKeys)
	r := &simRead{c: c, key: key, floor: v.floor[key], until: s.now + simLease}
	s.open++
	c.reads = append(c.reads, r)
	if x.paused > s.now {
		s.on(x, 0, func() { r.attempt(s) })
	} else {
		r.attempt(s)
	}
}

// attempt goes on with a read: first the server must be entitled to answer, and then have no entry of the key
// of which it does not know the outcome.
func (r *simRead) attempt(s *sim) {
	c, v := r.c, r.c.volume
	x := c.server
	if s.now > r.until {
		s.stats.timeouts++
		r.end(s)
		return
	}
	if !r.ready && c.group.Readable(x.clock()) {
		r.ready, r.begun = true, c.resets
		s.logf("client: may read k%d at %s v%d, asked since %v", r.key, x.id, v.id, r.until-simLease)
		if s.rng.IntN(2) == 0 { // the lookup comes later
			s.on(x, s.upTo(simLease/4), func() { r.attempt(s) })
			return
		}
	}
	r.ready = r.ready && c.resets == r.begun // else the log may lack anything
	if !r.ready || c.pendingEntry(r.key) {
		s.on(x, 20*time.Millisecond+s.upTo(simLease/12), func() { r.attempt(s) })
		return
	}
	id := c.kv[r.key]
	s.stats.reads++
	r.end(s)
	if v.excused {
		return
	}
	at := 0
	if id != 0 {
		at = v.ops[id-1].at
	} else {
		at = v.deletedBelow(r.key, int(c.origin.Floor))
	}
	s.logf("client: reads k%d at %s v%d: operation %d at %d", r.key, x.id, v.id, id, at)
	if at < r.floor && !v.excuse(s, c) && !v.excuse(s, s.byID(c.group.durable.Config.Primary).copies[v.index]) {
		s.fail("I3: %s v%d: reads k%d as operation %d at %d wrote it, with one at %d known before", x.id, v.id,
			r.key, id, at, r.floor)
	}
	if !v.excused {
		v.floor[r.key] = max(v.floor[r.key], at)
	}
}

func (r *simRead) end(s *sim) {
	c := r.c
	c.reads = slices.DeleteFunc(c.reads, func(other *simRead) bool { return other == r })
	s.open--
}

// pendingEntry reports whether the log has an entry of a key behind what is committed.
func (c *simCopy) pendingEntry(key int) bool {
	for at := c.applied; at < wholeRecords(c.length()); at += recordSize {
		if keyOf(c.record(at)) == key {
			return true
		}
	}
	return false
}

// settled reports whether all is as it should be after a time without faults.
func (s *sim) settled() bool { return s.unsettled() == "" }

// unsettled says what is not.
func (s *sim) unsettled() string {
	if s.open > 0 {
		return fmt.Sprintf("%d operations of clients are open", s.open)
	}
	for _, v := range s.volumes {
		p := s.byID(v.config.Primary).copies[v.index]
		if p == nil || p.group.durable.Config.Epoch != v.config.Epoch {
			return fmt.Sprintf("v%d: its primary %s does not know of %+v", v.id, v.config.Primary, v.config)
		}
		if err := p.group.Accepts(true); err != nil {
			return fmt.Sprintf("v%d %+v: %v; primary %s", v.id, v.config, err, p.describe())
		}
		for _, m := range v.config.Members {
			x := s.byID(m)
			c := x.copies[v.index]
			if !c.group.Readable(x.clock()) || c.applied != c.length() || c.length() != p.length() {
				return fmt.Sprintf("v%d %+v: %s is not in sync: %s; primary %s", v.id, v.config, m, c.describe(), p.describe())
			}
			if c.origin != v.origin && !v.excused {
				return fmt.Sprintf("v%d: %s is not compacted as others are, %+v: %s", v.id, m, v.origin, c.describe())
			}
		}
	}
	return ""
}

// compare compares the copies, and what each shows with what was committed.
func (s *sim) compare() {
	for _, v := range s.volumes {
		p := s.byID(v.config.Primary).copies[v.index]
		for _, m := range v.config.Members {
			c := s.byID(m).copies[v.index]
			if v.excused && c.origin != p.origin {
				continue
			}
			if !bytes.Equal(c.log, p.log) || c.origin != p.origin || c.kv != p.kv && p.origin.Floor == 0 {
				s.fail("I2: v%d: %s and %s differ", v.id, m, v.config.Primary)
			}
		}
		if v.truth != nil && !v.excused && (len(v.truth) != p.length() || !v.within(p)) {
			s.fail("I1: v%d: %s has not what was committed", v.id, v.config.Primary)
		}
	}
}

func (c *simCopy) describe() string {
	g := c.group
	return fmt.Sprintf("role %d active %v aligned %v returning %v failed %v length %d persisted %d committed %d "+
		"serveFrom %d log %d applied %d config %+v complete %v history %v asking %+v", g.role, g.active, g.aligned,
		g.returning, g.failed, g.length, g.persisted, g.committed, g.serveFrom, c.length(), c.applied,
		g.durable.Config, g.complete(), g.durable.History, g.asking) + fmt.Sprintf(" origin %+v", c.origin)
}

func describe(m *Message) string {
	names := [...]string{"", "config", "hello", "sync", "report", "align", "append", "ack", "gap", "resign", "query"}
	text := fmt.Sprintf("%s e%d round %d life %d", names[m.Kind], m.Epoch, m.Round, m.Life>>20)
	if m.Config != nil {
		text += fmt.Sprintf(" %+v", *m.Config)
	}
	if m.Origin != nil {
		text += fmt.Sprintf(" origin %+v", *m.Origin)
	}
	return text + fmt.Sprintf(" offset %d size %d length %d committed %d complete %d %v", m.Offset, m.Size, m.Length,
		m.Committed, m.Complete, m.History)
}
