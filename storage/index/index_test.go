package index_test

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/storage/index"
)

type needle struct {
	key blob.Key
	loc index.Location
}

func collect(seq func(func(blob.Key, index.Location) bool)) []needle {
	var all []needle
	for key, loc := range seq {
		all = append(all, needle{key, loc})
	}
	return all
}

// fatalist is what testing.T, testing.F's T and rapid.T share.
type fatalist interface {
	Helper()
	Fatalf(format string, args ...any)
}

// model is a Map next to the Go map that it must equal.
type model struct {
	*index.Map
	want   map[blob.Key]index.Location
	maxKey blob.Key
}

func newModel() *model {
	return &model{Map: index.New(), want: make(map[blob.Key]index.Location)}
}

func (m *model) put(t fatalist, key blob.Key, loc index.Location) {
	t.Helper()
	wantOld, wantReplaced := m.want[key]
	old, replaced := m.Put(key, loc)
	if old != wantOld || replaced != wantReplaced {
		t.Fatalf("Put(%#x, %v) = %v, %v; want %v, %v", key, loc, old, replaced, wantOld, wantReplaced)
	}
	m.want[key] = loc
	if key <= blob.MaxKey {
		m.maxKey = max(m.maxKey, key)
	}
}

func (m *model) delete(t fatalist, key blob.Key) {
	t.Helper()
	wantOld, wantOK := m.want[key]
	if old, ok := m.Delete(key); old != wantOld || ok != wantOK {
		t.Fatalf("Delete(%#x) = %v, %v; want %v, %v", key, old, ok, wantOld, wantOK)
	}
	delete(m.want, key)
}

func (m *model) get(t fatalist, key blob.Key) {
	t.Helper()
	want, wantOK := m.want[key]
	if got, ok := m.Get(key); got != want || ok != wantOK {
		t.Fatalf("Get(%#x) = %v, %v; want %v, %v", key, got, ok, want, wantOK)
	}
}

// check compares everything that the Map tells with the model.
func (m *model) check(t fatalist) {
	t.Helper()
	m.checkCounts(t)
	for key := range m.want {
		m.get(t, key)
		for _, near := range []blob.Key{key - 1, key + 1} {
			m.get(t, near)
		}
	}
	m.checkAll(t)
	m.checkByOffset(t, 0, math.MaxUint64)
}

// checkAll compares All with the model.
func (m *model) checkAll(t fatalist) {
	t.Helper()
	sorted := make([]needle, 0, len(m.want))
	for _, key := range slices.Sorted(maps.Keys(m.want)) {
		sorted = append(sorted, needle{key, m.want[key]})
	}
	if got := collect(m.All()); !slices.Equal(got, sorted) {
		t.Fatalf("All yields %d needles that are not the %d of the model in key order", len(got), len(sorted))
	}
}

// checkByOffset compares ByOffset(from, end) with the model. The order of needles at one offset is free.
func (m *model) checkByOffset(t fatalist, from, end uint64) {
	t.Helper()
	var want []needle
	for key, loc := range m.want {
		if off := uint64(loc.Offset); off >= from && off < end {
			want = append(want, needle{key, loc})
		}
	}
	got := collect(m.ByOffset(from, end))
	if !slices.IsSortedFunc(got, func(a, b needle) int { return cmp.Compare(a.loc.Offset, b.loc.Offset) }) {
		t.Fatalf("ByOffset(%d, %d) is out of order", from, end)
	}
	total := func(a, b needle) int {
		return cmp.Or(cmp.Compare(a.loc.Offset, b.loc.Offset), cmp.Compare(a.key, b.key))
	}
	slices.SortFunc(got, total)
	slices.SortFunc(want, total)
	if !slices.Equal(got, want) {
		t.Fatalf("ByOffset(%d, %d) yields %d needles, not the %d of the model", from, end, len(got), len(want))
	}
}

// keySpaces are the patterns of keys that the property test draws from: each maps a small number to a key.
var keySpaces = map[string]func(i uint64) blob.Key{
	"dense":      func(i uint64) blob.Key { return blob.Key(i) },
	"gaps":       func(i uint64) blob.Key { return blob.Key(1e9 + i*7 + i%3) },
	"descending": func(i uint64) blob.Key { return blob.Key(math.MaxUint64 - i) },
	"clusters":   func(i uint64) blob.Key { return blob.Key(i%5<<61 + i/5) },
	"far apart":  func(i uint64) blob.Key { return blob.Key(i << 40) },
	"random":     func(i uint64) blob.Key { return blob.Key(i * 0x9E3779B97F4A7C15) },
	"doubling":   func(i uint64) blob.Key { return blob.Key(i%128 | 1<<(i/128%64)) },
}

func locations() *rapid.Generator[index.Location] {
	return rapid.Custom(func(t *rapid.T) index.Location {
		return index.Location{
			Offset: rapid.Uint32Range(1, math.MaxUint32).Draw(t, "offset"),
			Size:   rapid.Uint32().Draw(t, "size"),
		}
	})
}

// TestModel runs random runs of puts and deletes, some rising, some scattered, against a Go map.
func TestModel(t *testing.T) {
	names := slices.Sorted(maps.Keys(keySpaces))
	rapid.Check(t, func(t *rapid.T) {
		key := keySpaces[rapid.SampledFrom(names).Draw(t, "keys")]
		m := newModel()
		next := uint64(0)
		run := func(t *rapid.T, each func(i uint64)) {
			n := rapid.Uint64Range(1, 600).Draw(t, "n")
			start := rapid.Uint64Range(0, 20000).Draw(t, "start")
			stride := rapid.SampledFrom([]uint64{1, 7, 6007, math.MaxUint64}).Draw(t, "stride")
			for i := range n {
				each((start + i*stride) % 20011)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				loc := locations().Draw(t, "loc")
				for range rapid.IntRange(1, 2500).Draw(t, "n") {
					m.put(t, key(next), loc)
					next++
					loc.Offset = max(1, loc.Offset+loc.Size%999)
				}
			},
			"scatter": func(t *rapid.T) {
				loc := locations().Draw(t, "loc")
				run(t, func(i uint64) {
					loc.Offset = max(1, loc.Offset*1664525+1013904223)
					m.put(t, key(i), loc)
				})
			},
			"put": func(t *rapid.T) {
				m.put(t, blob.Key(rapid.Uint64().Draw(t, "key")), locations().Draw(t, "loc"))
			},
			"delete": func(t *rapid.T) { run(t, func(i uint64) { m.delete(t, key(i)) }) },
			"get":    func(t *rapid.T) { run(t, func(i uint64) { m.get(t, key(i)) }) },
			"slice": func(t *rapid.T) {
				m.checkByOffset(t, rapid.Uint64Max(1<<32).Draw(t, "from"), rapid.Uint64Max(1<<33).Draw(t, "end"))
			},
			"": func(t *rapid.T) { m.checkCounts(t) },
		})
		m.check(t)
	})
}

func (m *model) checkCounts(t fatalist) {
	t.Helper()
	if m.Len() != len(m.want) || m.MaxKey() != m.maxKey {
		t.Fatalf("Len, MaxKey = %d, %#x; want %d, %#x", m.Len(), m.MaxKey(), len(m.want), m.maxKey)
	}
}
