package index

import (
	"sync/atomic"

	"weed/internal/blob"
)

// Location says where a live needle lies.
type Location struct {
	// Offset is the needle's position in the .dat file in units of 8 bytes. It is never 0 for a live
	// needle: the superblock is there.
	Offset uint32
	// Size is the needle's size field, its body in bytes. Live needles of size 0 exist in volumes that
	// others wrote.
	Size uint32
}

// The states that a word of a Location cannot take, since its offset is not 0.
const (
	absent  uint64 = 0
	deleted uint64 = 1
)

func (l Location) word() uint64 { return uint64(l.Offset)<<32 | uint64(l.Size) }

func fromWord(word uint64) (Location, bool) {
	if word <= deleted {
		return Location{}, false
	}
	return Location{Offset: uint32(word >> 32), Size: uint32(word)}, true
}

// Map is the index of one volume: key to Location. Use New.
type Map struct {
	root   atomic.Pointer[root]
	live   atomic.Int64
	maxKey atomic.Uint64
	bytes  atomic.Int64
}

const mapBytes = 32 // of the struct

// New returns an empty Map. It takes about 200 bytes.
func New() *Map {
	m := new(Map)
	r, s := newRoot(1), new(section)
	r.sections[0].Store(s)
	m.root.Store(r)
	m.bytes.Store(mapBytes + r.bytes() + s.bytes())
	return m
}

// Get returns where the needle of key lies; false if there is none. It never blocks nor allocates, and
// any number of goroutines may call it, also while another one writes.
func (m *Map) Get(key blob.Key) (Location, bool) {
	r := m.root.Load()
	s := r.sections[r.find(uint64(key))].Load()
	if d := s.delta.Load(); d != nil {
		if _, _, word := d.find(uint64(key)); word != absent {
			return fromWord(word)
		}
	}
	return fromWord(s.get(uint64(key)))
}

// Put records the needle of key at loc and returns what it replaces, if the key was live. An Offset of 0
// deletes, as it does in the .idx file. At most one goroutine may write (Put, Delete) at a time.
func (m *Map) Put(key blob.Key, loc Location) (old Location, replaced bool) {
	if loc.Offset == 0 {
		return m.Delete(key)
	}
	if uint64(key) > m.maxKey.Load() && key <= blob.MaxKey {
		m.maxKey.Store(uint64(key))
	}
	old, replaced = fromWord(m.write(uint64(key), loc.word()))
	if !replaced {
		m.live.Add(1)
	}
	return old, replaced
}

// Delete forgets key and returns where its needle was; false if there was none. At most one goroutine
// may write (Put, Delete) at a time.
func (m *Map) Delete(key blob.Key) (old Location, ok bool) {
	old, ok = fromWord(m.write(uint64(key), deleted))
	if ok {
		m.live.Add(-1)
	}
	return old, ok
}

// Len returns the number of live needles.
func (m *Map) Len() int { return int(m.live.Load()) }

// MaxKey returns the highest key up to blob.MaxKey ever put, deleted since or not; 0 if there was none.
func (m *Map) MaxKey() blob.Key { return blob.Key(m.maxKey.Load()) }

// Bytes returns the memory that the Map holds, with unused room and the allocator's rounding, without
// what the garbage collector has yet to free.
func (m *Map) Bytes() int64 { return m.bytes.Load() }

// write sets the word of key, deleted to delete it, and returns the one before (absent or deleted if
// the key was not live).
func (m *Map) write(key, word uint64) (old uint64) {
	r := m.root.Load()
	i := r.find(key)
	s := r.sections[i].Load()
	d := s.delta.Load()
	if d != nil {
		slot, _, old := d.find(key)
		if old != absent {
			slot.word.Store(word)
			return old
		}
	}
	old = s.get(key)
	if old == word || old == absent && word == deleted {
		return old
	}
	if d.full() {
		m.bytes.Add(-d.bytes())
		d = d.grown()
		m.bytes.Add(d.bytes())
		d.insert(key, word)
		s.delta.Store(d)
	} else {
		d.insert(key, word)
	}
	if d.len() >= deltaLimit(r, s) {
		m.merge(r, i)
	}
	return old
}

// deltaLimit returns how many entries a section's delta gathers before they are merged. Small maps pack
// early, as servers hold thousands of them.
func deltaLimit(r *root, s *section) int {
	if len(r.bounds) > 1 {
		return maxDelta
	}
	return max(minSlots*3/4, min(s.n/16, maxDelta))
}
