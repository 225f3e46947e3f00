package index_test

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"weed/internal/blob"
	"weed/storage/index"
)

// FuzzOps reads a stream of operations, 4 bytes each and more for runs, and compares Map and Loader with a
// Go map. The first byte chooses the pattern of the keys.
func FuzzOps(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 9, 1, 1, 0, 9, 2, 1, 0, 9})
	for pattern := range byte(len(keySpaces)) {
		f.Add([]byte{pattern, 3, 0, 0, 255, 3, 0, 0, 255, 4, 0, 16, 200, 5, 0, 3, 90, 3, 40, 0, 200})
		f.Add([]byte{pattern, 6, 0, 0, 255, 6, 99, 1, 255, 4, 3, 3, 255, 0, 255, 255, 255, 1, 255, 255, 1})
	}
	names := slices.Sorted(maps.Keys(keySpaces))
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 || len(ops) > 1<<8 {
			return
		}
		key := keySpaces[names[int(ops[0])%len(names)]]
		m, l := newModel(), index.NewLoader()
		var offset uint32
		put := func(i uint64, size uint32) {
			offset += 1 + size%77
			loc := index.Location{Offset: offset, Size: size}
			m.put(t, key(i), loc)
			l.Put(key(i), loc)
		}
		del := func(i uint64) {
			m.delete(t, key(i))
			l.Delete(key(i))
		}
		steps := uint64(0)
		for ops = ops[1:]; len(ops) >= 4 && steps < 12_000; ops = ops[4:] {
			i, arg := uint64(binary.LittleEndian.Uint16(ops[1:])), uint32(ops[3])
			run := uint64(arg) * 8
			steps += run
			switch ops[0] % 7 {
			case 0:
				put(i, arg<<24|arg)
			case 1:
				del(i)
			case 2:
				m.get(t, key(i))
			case 3:
				for k := range run {
					put(i+k, uint32(k)*arg)
				}
			case 4:
				for k := range run {
					del(i + 3*k)
				}
			case 5:
				for k := range run {
					m.get(t, key(i+2*k))
				}
			case 6:
				for k := range run {
					put((i+k*257)%(1<<16), uint32(k)<<12)
				}
			}
		}
		m.check(t)
		m.Map, _ = l.Map()
		m.check(t)
	})
}

// TestExtremes puts the values at the edges of their ranges next to each other.
func TestExtremes(t *testing.T) {
	m := newModel()
	const top = 1<<32 - 1
	for round := range 40 {
		for i, loc := range []index.Location{{1, 0}, {1, top}, {top, 0}, {top, top}, {2, 1<<31 - 1}} {
			for _, key := range []blob.Key{0, 1, 1 << 63, 1<<64 - 1, 1<<64 - 2} {
				m.put(t, key+blob.Key(i*round), loc)
			}
		}
	}
	m.check(t)
	if old, ok := m.Put(0, index.Location{Offset: 0, Size: 5}); !ok || old != m.want[0] {
		t.Errorf("Put with offset 0 = %v, %v, want a deletion of %v", old, ok, m.want[0])
	}
	delete(m.want, 0)
	m.check(t)
	m.checkByOffset(t, top, 1<<32)
	m.checkByOffset(t, 5, 5)
	m.checkByOffset(t, 2, 1)
}
