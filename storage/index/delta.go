package index

import (
	"cmp"
	"slices"
	"sync/atomic"
)

const (
	minSlots = 16
	maxSlots = 128
	maxDelta = maxSlots * 3 / 4 // entries of a delta before it is merged
)

// delta is what was written to a section since it was packed: a hash table with linear probing, at most
// three quarters full, that grows by being copied. One writer fills it while any number of readers probe it:
// a slot's key is stored before its word, a word once set never returns to absent, and a key never
// changes while its word is set.
type delta struct {
	slots []slot
	shift uint8   // 64 - log2(len(slots))
	order []uint8 // slot numbers in order of arrival; the writer's alone
}

type slot struct{ key, word atomic.Uint64 }

func newDelta(slots int) *delta {
	d := &delta{slots: make([]slot, slots), order: make([]uint8, 0, slots*3/4), shift: 64}
	for n := slots; n > 1; n >>= 1 {
		d.shift--
	}
	return d
}

// bytes is the memory of a delta with that many slots: the struct, the slots and the order.
func (d *delta) bytes() int64 {
	if d == nil {
		return 0
	}
	return 64 + 16*int64(len(d.slots)) + int64(cap(d.order)+7)&^7
}

func (d *delta) len() int {
	if d == nil {
		return 0
	}
	return len(d.order)
}

func (d *delta) full() bool { return d == nil || len(d.order) == cap(d.order) }

// find returns the slot of key, or the free one where it belongs, and the word that it holds.
func (d *delta) find(key uint64) (*slot, int, uint64) {
	mask := len(d.slots) - 1
	for i := int(key * 0x9E3779B97F4A7C15 >> d.shift); ; i = (i + 1) & mask {
		s := &d.slots[i]
		word := s.word.Load()
		if word == absent || s.key.Load() == key {
			return s, i, word
		}
	}
}

// insert adds a key that is not there. The delta must not be full.
func (d *delta) insert(key, word uint64) {
	s, i, _ := d.find(key)
	s.key.Store(key)
	s.word.Store(word)
	d.order = append(d.order, uint8(i))
}

// grown returns a delta with the same entries and twice the slots. d may be nil.
func (d *delta) grown() *delta {
	if d == nil {
		return newDelta(minSlots)
	}
	g := newDelta(2 * len(d.slots))
	for _, i := range d.order {
		g.insert(d.slots[i].key.Load(), d.slots[i].word.Load())
	}
	return g
}

// appendSorted appends the entries, deletions too, in key order. Only the writer may call it.
func (d *delta) appendSorted(dst []entry) []entry {
	if d == nil {
		return dst
	}
	for _, i := range d.order {
		dst = append(dst, entry{d.slots[i].key.Load(), d.slots[i].word.Load()})
	}
	sortByKey(dst)
	return dst
}

// appendSnapshot does the same for readers.
func (d *delta) appendSnapshot(dst []entry) []entry {
	if d == nil {
		return dst
	}
	for i := range d.slots {
		if word := d.slots[i].word.Load(); word != absent {
			dst = append(dst, entry{d.slots[i].key.Load(), word})
		}
	}
	sortByKey(dst)
	return dst
}

func sortByKey(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
}
