package storage

import (
	"errors"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestExpiredBytes: a scrub tells what a vacuum would take out for its age.
func TestExpiredBytes(t *testing.T) {
	clock := newFakeClock()
	s, v := createTestVolume(t, vfs.NewMem(), Config{Now: clock.Now})
	defer closeStore(t, s)
	deleted := func(atLeast uint64) {
		t.Helper()
		if got := v.Status().DeletedBytes; got < atLeast || got > atLeast+100 {
			t.Errorf("%d bytes are deleted, not about %d", got, atLeast)
		}
	}
	brief := blob.TTL{Count: 1, Unit: blob.TTLMinute}
	for key := range blob.Key(10) {
		n := &Needle{Key: key + 1, Cookie: testCookie, Data: make([]byte, 1000)}
		if key == 3 || key == 7 {
			n.TTL = brief
		}
		if err := v.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	scrubbed(t, v, nil)
	deleted(0)
	clock.advance(2 * time.Minute)
	deleted(0) // nobody has looked
	scrubbed(t, v, nil)
	deleted(2000)
	if _, err := v.Compact(CompactOptions{AsOf: clock.Now()}); err != nil {
		t.Fatal(err)
	}
	deleted(0)
	scrubbed(t, v, nil)
	deleted(0)
	if n := v.Status().Live; n != 8 {
		t.Errorf("%d blobs are left", n)
	}
}

func TestVolumeIsOver(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	s := openTestStore(t, disk, Config{Now: clock.Now})
	defer closeStore(t, s)
	v, err := s.Create(7, "", blob.Placement{}, blob.TTL{Count: 1, Unit: blob.TTLMinute})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, v, 1, []byte("first"))
	first := v.Status().ModifiedAt
	clock.advance(30 * time.Second)
	mustPut(t, v, 2, []byte("second"))
	last := v.Status().ModifiedAt
	alive := func(at time.Time) {
		t.Helper()
		if err := v.Expire(at); !errors.Is(err, ErrAlive) || v.ReadOnly() != 0 {
			t.Errorf("%v, %v", err, v.ReadOnly())
		}
	}
	clock.advance(40 * time.Second)
	wantData(t, v, 1, nil)
	wantData(t, v, 2, []byte("second"))
	alive(first) // it was written to since
	alive(last)  // too early
	mustPut(t, v, 3, []byte("third"))
	clock.advance(61 * time.Second)
	alive(last)
	if err := v.Expire(v.Status().ModifiedAt); err != nil || v.ReadOnly() != CauseExpired {
		t.Errorf("%v, %v", err, v.ReadOnly())
	}
	if err := v.Put(&Needle{Key: 4, Cookie: testCookie, Data: []byte("late")}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a put into a volume that is over: %v", err)
	}
	if err := v.Expire(v.Status().ModifiedAt); err != nil {
		t.Errorf("asked again: %v", err)
	}
	eternal, err := s.Create(8, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	if err := eternal.Expire(time.Unix(0, 0)); !errors.Is(err, ErrAlive) {
		t.Error(err)
	}
}
