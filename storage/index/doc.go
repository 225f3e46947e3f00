// Package index is the packed in-memory index of one volume: it maps needle keys to Locations, in 4 to 8
// bytes a needle where a Go map takes 30.
//
// It owns the mapping alone. It refuses to know files: who opens a volume feeds a Loader from the .idx, and
// the volume's committer calls Put and Delete for what it has made durable. One goroutine writes at a
// time; any number of them read, without locks and without waiting.
//
//	l := index.NewLoader() // at volume open
//	for each entry of the .idx {
//		l.Put(key, index.Location{Offset: offset, Size: size}) // or l.Delete(key)
//	}
//	m, replaced := l.Map()
//
//	old, overwritten := m.Put(key, loc) // the committer
//	loc, ok := m.Get(key)               // everybody
//	for key, loc := range m.ByOffset(8, end) { … } // vacuum: the order of the .dat file
//
// # Layout
//
// The keys are cut into ranges, each with a section of up to 4096 needles, and a root lists the sections:
//
//	root      bounds [n]uint64, sections [n]*section         replaced when a section is split or joined
//	section   words []uint64, delta *delta                   replaced when its delta is merged
//	words     directory | body of block 0 | body of block 1 | …   never changed
//	delta     hash table of {key, word} slots                filled in place, at most 96 entries
//
// A block is 64 needles in key order (the last one of a section may have fewer). The directory has three
// words for each, bit 63 on the left:
//
//	word 0   lowest key                                                       64 bits
//	word 1   lowest offset | lowest size                                      32 | 32
//	word 2   dense | lenWidth | offWidth | lowWidth | position of the body    1 | 15 | 8 | 8 | 32
//
// and the body has three columns, each of which begins on a word:
//
//	highs    128 bits     (key - lowest key) >> lowWidth in unary (Elias-Fano): bit high+i is set for needle i
//	lows     n × lowWidth            bits, the rest of the key, from bit 0 of the first word on
//	places   n × (offWidth+lenWidth) bits: offset - lowest offset, and size - lowest size above it
//
// lowWidth is such that the highs stay below 64. A dense block, whose keys have no gaps, has neither highs
// nor lows. The width of each column is what its largest value needs, so one large blob widens a column of
// its block only.
//
// A lookup interpolates in the root, takes the section, probes its delta if there is one, interpolates in
// the directory, finds the key in the highs, and reads one field of the places: three to five cache misses.
//
// # What it costs
//
// Needles written one behind the other with rising keys take 3 bytes (1 KiB each) to 5.5 (up to 64 KiB, gaps
// between the keys). Overwrites and keys in random order spread the offsets of a block over the whole
// file, and leave deltas on all sections: up to 8. Keys that are random in all 64 bits cost their own
// entropy on top: up to 13 or 14, and 20 in the very worst case. An empty Map takes some 200 bytes, one of a
// hundred needles 1 KiB.
//
// A write costs a lookup and a slot of a delta. Every 96th of a section merges its delta, which packs at most
// 4096 needles anew (some 50 µs; keys that rise touch the last block only) and now and then copies the
// root (16 bytes for each 4096 needles). No write does more, whatever the size of the Map.
//
// # Invariants
//
//   - Packed words, and a root's bounds, never change once they are published through an atomic pointer.
//   - A key is in its section's delta, or else in its words, or else not there. A deletion stays in the
//     delta until the merge.
//   - A delta that is no longer reachable from the current root is never written again. So whoever still
//     reads it sees what was true when it was replaced, which is after the reader began.
package index
