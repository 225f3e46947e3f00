package index_test

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"weed/internal/blob"
	"weed/storage/index"
)

func heap() int64 {
	var s runtime.MemStats
	runtime.GC() // twice: pooled room survives one
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// measure returns the heap that the Map which fill returns holds, and checks the Map's own count of it.
func measure(t *testing.T, fill func() *index.Map) int64 {
	t.Helper()
	before := heap()
	m := fill()
	grown := heap() - before
	own := m.Bytes()
	if off := grown - own; max(off, -off) > grown/50+16<<10 {
		t.Errorf("Bytes = %d, but the heap grew by %d", own, grown)
	}
	runtime.KeepAlive(m)
	return grown
}

// TestMemory holds a million needles to 8 bytes each, slack included, however they came in, and random
// 64-bit keys to twice that.
func TestMemory(t *testing.T) {
	scale := 1
	if raceDetector {
		scale = 10 // it is ten times slower, and one goroutine has no races
	}
	for _, c := range []struct {
		name  string
		n     int
		limit float64
		fill  func(n int) *index.Map
	}{
		{"rising keys", 1_000_000, 8, func(n int) *index.Map { m, _ := filled(n, 64<<10); return m }},
		{"small needles", 1_000_000, 5, func(n int) *index.Map { m, _ := filled(n, 1<<10); return m }},
		{"loaded", 1_000_000, 8, func(n int) *index.Map {
			l, v := index.NewLoader(), newVolume(64<<10)
			for range n {
				l.Put(v.next())
			}
			m, _ := l.Map()
			return m
		}},
		{"keys in random order", 1_000_000, 8, func(n int) *index.Map {
			m, v := index.New(), newVolume(64<<10)
			for _, i := range v.rng.Perm(n) {
				m.Put(blob.Key(i*7), v.place())
			}
			return m
		}},
		{"random 64-bit keys", 200_000, 16, func(n int) *index.Map {
			m, v := index.New(), newVolume(64<<10)
			for range n {
				m.Put(blob.Key(v.rng.Uint64()), v.place())
			}
			return m
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.n / scale
			got := float64(measure(t, func() *index.Map { return c.fill(n) })) / float64(n)
			t.Logf("%.2f bytes a needle", got)
			if got > c.limit {
				t.Errorf("%.2f bytes a needle, want at most %g", got, c.limit)
			}
		})
	}
}

// TestMemoryIsReused overwrites, deletes and reinserts many times: memory follows the live needles.
func TestMemoryIsReused(t *testing.T) {
	n := 50_000
	if raceDetector {
		n = 20_000
	}
	rng := rand.New(rand.NewPCG(5, 5))
	m, v := index.New(), newVolume(32<<10)
	put := func(keys []int) {
		for _, key := range keys {
			m.Put(blob.Key(key), v.place())
		}
	}
	atMost := func(what string, bytes int) {
		t.Helper()
		limit := int64(bytes)
		t.Logf("%s: %d needles in %d bytes", what, m.Len(), m.Bytes())
		if m.Bytes() > limit {
			t.Errorf("%s: %d needles take %d bytes, want at most %d", what, m.Len(), m.Bytes(), limit)
		}
	}
	measure(t, func() *index.Map {
		for range 6 {
			put(rng.Perm(n))
		}
		atMost("after five overwrites", 9*n)
		for range 3 {
			order := rng.Perm(n)
			for _, key := range order[:n*9/10] {
				m.Delete(blob.Key(key))
			}
			atMost("after deleting nine in ten", 2*n)
			put(order[:n*9/10])
			atMost("after reinserting them", 9*n)
		}
		for _, key := range rng.Perm(n) {
			m.Delete(blob.Key(key))
		}
		atMost("after deleting all", n/4)
		return m
	})
	if m.Len() != 0 {
		t.Errorf("Len = %d after all was deleted", m.Len())
	}
}

// TestMemorySmall holds small volumes, of which a server has thousands, to small sizes.
func TestMemorySmall(t *testing.T) {
	const maps = 200
	for _, c := range []struct {
		needles int
		limit   int64
	}{{0, 512}, {1, 1 << 10}, {100, 2 << 10}, {1000, 10 << 10}} {
		var all [maps]*index.Map
		var own int64
		before := heap()
		for i := range all {
			all[i], _ = filled(c.needles, 4<<10)
			own += all[i].Bytes()
		}
		each := (heap() - before) / maps
		runtime.KeepAlive(all)
		if each > c.limit {
			t.Errorf("%d needles take %d bytes, want at most %d", c.needles, each, c.limit)
		}
		if own /= maps; own > each*5/4+64 || own < each*3/4-64 {
			t.Errorf("%d needles: Bytes = %d, but the heap grew by %d", c.needles, own, each)
		}
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	m, keys := filled(10_000, 4<<10)
	i := 0
	allocs := testing.AllocsPerRun(1000, func() {
		m.Get(keys[i])
		m.Get(keys[i] + 1)
		i++
	})
	if allocs != 0 {
		t.Errorf("Get allocates %v times", allocs)
	}
}
