package index

import (
	"cmp"
	"iter"
	"slices"

	"weed/internal/blob"
)

// All yields the live needles in key order.
//
// It takes no lock, and the writer goes on meanwhile, also from within the loop. Each range of a few
// thousand keys is read at one moment, later ranges at later moments. So every key appears at most once,
// with a Location that it had at some time during the iteration; a key that is live throughout appears; a
// key put or deleted meanwhile may appear or not. Memory: some 150 KiB, whatever the size of the Map.
func (m *Map) All() iter.Seq2[blob.Key, Location] {
	return func(yield func(blob.Key, Location) bool) {
		sc := scratches.Get().(*scratch)
		defer scratches.Put(sc)
		for s := range m.ranges() {
			sc.fresh = s.delta.Load().appendSnapshot(sc.fresh[:0])
			sc.merged = sc.merged[:0]
			sc.collect(s.section, 0)
			for _, e := range sc.merged {
				if !s.holds(e.key) {
					continue
				}
				loc, _ := fromWord(e.word)
				if !yield(blob.Key(e.key), loc) {
					return
				}
			}
		}
	}
}

// keyRange is a section and the part of its keys that an iteration takes from it.
type keyRange struct {
	*section
	low, end uint64 // end is excluded, unless it is 0: then there is none
}

func (k keyRange) holds(key uint64) bool { return key >= k.low && (k.end == 0 || key < k.end) }

// ranges yields sections that cover all keys, in order and without overlap, each one as it is when its
// turn comes. Sections may be split and joined meanwhile.
func (m *Map) ranges() iter.Seq[keyRange] {
	return func(yield func(keyRange) bool) {
		for low, more := uint64(0), true; more; {
			r := m.root.Load()
			i := r.find(low)
			k := keyRange{section: r.sections[i].Load(), low: low}
			k.end, more = r.end(i)
			if !yield(k) {
				return
			}
			low = k.end
		}
	}
}

const (
	minWindow   = 1 << 16 // entries that ByOffset sorts at once, at least
	windowShare = 16      // or this part of all
	bucketBits  = 16      // offsets are counted in 2^16 buckets
)

// ByOffset yields the live needles whose Offset is in [from, end), both in units of 8 bytes, in the order
// of their offsets: the order of the .dat file. An end of 1<<32 or more is no bound.
//
// It takes no lock and the writer goes on meanwhile, also from within the loop. A needle that is live and
// unmoved throughout appears exactly once. One that is deleted or moved meanwhile appears with the
// Location that it had when its part of the file was gathered, or not at all; one that moves ahead, into
// a part not gathered yet, may appear a second time. Who writes only at or above end, as a vacuum
// arranges it, sees no key twice.
//
// The index is passed over up to 16 times, each time for a part of the offsets, so the extra memory is
// about 16 bytes for a sixteenth of the needles (1 byte per needle), at least 1 MiB for large maps.
func (m *Map) ByOffset(from, end uint64) iter.Seq2[blob.Key, Location] {
	return func(yield func(blob.Key, Location) bool) {
		var window []entry
		for low, high := range m.windows(from, min(end, 1<<32)) {
			window = m.appendWindow(window[:0], low, high)
			slices.SortFunc(window, func(a, b entry) int { return cmp.Compare(a.word, b.word) })
			for _, e := range window {
				loc, _ := fromWord(e.word)
				if !yield(blob.Key(e.key), loc) {
					return
				}
			}
		}
	}
}

// windows yields adjoining ranges of offsets that cover [from, end), each with about as many live
// needles as ByOffset sorts at once.
func (m *Map) windows(from, end uint64) iter.Seq2[uint64, uint64] {
	return func(yield func(uint64, uint64) bool) {
		if from >= end {
			return
		}
		limit := max(minWindow, m.Len()/windowShare)
		if m.Len() <= limit {
			yield(from, end)
			return
		}
		counts := make([]uint32, 1<<bucketBits)
		for _, loc := range m.All() {
			counts[loc.Offset>>(32-bucketBits)]++
		}
		low, n := from, 0
		for bucket, count := range counts {
			start := uint64(bucket) << (32 - bucketBits)
			if start >= end {
				break
			}
			if start > low && n+int(count) > limit {
				if !yield(low, start) {
					return
				}
				low, n = start, 0
			}
			if start+1<<(32-bucketBits) > low {
				n += int(count)
			}
		}
		yield(low, end)
	}
}

// appendWindow appends the live needles with offsets in [low, high), in key order.
func (m *Map) appendWindow(dst []entry, low, high uint64) []entry {
	sc := scratches.Get().(*scratch)
	defer scratches.Put(sc)
	inside := func(e entry) bool { return e.word>>32 >= low && e.word>>32 < high }
	for s := range m.ranges() {
		sc.fresh = s.delta.Load().appendSnapshot(sc.fresh[:0])
		fresh := sc.fresh
		for i := range s.blocks() {
			b := s.block(i)
			if lowest := b.bases >> 32; lowest >= high || lowest+1<<b.offWidth <= low {
				continue
			}
			sc.packed = s.appendBlock(sc.packed[:0], i)
			for _, e := range sc.packed {
				for len(fresh) > 0 && fresh[0].key < e.key {
					fresh = fresh[1:]
				}
				outdated := len(fresh) > 0 && fresh[0].key == e.key
				if !outdated && inside(e) && s.holds(e.key) {
					dst = append(dst, e)
				}
			}
		}
		for _, e := range sc.fresh {
			if e.word != deleted && inside(e) && s.holds(e.key) {
				dst = append(dst, e)
			}
		}
	}
	return dst
}
