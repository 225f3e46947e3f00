package index_test

import (
	"math/rand/v2"
	"testing"

	"weed/internal/blob"
	"weed/storage/index"
)

// TestByOffsetInParts iterates over more needles than are sorted at once: some crowded into a small part of
// the file, the rest spread over all of it, some moved or deleted since.
func TestByOffsetInParts(t *testing.T) {
	const n = 150_000
	m := newModel()
	rng := rand.New(rand.NewPCG(6, 6))
	for i := range uint32(n) {
		loc := index.Location{Offset: 1 + rng.Uint32(), Size: i}
		if i < n/3 {
			loc.Offset = 1<<28 + 5*i
		}
		m.put(t, blob.Key(rng.Uint64()), loc)
	}
	for key := range m.want {
		switch rng.IntN(8) {
		case 0:
			m.delete(t, key)
		case 1:
			m.put(t, key, index.Location{Offset: 1 + rng.Uint32(), Size: 1})
		}
	}
	m.checkByOffset(t, 0, 1<<32)
	m.checkByOffset(t, 1<<28+1000, 1<<30+1)
	m.checkByOffset(t, 1<<20, 1<<20)

	left := 1000
	for range m.ByOffset(0, 1<<32) {
		if left--; left == 0 {
			break
		}
	}
	if left != 0 {
		t.Errorf("the loop ended %d needles before it was broken off", left)
	}
}
