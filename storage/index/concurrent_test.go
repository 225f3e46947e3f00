package index_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"weed/internal/blob"
	"weed/storage/index"
)

// TestReadersSeeValidLocations lets readers look up and iterate while one writer inserts in random order,
// overwrites and deletes, so that sections are merged, split and joined under them. A Location carries its
// key and the round that wrote it: a reader must never see another key's, one that was not written yet,
// or one that was outdated before the read began.
func TestReadersSeeValidLocations(t *testing.T) {
	const keys, rounds, readers = 12_000, 2, 2
	m := index.New()
	// writing holds the step that the writer is at for each key, written the one that is done. In round r
	// a key takes step 2r+1, a put, and 2r+2, a deletion, but for every fifth key, which is never deleted.
	var writing, written [keys]atomic.Uint32
	at := func(key, step uint32) index.Location { return index.Location{Offset: key + 1, Size: step} }
	var done atomic.Bool
	var running sync.WaitGroup
	check := func(key, before uint32, loc index.Location, ok bool) bool {
		after := writing[key].Load()
		switch {
		case ok && (loc.Offset != key+1 || loc.Size%2 != 1 || loc.Size < before || loc.Size > after):
			t.Errorf("key %d: got %v between steps %d and %d", key, loc, before, after)
		case !ok && key%5 == 0 && before > 0, !ok && before == after && before%2 == 1:
			t.Errorf("key %d: not found between steps %d and %d", key, before, after)
		default:
			return true
		}
		return false
	}
	spread := func(key uint32) blob.Key { return blob.Key(key) << 20 }

	for i := range readers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			for !done.Load() {
				key := rng.Uint32N(keys)
				before := written[key].Load()
				loc, ok := m.Get(spread(key))
				if !check(key, before, loc, ok) {
					return
				}
			}
		})
	}
	iterate := func(ordered bool) {
		var before [keys]uint32
		for !done.Load() {
			for key := range before {
				before[key] = written[key].Load()
			}
			var found [keys]bool
			last, lastOffset := blob.Key(0), uint32(0)
			seq := m.ByOffset(0, 1<<32)
			if ordered {
				seq = m.All()
			}
			for k, loc := range seq {
				key := uint32(k >> 20)
				if found[key] || ordered && k < last || loc.Offset < lastOffset {
					t.Errorf("key %d comes twice or out of order", key)
					return
				}
				found[key], last, lastOffset = true, k, loc.Offset
				if !check(key, before[key], loc, true) {
					return
				}
			}
			for key := 0; key < keys; key += 5 {
				if before[key] > 0 && !found[key] {
					t.Errorf("key %d is live throughout and was not yielded", key)
					return
				}
			}
			if m.Len() < 0 || m.Len() > keys || m.Bytes() <= 0 {
				t.Errorf("Len, Bytes = %d, %d", m.Len(), m.Bytes())
			}
		}
	}
	running.Go(func() { iterate(true) })
	running.Go(func() { iterate(false) })

	rng := rand.New(rand.NewPCG(4, 4))
	for round := range uint32(rounds) {
		for _, k := range rng.Perm(keys) {
			key, step := uint32(k), 2*round+1
			writing[key].Store(step)
			m.Put(spread(key), at(key, step))
			written[key].Store(step)
		}
		for _, k := range rng.Perm(keys) {
			if key, step := uint32(k), 2*round+2; key%5 != 0 {
				writing[key].Store(step)
				m.Delete(spread(key))
				written[key].Store(step)
			}
		}
	}
	done.Store(true)
	running.Wait()
	if want := keys / 5; m.Len() != want {
		t.Errorf("Len = %d, want %d", m.Len(), want)
	}
}

// TestWriteWhileIterating writes from within the loops, as the comments allow.
func TestWriteWhileIterating(t *testing.T) {
	m := newModel()
	for i := range blob.Key(10_000) {
		m.put(t, i*3, index.Location{Offset: uint32(i + 1), Size: 1})
	}
	n := 0
	for key := range m.All() {
		n++
		m.put(t, key-key%2, index.Location{Offset: 20_000, Size: 2})
		if key%4 == 0 {
			m.delete(t, key)
		}
	}
	if n < 10_000 {
		t.Errorf("All yielded %d keys of 10000", n)
	}
	m.check(t)
	for key, loc := range m.ByOffset(0, 20_000) {
		m.put(t, key, index.Location{Offset: loc.Offset + 20_000, Size: 3})
	}
	if left := collect(m.ByOffset(0, 20_000)); len(left) != 0 {
		t.Errorf("%d needles are left below the offset from which all were moved", len(left))
	}
	m.check(t)
	for range m.All() {
		break // the pooled room must come back whole
	}
	m.check(t)
}
