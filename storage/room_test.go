package storage

import (
	"errors"
	"testing"

	"weed/internal/vfs"
)

// TestRoomThatCameBackUnseen: a disk is full for a moment, and has room again before anybody looks. What counts is how
// much there was when an append failed, not how much there is when that is noticed.
func TestRoomThatCameBackUnseen(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	mustPut(t, v, 1, payload(1, 1000))
	disk.SetCapacity(64 << 10)
	large := &Needle{Key: 2, Cookie: testCookie, Data: payload(2, 3<<20)}
	if err := v.Put(large); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	disk.SetCapacity(4 << 20)
	if !s.CheckSpace() || v.ReadOnly() != 0 {
		t.Fatalf("it stays read-only: %s", v.ReadOnly())
	}
	if err := v.Put(large); err != nil {
		t.Fatal(err)
	}

	// With as little room as there was it stays full.
	if err := v.Put(&Needle{Key: 3, Cookie: testCookie, Data: payload(3, 2<<20)}); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	for range 3 {
		s.CheckSpace()
		if v.ReadOnly() != CauseNoSpace {
			t.Fatalf("read-only: %q", v.ReadOnly())
		}
	}
}
