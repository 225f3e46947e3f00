package index

import (
	"cmp"
	"slices"

	"weed/internal/blob"
)

const (
	window  = 512  // newest keys of a Loader that still take late ones in place
	minLate = 4096 // operations on older keys that a Loader gathers, at least
)

// Loader builds a Map from the entries of an .idx file, in the order of the log, several times faster
// than Put does. Keys that rise, more or less, are packed as they come; operations on older keys gather
// and are merged together, when they are an eighth of all needles. Beside the Map under construction a
// Loader holds at most some 4 bytes per needle, less when the keys rise.
//
// One goroutine uses a Loader.
type Loader struct {
	sections []*section // in key order, without deltas
	packed   int        // entries in them
	recent   []entry    // the highest keys, ascending; deletions stay in place until they are packed
	late     []entry    // operations on keys below floor, in order of arrival
	spare    []entry    // for sorting late
	floor    uint64     // lowest key that recent may take
	maxKey   uint64
	replaced Replaced
}

// Replaced sums up the needles that were overwritten or deleted, each time that happened.
type Replaced struct {
	Count int64
	Bytes int64 // sum of their Location.Size
}

// NewLoader returns a Loader for an empty Map.
func NewLoader() *Loader { return new(Loader) }

// Put records the needle of key at loc. An Offset of 0 deletes, as it does in the .idx file.
func (l *Loader) Put(key blob.Key, loc Location) {
	if loc.Offset == 0 {
		l.Delete(key)
		return
	}
	if key <= blob.MaxKey {
		l.maxKey = max(l.maxKey, uint64(key))
	}
	l.add(entry{uint64(key), loc.word()})
}

// Delete forgets key.
func (l *Loader) Delete(key blob.Key) { l.add(entry{uint64(key), deleted}) }

// Map returns the Map of all that was put, and what of it was replaced. The Loader is then spent.
func (l *Loader) Map() (*Map, Replaced) {
	l.seal(len(l.recent))
	l.mergeLate()
	m := New()
	if len(l.sections) > 0 {
		r := m.root.Load()
		m.swap(r, 0, 1, l.sections...)
	}
	m.live.Store(int64(l.packed))
	m.maxKey.Store(l.maxKey)
	replaced := l.replaced
	*l = Loader{}
	return m, replaced
}

// add takes one operation. All that is known of keys from floor on is in recent, and floor only rises: so
// operations on one key stay in order, whether they are late or not.
func (l *Loader) add(e entry) {
	if e.key < l.floor {
		l.late = append(l.late, e)
		if len(l.late) >= max(minLate, l.packed/8) {
			l.mergeLate()
		}
		return
	}
	i := len(l.recent)
	if i > 0 && e.key <= l.recent[i-1].key {
		var found bool
		i, found = slices.BinarySearchFunc(l.recent, e.key, func(r entry, key uint64) int {
			return cmp.Compare(r.key, key)
		})
		if found {
			l.replace(l.recent[i].word)
			l.recent[i].word = e.word
			return
		}
	}
	if e.word == deleted {
		return // it was not there
	}
	l.recent = slices.Insert(l.recent, i, e)
	if n := len(l.recent); n >= window {
		l.floor = l.recent[n-window].key
	}
	if len(l.recent) == maxEntries+window {
		l.seal(maxEntries)
	}
}

// replace counts a word that gives way to another one.
func (l *Loader) replace(word uint64) {
	if loc, ok := fromWord(word); ok {
		l.replaced.Count++
		l.replaced.Bytes += int64(loc.Size)
	}
}

// seal packs the n lowest of the recent entries, which are above all packed ones.
func (l *Loader) seal(n int) {
	live := l.recent[:0]
	for _, e := range l.recent[:n] {
		if e.word != deleted {
			live = append(live, e)
		}
	}
	l.pack(live)
	l.recent = slices.Delete(l.recent, 0, n)
}

// pack appends sections of entries that are above all packed ones.
func (l *Loader) pack(entries []entry) {
	l.packed += len(entries)
	for parts := (len(entries) + maxEntries - 1) / maxEntries; parts > 0; parts-- {
		n := (len(entries)/parts + blockLen - 1) / blockLen * blockLen
		n = min(n, len(entries))
		l.sections = append(l.sections, build(nil, 0, entries[:n]))
		entries = entries[n:]
	}
}

// mergeLate packs the sections anew with the operations that came late. It joins those that became small
// to the next one.
func (l *Loader) mergeLate() {
	l.seal(max(0, len(l.recent)-window)) // what is left there is above all late keys
	if len(l.late) == 0 {
		return
	}
	l.spare = slices.Grow(l.spare[:0], len(l.late))[:len(l.late)]
	l.late, l.spare = sortStable(l.late, l.spare)
	ops, old := l.late, l.sections
	if len(old) == 0 {
		old = []*section{new(section)}
	}
	l.sections, l.packed = make([]*section, 0, len(old)), 0
	var packed, out []entry
	for i, s := range old {
		n := len(ops)
		if i+1 < len(old) {
			n, _ = slices.BinarySearchFunc(ops, old[i+1].first, func(e entry, key uint64) int {
				return cmp.Compare(e.key, key)
			})
		}
		if n == 0 && (len(out) == 0 || len(out)+s.n > maxEntries*3/4) {
			l.pack(out)
			out = out[:0]
			l.sections = append(l.sections, s)
			l.packed += s.n
			continue
		}
		packed = packed[:0]
		for b := range s.blocks() {
			packed = s.appendBlock(packed, b)
		}
		out = l.apply(out, packed, ops[:n])
		ops = ops[n:]
		if len(out) >= maxEntries/4 {
			l.pack(out)
			out = out[:0]
		}
	}
	l.pack(out)
	l.late = l.late[:0]
}

// apply appends to dst what sorted operations make of packed entries.
func (l *Loader) apply(dst, packed, ops []entry) []entry {
	for len(ops) > 0 {
		key := ops[0].key
		n := 0
		for n < len(packed) && packed[n].key < key {
			n++
		}
		dst = append(dst, packed[:n]...)
		packed = packed[n:]
		word := absent
		if len(packed) > 0 && packed[0].key == key {
			word = packed[0].word
			packed = packed[1:]
		}
		for ; len(ops) > 0 && ops[0].key == key; ops = ops[1:] {
			l.replace(word)
			word = ops[0].word
		}
		if word > deleted {
			dst = append(dst, entry{key, word})
		}
	}
	return append(dst, packed...)
}

const digitBits = 11

// sortStable sorts entries by key, equal ones staying in order, by their digits from the lowest one on. It
// returns the sorted slice and the other one of the two, which have one length.
func sortStable(entries, spare []entry) (sorted, other []entry) {
	var varying uint64
	for _, e := range entries {
		varying |= e.key ^ entries[0].key
	}
	for shift := 0; varying>>shift != 0; shift += digitBits {
		if varying>>shift&(1<<digitBits-1) == 0 {
			continue
		}
		var starts [1 << digitBits]int
		for _, e := range entries {
			starts[e.key>>shift&(1<<digitBits-1)]++
		}
		sum := 0
		for i, n := range starts {
			starts[i] = sum
			sum += n
		}
		for _, e := range entries {
			at := &starts[e.key>>shift&(1<<digitBits-1)]
			spare[*at] = e
			*at++
		}
		entries, spare = spare, entries
	}
	return entries, spare
}
