package replication

import (
	"bytes"
	"hash/crc32"
	"slices"
)

// Offsets of a simulated log do not change when it is compacted; its file is shorter, as that of servers.

func (c *simCopy) length() int         { return len(c.log) + int(c.origin.Skipped) }
func (c *simCopy) file(offset int) int { return offset - int(c.origin.Skipped) }
func (c *simCopy) record(at int) uint32 {
	return recordAt(c.log, c.file(at))
}

// live returns the records, of a log's beginning, that neither were replaced there nor are deletes.
func (v *simVolume) live(records []byte) (kept []byte) {
	var newest [simKeys]uint32
	for at := 0; at < len(records); at += recordSize {
		id := recordAt(records, at)
		newest[keyOf(id)] = id
	}
	for at := 0; at < len(records); at += recordSize {
		if id := recordAt(records, at); newest[keyOf(id)] == id && v.ops[id-1].put {
			kept = append(kept, records[at:at+recordSize]...)
		}
	}
	return kept
}

// equal reports whether a copy has what was committed between two offsets. Of what lies below where it was compacted it
// is to have what was live there, as a whole.
func (v *simVolume) equal(c *simCopy, from, to int) bool {
	floor := int(c.origin.Floor)
	if from < floor {
		if to < floor {
			return true // on its way to be the whole
		}
		if !bytes.Equal(c.log[LogStart:c.file(floor)], v.live(v.truth[LogStart:floor])) {
			return false
		}
		from = floor
	}
	return from >= to || bytes.Equal(c.log[c.file(from):c.file(to)], v.truth[from:to])
}

// deletedBelow returns the offset of the delete of a key that a log lacks which was compacted up to floor; 0 if it does
// not lack one.
func (v *simVolume) deletedBelow(key, floor int) int {
	for at := min(floor, len(v.truth)) - recordSize; at >= LogStart; at -= recordSize {
		if id := recordAt(v.truth, at); keyOf(id) == key {
			if v.ops[id-1].put {
				return 0
			}
			return at
		}
	}
	return 0
}

// vacuum has the primary compact its copy. The masters hear of it, or not.
func (s *sim) vacuum(c *simCopy) {
	v := c.volume
	floor := c.group.committed
	if floor <= max(c.origin.Floor, LogStart) || c.group.role != Primary || c.group.MayCompact(floor) != nil {
		return
	}
	o := c.compacted(Origin{Revision: max(v.origin.Revision, c.origin.Revision) + 1, Floor: floor})
	c.replace(o)
	if s.rng.IntN(4) > 0 {
		v.heardOf(c)
	}
}

// follow has a server's copy compacted as another one was, or lets the masters know that it is.
func (s *sim) follow(v *simVolume, x *simServer) {
	c := x.copies[v.index]
	if !x.up || x.paused > s.now || c == nil || !v.config.Has(x.id) {
		return
	}
	v.heardOf(c)
	if o := v.origin; c.origin != o && c.group.MayCompact(o.Floor) == nil {
		if here := c.compacted(o); here != o {
			if !v.excused {
				s.fail("I2: %s v%d: compacted it is %+v, not %+v", x.id, v.id, here, o)
			}
			return
		}
		c.replace(o)
	}
}

// heardOf tells the masters of a copy's origin. The later of two goes up to the higher floor.
func (v *simVolume) heardOf(c *simCopy) {
	if c.group.inSync() && (c.origin.Floor > v.origin.Floor || c.origin.Floor == v.origin.Floor && c.origin.Revision > v.origin.Revision) {
		v.origin = c.origin
	}
}

// compacted returns the origin that a copy will have when it is compacted up to o.Floor.
func (c *simCopy) compacted(o Origin) Origin {
	kept := c.volume.live(c.log[LogStart:c.file(int(o.Floor))])
	o.Skipped = o.Floor - LogStart - int64(len(kept))
	o.Sum = crc32.ChecksumIEEE(kept)
	return o
}

// replace compacts a copy, durably.
func (c *simCopy) replace(o Origin) {
	s := c.server.sim
	s.stats.vacuumed++
	s.logf("%s v%d: compacts %d bytes: %+v", c.server.id, c.volume.id, len(c.log), o)
	floor := c.file(int(o.Floor))
	kept := c.volume.live(c.log[LogStart:floor])
	c.log = slices.Concat(c.log[:LogStart], kept, c.log[floor:])
	c.origin = o
	c.synced = c.length()
	c.group.Compacted(o)
}

// reset begins the log anew. What becomes of what was proposed here nobody knows.
func (c *simCopy) reset(o Origin) {
	s := c.server.sim
	s.stats.resets++
	c.resets++
	s.logf("%s v%d: begins anew with %+v", c.server.id, c.volume.id, o)
	if c.volume.within(c) && c.group.role == Primary {
		s.fail("%s v%d: the primary gives up its log", c.server.id, c.volume.id)
	}
	c.log, c.origin = c.log[:LogStart:LogStart], o
	c.applied, c.kv, c.synced = c.length(), [simKeys]uint32{}, c.length()
	for _, op := range c.tail {
		op.settle(s, opUnknown)
	}
	c.tail = nil
	c.group.Whole(int64(c.length()))
}
