package state

import (
	"cmp"

	"weed/internal/blob"
)

// index finds the volumes that have something in common by that. Keys without volumes are not in it.
type index[K cmp.Ordered] struct {
	shelves tree[K, *shelf[K]]
}

// shelf is the volumes of one key. It keeps the key, so that all its volumes can share one string.
type shelf[K cmp.Ordered] struct {
	edit uint64 // under which it may be changed in place
	key  K
	ids  idSet
}

// own returns the shelf of a key as one that may be changed.
func (x *index[K]) own(edit uint64, key K) *shelf[K] {
	s, ok := x.shelves.get(key)
	switch {
	case !ok:
		s = &shelf[K]{edit: edit, key: key}
	case s.edit == edit:
		return s
	default:
		s = &shelf[K]{edit, s.key, s.ids}
	}
	x.shelves.set(edit, s.key, s)
	return s
}

// add puts a volume under a key and returns the key as it was first given.
func (x *index[K]) add(edit uint64, key K, id blob.VolumeID) K {
	s := x.own(edit, key)
	s.ids.set(edit, id, struct{}{})
	return s.key
}

// remove takes a volume from under a key.
func (x *index[K]) remove(edit uint64, key K, id blob.VolumeID) {
	s := x.own(edit, key)
	if s.ids.delete(edit, id); s.ids.len == 0 {
		x.shelves.delete(edit, key)
	}
}

// ids returns the volumes under a key.
func (x *index[K]) ids(key K) *idSet {
	if s, ok := x.shelves.get(key); ok {
		return &s.ids
	}
	return &idSet{}
}
