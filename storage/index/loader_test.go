package index_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"weed/internal/blob"
	"weed/storage/index"
)

// loaded feeds one log of operations to a Loader and to the model.
type loaded struct {
	*index.Loader
	*model
	replaced index.Replaced
	offset   uint32
}

func (l *loaded) op(key blob.Key, del bool) {
	old, had := l.want[key]
	if had {
		l.replaced.Count++
		l.replaced.Bytes += int64(old.Size)
	}
	if del {
		l.Loader.Delete(key)
		delete(l.want, key)
		return
	}
	l.offset += 1 + uint32(key)%50
	loc := index.Location{Offset: l.offset, Size: uint32(key*7) % 4096}
	l.Loader.Put(key, loc)
	l.want[key] = loc
	if key <= blob.MaxKey {
		l.maxKey = max(l.maxKey, key)
	}
}

// TestLoader replays logs of several shapes and compares the Map and the sums of what was replaced. The
// Map must then take further writes.
func TestLoader(t *testing.T) {
	const n = 18_000
	shapes := map[string]func(rng *rand.Rand, i uint64) uint64{
		"rising":     func(_ *rand.Rand, i uint64) uint64 { return i },
		"falling":    func(_ *rand.Rand, i uint64) uint64 { return n - i },
		"jittered":   func(rng *rand.Rand, i uint64) uint64 { return i + rng.Uint64N(64) },
		"far jitter": func(rng *rand.Rand, i uint64) uint64 { return i + rng.Uint64N(3000) },
		"random":     func(rng *rand.Rand, _ uint64) uint64 { return rng.Uint64N(n) },
		"few keys":   func(rng *rand.Rand, _ uint64) uint64 { return rng.Uint64N(700) },
		"old ones":   func(rng *rand.Rand, i uint64) uint64 { return i - min(i, rng.Uint64N(8)/7*rng.Uint64N(i+1)) },
	}
	for _, spread := range []string{"dense", "gaps", "clusters", "random"} {
		for _, shape := range slices.Sorted(maps.Keys(shapes)) {
			for _, deletes := range []float64{0, 0.6} {
				rng := rand.New(rand.NewPCG(7, uint64(deletes*10)))
				l := &loaded{Loader: index.NewLoader(), model: &model{want: make(map[blob.Key]index.Location)}}
				for i := range uint64(n) {
					key := keySpaces[spread](shapes[shape](rng, i))
					l.op(key, false)
					if rng.Float64() < deletes {
						l.op(keySpaces[spread](i-min(i, rng.Uint64N(9000))), true)
					}
				}
				m, replaced := l.Loader.Map()
				if replaced != l.replaced {
					t.Errorf("%s %s %v: replaced %+v, want %+v", spread, shape, deletes, replaced, l.replaced)
				}
				l.model.Map = m
				l.checkCounts(t)
				l.checkAll(t)
				for i := range uint64(3000) {
					l.put(t, keySpaces[spread](rng.Uint64N(2*n)), index.Location{Offset: uint32(i + 1)})
				}
				l.checkAll(t)
				if t.Failed() {
					t.Fatalf("in %s %s %v", spread, shape, deletes)
				}
			}
		}
	}
}

func TestLoaderEmpty(t *testing.T) {
	l := index.NewLoader()
	l.Delete(1)
	l.Put(2, index.Location{Size: 3}) // a deletion
	m, replaced := l.Map()
	if m.Len() != 0 || m.MaxKey() != 0 || replaced != (index.Replaced{}) {
		t.Fatalf("Len, MaxKey, replaced = %d, %d, %+v, want nothing", m.Len(), m.MaxKey(), replaced)
	}
	if _, ok := m.Get(1); ok {
		t.Fatal("an empty Map has key 1")
	}
}
