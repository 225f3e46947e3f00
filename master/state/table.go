package state

import (
	"iter"
	"sync/atomic"

	"weed/internal/blob"
)

// pageSlots is the number of slots of a page: one byte of a volume id.
const pageSlots = 256

// page is one node of the table of volumes. It is read without a lock while its owner changes it; a page
// whose edit number is not the current one belongs to a view as well and never changes again.
type page[T any] struct {
	edit  uint64
	slots [pageSlots]atomic.Pointer[T]
}

// table finds a volume by its id in four steps, one per byte, the highest first. Ids are given out in
// ascending order, so the pages are nearly full: 8 bytes a volume. Pages that deletions have emptied stay until
// the process starts anew. nil is an empty table.
type table = page[page[page[page[Volume]]]]

// at returns what lies in the slot of an id, nil for nothing.
func (p *page[T]) at(id blob.VolumeID, shift uint) *T {
	if p == nil {
		return nil
	}
	return p.slots[uint8(id>>shift)].Load()
}

// find returns the volume of an id, nil if there is none.
func find(t *table, id blob.VolumeID) *Volume {
	return t.at(id, 24).at(id, 16).at(id, 8).at(id, 0)
}

// place puts a volume, or nil for none, into the slot of an id and returns the table's root, which may be
// a new one.
func place(t *table, edit uint64, id blob.VolumeID, v *Volume) *table {
	t = t.own(edit)
	leaf := ownAt(ownAt(ownAt(t, edit, id, 24), edit, id, 16), edit, id, 8)
	leaf.slots[uint8(id)].Store(v)
	return t
}

// own returns a page that may be changed under the edit number: itself, a copy, or an empty one.
func (p *page[T]) own(edit uint64) *page[T] {
	if p != nil && p.edit == edit {
		return p
	}
	c := &page[T]{edit: edit}
	if p != nil {
		for i := range p.slots {
			if kid := p.slots[i].Load(); kid != nil {
				c.slots[i].Store(kid)
			}
		}
	}
	return c
}

// ownAt makes the page in the slot of an id one that may be changed.
func ownAt[T any](parent *page[page[T]], edit uint64, id blob.VolumeID, shift uint) *page[T] {
	slot := &parent.slots[uint8(id>>shift)]
	kid := slot.Load()
	owned := kid.own(edit)
	if owned != kid {
		slot.Store(owned)
	}
	return owned
}

// filled yields what lies in the slots that are not empty.
func (p *page[T]) filled() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if p == nil {
			return
		}
		for i := range p.slots {
			if kid := p.slots[i].Load(); kid != nil && !yield(kid) {
				return
			}
		}
	}
}

// eachVolume yields the volumes of a table by id.
func eachVolume(t *table) iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) {
		for a := range t.filled() {
			for b := range a.filled() {
				for leaf := range b.filled() {
					for v := range leaf.filled() {
						if !yield(v) {
							return
						}
					}
				}
			}
		}
	}
}

// differing yields what lies in those slots of two pages, either of them nil for empty, that are not the
// same: what the older page has, what the newer one has.
func differing[T any](older, newer *page[T]) iter.Seq2[*T, *T] {
	return func(yield func(*T, *T) bool) {
		if older == newer {
			return
		}
		for i := range blob.VolumeID(pageSlots) {
			if a, b := older.at(i, 0), newer.at(i, 0); a != b && !yield(a, b) {
				return
			}
		}
	}
}

// eachChange yields the volumes in which two tables differ by id, nil where one has none. Pages that the
// tables share are not looked into.
func eachChange(older, newer *table) iter.Seq2[*Volume, *Volume] {
	return func(yield func(before, after *Volume) bool) {
		for a, a2 := range differing(older, newer) {
			for b, b2 := range differing(a, a2) {
				for leaf, leaf2 := range differing(b, b2) {
					for before, after := range differing(leaf, leaf2) {
						if !yield(before, after) {
							return
						}
					}
				}
			}
		}
	}
}
