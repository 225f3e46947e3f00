package bolt

import "strings"

// maxHeight of a node: enough for some ten million entries of a table.
const maxHeight = 12

// table is an ordered map of what has changed in one bucket: values, and keys that are gone. The zero value is empty.
// It is a skip list for order, and a map besides, because most look-ups are for one key.
type table struct {
	byKey map[string]*node
	heads [maxHeight]*node
	seed  uint64
}

// node is an entry. What a reader has seen of it stays: a new value is another slice.
type node struct {
	key   string
	value []byte
	gone  bool
	next  *node
	tower []*node // the next nodes of height 2 and more
}

func (n *node) at(level int) *node {
	if level == 0 {
		return n.next
	}
	return n.tower[level-1]
}

// get returns the entry of a key, or nil.
func (t *table) get(key []byte) *node { return t.byKey[string(key)] }

// seek returns the first entry whose key is not less than from.
func (t *table) seek(from string) *node {
	var before *node // nil stands for the heads
	for level := maxHeight - 1; level >= 0; level-- {
		before = t.last(before, level, from)
	}
	return t.after(before, 0)
}

// last goes from a node along a level, and returns the last one whose key is less than key.
func (t *table) last(n *node, level int, key string) *node {
	for {
		next := t.after(n, level)
		if next == nil || next.key >= key {
			return n
		}
		n = next
	}
}

func (t *table) after(n *node, level int) *node {
	if n == nil {
		return t.heads[level]
	}
	return n.at(level)
}

// set puts a value in, or marks a key as gone. The value is the table's from now on.
func (t *table) set(key string, value []byte, gone bool) {
	if n := t.byKey[key]; n != nil {
		n.value, n.gone = value, gone
		return
	}
	if t.byKey == nil {
		t.byKey = make(map[string]*node)
	}
	height := t.height()
	n := &node{key: key, value: value, gone: gone}
	if height > 1 {
		n.tower = make([]*node, height-1)
	}
	t.byKey[key] = n
	var before *node
	for level := maxHeight - 1; level >= 0; level-- {
		before = t.last(before, level, key)
		if level >= height {
			continue
		}
		t.link(n, level, t.after(before, level))
		if before == nil {
			t.heads[level] = n
		} else {
			t.link(before, level, n)
		}
	}
}

func (t *table) link(n *node, level int, next *node) {
	if level == 0 {
		n.next = next
	} else {
		n.tower[level-1] = next
	}
}

// height draws how high a node is: one in four of those of a height is higher (xorshift, Marsaglia 2003).
func (t *table) height() int {
	x := t.seed
	if x == 0 {
		x = 0x9e3779b97f4a7c15
	}
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	t.seed = x
	h := 1
	for ; h < maxHeight && x&3 == 0; x >>= 2 {
		h++
	}
	return h
}

// generation is what a run of transactions has changed, in all buckets, and the numbers that they left.
type generation struct {
	tables [buckets]table
	last   uint64 // number of the last transaction
	ids    uint64 // the last id or version that was given out
	drops  uint64 // the last number of a drop
}

func (g *generation) isEmpty() bool {
	for i := range g.tables {
		if len(g.tables[i].byKey) > 0 {
			return false
		}
	}
	return true
}

// add puts the changes of a later generation into this one.
func (g *generation) add(later *generation) {
	for i := range later.tables {
		for n := later.tables[i].heads[0]; n != nil; n = n.next {
			g.tables[i].set(n.key, n.value, n.gone)
		}
	}
	g.last, g.ids, g.drops = later.last, later.ids, later.drops
}

// merge goes through tables side by side. Of entries of one key the one of the first table counts.
type merge [3]*node

// peek returns the next entry, or nil.
func (m *merge) peek() *node {
	var first *node
	for _, n := range m {
		if n != nil && (first == nil || n.key < first.key) {
			first = n
		}
	}
	return first
}

// skip goes beyond the entries of the key that peek has returned.
func (m *merge) skip(key string) {
	for i, n := range m {
		if n != nil && n.key == key {
			m[i] = n.next
		}
	}
}

// copy returns a chain of the next entries that have a prefix, until so many of them are not gone.
func (m *merge) copy(prefix string, limit int) *node {
	var head node
	tail := &head
	for n := m.peek(); n != nil && limit > 0 && strings.HasPrefix(n.key, prefix); n = m.peek() {
		m.skip(n.key)
		tail.next = &node{key: n.key, value: n.value, gone: n.gone}
		tail = tail.next
		if !n.gone {
			limit--
		}
	}
	return head.next
}
