package index

import "sync/atomic"

// root lists the sections by their key ranges. A merged section replaces the old one in its slot; a
// split or a join publishes a new root, and the old one is never written again.
type root struct {
	bounds   []uint64 // section i holds the keys from bounds[i] up to bounds[i+1]; bounds[0] is 0
	sections []atomic.Pointer[section]
	slope    float64 // sections per key above bounds[1], for the interpolation
}

const rootBytes = 64 // of the struct

func newRoot(n int) *root {
	return &root{bounds: make([]uint64, n), sections: make([]atomic.Pointer[section], n)}
}

func (r *root) bytes() int64 { return rootBytes + 16*int64(len(r.bounds)) }

// find returns the number of the section whose range holds key.
func (r *root) find(key uint64) int {
	n := len(r.bounds)
	if n == 1 || key < r.bounds[1] {
		return 0
	}
	return floorIndex(r.bounds, 1, n, 1+int(float64(key-r.bounds[1])*r.slope), key)
}

// end returns the lowest key above section i's range; ok is false for the last section.
func (r *root) end(i int) (key uint64, ok bool) {
	if i+1 == len(r.bounds) {
		return 0, false
	}
	return r.bounds[i+1], true
}

// replaced returns a root in which the sections from i to j-1 have given way to others. The first of
// those takes over the lower bound, each other one starts at its first key.
func (r *root) replaced(i, j int, with ...*section) *root {
	n := newRoot(len(r.bounds) - (j - i) + len(with))
	at := 0
	add := func(bound uint64, s *section) {
		n.bounds[at] = bound
		n.sections[at].Store(s)
		at++
	}
	for k := range i {
		add(r.bounds[k], r.sections[k].Load())
	}
	for k, s := range with {
		bound := r.bounds[i]
		if k > 0 {
			bound = s.first
		}
		add(bound, s)
	}
	for k := j; k < len(r.bounds); k++ {
		add(r.bounds[k], r.sections[k].Load())
	}
	if at > 2 {
		n.slope = float64(at-2) / float64(n.bounds[at-1]-n.bounds[1])
	}
	return n
}
