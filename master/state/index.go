package state

import (
	"cmp"

	"weed/internal/blob"
)

// index finds the volumes that have something in common by that. Keys without volumes are not in it.
type index[K cmp.Ordered] struct {
	sets tree[K, shelf[K]]
}

// shelf is the volumes of one key. It keeps the key, so that all its volumes can share one string.
type shelf[K cmp.Ordered] struct {
	key K
	ids idSet
}

// add puts a volume under a key and returns the key as it was first given.
func (x *index[K]) add(edit uint64, key K, id blob.VolumeID) K {
	s, ok := x.sets.get(key)
	if !ok {
		s.key = key
	}
	s.ids.set(edit, id, struct{}{})
	x.sets.set(edit, s.key, s)
	return s.key
}

// remove takes a volume from under a key.
func (x *index[K]) remove(edit uint64, key K, id blob.VolumeID) {
	s, _ := x.sets.get(key)
	s.ids.delete(edit, id)
	if s.ids.len == 0 {
		x.sets.delete(edit, key)
		return
	}
	x.sets.set(edit, s.key, s)
}

// ids returns the volumes under a key.
func (x *index[K]) ids(key K) *idSet {
	s, _ := x.sets.get(key)
	return &s.ids
}
