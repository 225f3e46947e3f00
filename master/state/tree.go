package state

import (
	"cmp"
	"slices"

	"weed/internal/blob"
)

// treeWidth is the most keys, or children, that one node of a tree has.
const treeWidth = 128

// tree is an ordered map that can be frozen at no cost: a B+ tree that copies a node before it changes it
// for the first time under an edit number. Whoever copies the tree struct and then goes on under a higher
// number has two trees that share what neither has changed. The zero value is empty.
type tree[K cmp.Ordered, V any] struct {
	root *node[K, V]
	len  int
}

// node is a leaf, with one value per key, or an inner node, with one child per key: keys[i] is at most the
// first key under kids[i] and above the last one under kids[i-1]. No node is empty between two changes. Nodes are
// not merged when they get thin: they go when they are empty.
type node[K cmp.Ordered, V any] struct {
	edit   uint64 // under which the node may be changed in place
	keys   []K
	values []V           // of a leaf
	kids   []*node[K, V] // of an inner node
}

// idSet is a set of volume ids in ascending order.
type idSet = tree[blob.VolumeID, struct{}]

func (t *tree[K, V]) get(key K) (value V, ok bool) {
	n := t.root
	if n == nil {
		return value, false
	}
	for n.kids != nil {
		n = n.kids[n.under(key)]
	}
	i, ok := slices.BinarySearch(n.keys, key)
	if ok {
		value = n.values[i]
	}
	return value, ok
}

// last returns the highest key, the zero value for an empty tree.
func (t *tree[K, V]) last() (key K) {
	n := t.root
	if n == nil {
		return key
	}
	for n.kids != nil {
		n = n.kids[len(n.kids)-1]
	}
	return n.keys[len(n.keys)-1]
}

// set makes value that of key.
func (t *tree[K, V]) set(edit uint64, key K, value V) {
	if t.root == nil {
		t.root = &node[K, V]{edit: edit}
	}
	t.root = t.root.own(edit)
	added, right := t.root.set(edit, key, value)
	if added {
		t.len++
	}
	if right != nil {
		t.root = &node[K, V]{edit: edit, keys: []K{t.root.keys[0], right.keys[0]}, kids: []*node[K, V]{t.root, right}}
	}
}

// delete takes key out, if it is there.
func (t *tree[K, V]) delete(edit uint64, key K) {
	if _, ok := t.get(key); !ok {
		return
	}
	t.len--
	t.root = t.root.own(edit)
	t.root.delete(edit, key)
	for len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
	if len(t.root.keys) == 0 {
		t.root = nil
	}
}

// each calls yield for the entries in ascending order until it returns false. The tree may not be changed
// meanwhile.
func (t *tree[K, V]) each(yield func(K, V) bool) {
	if t.root != nil {
		t.root.each(yield)
	}
}

// under returns the child that a key belongs to.
func (n *node[K, V]) under(key K) int {
	i, found := slices.BinarySearch(n.keys, key)
	if found || i == 0 {
		return i
	}
	return i - 1
}

// own returns a node that may be changed under the edit number: itself or a copy.
func (n *node[K, V]) own(edit uint64) *node[K, V] {
	if n.edit == edit {
		return n
	}
	return &node[K, V]{edit: edit, keys: slices.Clone(n.keys), values: slices.Clone(n.values), kids: slices.Clone(n.kids)}
}

// ownKid makes child i one that may be changed.
func (n *node[K, V]) ownKid(edit uint64, i int) *node[K, V] {
	n.kids[i] = n.kids[i].own(edit)
	return n.kids[i]
}

// set changes a node that is owned. right is what had to be split off.
func (n *node[K, V]) set(edit uint64, key K, value V) (added bool, right *node[K, V]) {
	if n.kids == nil {
		i, found := slices.BinarySearch(n.keys, key)
		if found {
			n.values[i] = value
			return false, nil
		}
		n.keys = slices.Insert(n.keys, i, key)
		n.values = slices.Insert(n.values, i, value)
		return true, n.split(edit, i)
	}
	i := n.under(key)
	n.keys[i] = min(n.keys[i], key) // it may be below all keys
	added, right = n.ownKid(edit, i).set(edit, key, value)
	if right == nil {
		return added, nil
	}
	n.keys = slices.Insert(n.keys, i+1, right.keys[0])
	n.kids = slices.Insert(n.kids, i+1, right)
	return added, n.split(edit, i+1)
}

// split takes the upper half off a node that has become too wide. Keys mostly come in ascending order: a node
// that has grown at its end gives away just that, and stays full.
func (n *node[K, V]) split(edit uint64, grownAt int) *node[K, V] {
	if len(n.keys) <= treeWidth {
		return nil
	}
	at := len(n.keys) / 2
	if grownAt == len(n.keys)-1 {
		at = grownAt
	}
	right := &node[K, V]{edit: edit, keys: slices.Clone(n.keys[at:])}
	n.keys = shorten(n.keys, at)
	if n.kids == nil {
		right.values = slices.Clone(n.values[at:])
		n.values = shorten(n.values, at)
	} else {
		right.kids = slices.Clone(n.kids[at:])
		n.kids = shorten(n.kids, at)
	}
	return right
}

// shorten returns a copy of the first n elements that has no room to spare.
func shorten[E any](s []E, n int) []E { return append(make([]E, 0, n), s[:n]...) }

// delete takes out a key that is there from a node that is owned.
func (n *node[K, V]) delete(edit uint64, key K) {
	if n.kids == nil {
		i, _ := slices.BinarySearch(n.keys, key)
		n.keys = slices.Delete(n.keys, i, i+1)
		n.values = slices.Delete(n.values, i, i+1)
		return
	}
	i := n.under(key)
	kid := n.ownKid(edit, i)
	if kid.delete(edit, key); len(kid.keys) == 0 {
		n.keys = slices.Delete(n.keys, i, i+1)
		n.kids = slices.Delete(n.kids, i, i+1)
	}
}

func (n *node[K, V]) each(yield func(K, V) bool) bool {
	for _, kid := range n.kids {
		if !kid.each(yield) {
			return false
		}
	}
	for i, value := range n.values {
		if !yield(n.keys[i], value) {
			return false
		}
	}
	return true
}
