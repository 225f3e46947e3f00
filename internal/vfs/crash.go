package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Loss says what a crash does with what was not durable.
type Loss uint8

const (
	// LoseNothing keeps all of it, as kill -9 of the process does.
	LoseNothing Loss = iota
	// LoseUnsynced drops all of it: the latest that a power cut may take.
	LoseUnsynced
	// LoseSome draws what a power cut leaves. Of a directory's changes of names, those up to a point stay.
	// Of a file's writes and truncations all stay, none stay, those up to a point stay and the next is
	// torn, or each for itself is kept, dropped, torn in sectors of 512 or 4096 bytes, or leaves zeros in
	// a file as long as if it had happened.
	LoseSome
)

// Crash ends this disk's life and returns what is left of it: a disk without faults, locks or open files,
// whose operations count from 1. Whatever still uses the old disk or its files gets fs.ErrClosed. rng is
// used by LoseSome only; the same sequence of it gives the same disk.
func (m *Mem) Crash(loss Loss, rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
	return m.image(loss, rng)
}

// Image returns what Crash would, and lets this disk live on, so that a test can look at many crashes of
// one moment.
func (m *Mem) Image(loss Loss, rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.image(loss, rng)
}

func (m *Mem) image(loss Loss, rng *rand.Rand) *Mem {
	after := NewMem()
	after.capacity = m.capacity
	survivors := map[*node]*node{}
	after.root = m.root.survive(loss, rng, survivors)
	for _, n := range survivors {
		after.used += uint64(n.now.size)
	}
	return after
}

// survive returns the node as the crash leaves it, and everything under it. survivors holds what was done
// already: after a rename between directories that a crash parted, a file may have two names.
func (n *node) survive(loss Loss, rng *rand.Rand, survivors map[*node]*node) *node {
	if s := survivors[n]; s != nil {
		return s
	}
	s := &node{mode: n.mode, modTime: n.modTime}
	survivors[n] = s
	if n.entries == nil {
		s.base = n.surviveBytes(loss, rng)
		s.now = s.base.clone()
		return s
	}
	left := maps.Clone(n.durable)
	keep := 0
	switch loss {
	case LoseNothing:
		keep = len(n.unsynced)
	case LoseSome:
		keep = rng.IntN(len(n.unsynced) + 1)
	}
	for _, c := range n.unsynced[:keep] {
		c.apply(left)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) { // in order, so that rng is used in order
		child := left[name].survive(loss, rng, survivors)
		child.names++
		left[name] = child
	}
	s.entries, s.durable = left, maps.Clone(left)
	return s
}

// surviveBytes returns the file's bytes as the crash leaves them.
func (n *node) surviveBytes(loss Loss, rng *rand.Rand) content {
	if loss == LoseNothing {
		return n.now.clone()
	}
	left := n.base.clone()
	fateOf := func(int) fate { return drop }
	if loss == LoseSome {
		fateOf = drawFates(len(n.changes), rng)
	}
	for i, c := range n.changes {
		if c.state == synced {
			c.apply(&left)
			continue
		}
		switch f := fateOf(i); {
		case f == drop:
		case f == keep || c.kind != changeBytes:
			c.apply(&left)
		default:
			c.applyTorn(&left, f, rng)
		}
	}
	return left
}

// fate is what becomes of one unsynced write. A truncation that is not dropped is kept.
type fate uint8

const (
	drop fate = iota
	keep
	torn      // some of its sectors
	sizeAlone // the size of the file, but no byte
)

// drawFates returns the fates of a file's n changes. Whole files that are kept or lost, and writes that
// reach the disk in order, are drawn more often than independent fates would make them.
func drawFates(n int, rng *rand.Rand) func(i int) fate {
	switch rng.IntN(4) {
	case 0:
		return func(int) fate { return drop }
	case 1:
		return func(int) fate { return keep }
	case 2:
		cut, last := rng.IntN(n+1), fate(rng.IntN(4))
		return func(i int) fate {
			switch {
			case i < cut:
				return keep
			case i == cut:
				return last
			}
			return drop
		}
	}
	return func(int) fate { return fate(rng.IntN(4)) }
}

// applyTorn writes each sector of c or not, and makes the file as long as c did, or only as long as the
// sectors that were written need.
func (c change) applyTorn(to *content, f fate, rng *rand.Rand) {
	end := c.offset + int64(len(c.data))
	if f == sizeAlone {
		to.size = max(to.size, end)
		return
	}
	sector := int64(512)
	if rng.IntN(2) == 0 {
		sector = 4096
	}
	for at := c.offset; at < end; {
		next := min(end, at/sector*sector+sector)
		if rng.IntN(2) == 0 {
			to.writeAt(c.data[at-c.offset:next-c.offset], at)
		}
		at = next
	}
	if rng.IntN(2) == 0 {
		to.size = max(to.size, end)
	}
}
