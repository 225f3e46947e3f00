package index

import "sync"

// scratch is the room that a merge or an iteration works in, at most some 150 KiB. It is pooled, since
// a server has thousands of maps of which few are merged at any moment.
type scratch struct{ packed, fresh, merged []entry }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// collect appends to sc.merged the live entries of section s from block from on, with those of
// sc.fresh, the sorted content of its delta.
func (sc *scratch) collect(s *section, from int) {
	sc.packed = sc.packed[:0]
	for b := from; b < s.blocks(); b++ {
		sc.packed = s.appendBlock(sc.packed, b)
	}
	packed := sc.packed
	for _, f := range sc.fresh {
		n := 0
		for n < len(packed) && packed[n].key < f.key {
			n++
		}
		sc.merged = append(sc.merged, packed[:n]...)
		packed = packed[n:]
		if len(packed) > 0 && packed[0].key == f.key {
			packed = packed[1:]
		}
		if f.word != deleted {
			sc.merged = append(sc.merged, f)
		}
	}
	sc.merged = append(sc.merged, packed...)
}

// merge packs section i of r anew with what its delta holds. It splits a section that grew too large and
// joins one that has become small to a neighbour. The work is bounded by the size of two sections.
func (m *Map) merge(r *root, i int) {
	sc := scratches.Get().(*scratch)
	defer scratches.Put(sc)
	s := r.sections[i].Load()
	d := s.delta.Load()
	sc.fresh = d.appendSorted(sc.fresh[:0])
	sc.merged = sc.merged[:0]

	// Blocks below the first change are taken over as they are.
	keep := s.n / blockLen
	lowest := sc.fresh[0].key
	appending := s.n == 0 || lowest > s.last
	if !appending {
		keep = 0
		if lowest > s.first {
			keep = s.floorBlock(lowest)
		}
	}
	rising := keep >= maxBlocks/2
	if s.n+len(sc.fresh) > maxEntries && !rising {
		keep = 0
	}
	sc.collect(s, keep)
	n := keep*blockLen + len(sc.merged)

	switch {
	case n > maxEntries:
		left := n / 2 / blockLen * blockLen
		if appending {
			left = maxEntries
		} else if rising {
			left = maxEntries - maxEntries/8 // some room for keys that come late
		}
		cut := left - keep*blockLen
		if cut < 0 {
			keep, cut = 0, left
			sc.merged = sc.merged[:0]
			sc.collect(s, 0)
		}
		m.swap(r, i, i+1, build(s, keep, sc.merged[:cut]), build(nil, 0, sc.merged[cut:]))
	case n < maxEntries/4 && len(r.bounds) > 1 && m.join(r, i, n, sc):
	default:
		m.swap(r, i, i+1, build(s, keep, sc.merged))
	}
}

// join packs section i, which has n entries, together with a neighbour, if there is one small enough.
func (m *Map) join(r *root, i, n int, sc *scratch) bool {
	for _, other := range []int{i - 1, i + 1} {
		if other < 0 || other == len(r.bounds) {
			continue
		}
		if o := r.sections[other].Load(); n+o.n+o.delta.Load().len() > maxEntries*3/4 {
			continue
		}
		sc.merged = sc.merged[:0]
		left := min(i, other)
		for k := left; k < left+2; k++ {
			s := r.sections[k].Load()
			sc.fresh = s.delta.Load().appendSorted(sc.fresh[:0])
			sc.collect(s, 0)
		}
		m.swap(r, left, left+2, build(nil, 0, sc.merged))
		return true
	}
	return false
}

// swap publishes sections in the place of those from i to j-1, and keeps the count of bytes.
func (m *Map) swap(r *root, i, j int, with ...*section) {
	var bytes int64
	for k := i; k < j; k++ {
		old := r.sections[k].Load()
		bytes -= old.bytes() + old.delta.Load().bytes()
	}
	for _, s := range with {
		bytes += s.bytes()
	}
	if j-i == 1 && len(with) == 1 {
		r.sections[i].Store(with[0])
	} else {
		n := r.replaced(i, j, with...)
		bytes += n.bytes() - r.bytes()
		m.root.Store(n)
	}
	m.bytes.Add(bytes)
}
