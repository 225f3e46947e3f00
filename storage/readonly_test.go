package storage

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestSizeLimit: a volume at the limit refuses puts, overwrites too, and takes deletes; also right after a
// restart; and a higher limit opens it again.
func TestSizeLimit(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	cfg := Config{Now: clock.Now}
	s, v := createTestVolume(t, disk, cfg)
	mustPut(t, v, 1, payload(1, 3000))
	mustPut(t, v, 2, payload(2, 3000))
	size := v.SizeBytes()
	setLimit := func(bytes int64) {
		t.Helper()
		if err := s.SetSizeLimit(bytes); err != nil || s.SizeLimitBytes() != bytes {
			t.Fatalf("limit %d: %d, %v", bytes, s.SizeLimitBytes(), err)
		}
	}
	setLimit(size + 1)
	mustPut(t, v, 3, nil) // the limit is met from below by one put
	if got := v.ReadOnly(); got != CauseFull {
		t.Fatalf("causes %q", got)
	}
	mustPut(t, v, 4, nil) // one whose fid was on its way
	clock.advance(fullGrace)
	for range 2 { // the second time with a clock that has gone back
		for key := range blob.Key(3) {
			err := v.Put(&Needle{Key: 1 + key, Cookie: testCookie, Data: []byte("x")})
			if !errors.Is(err, ErrFull) || !errors.Is(err, ErrReadOnly) || !errors.Is(v.CheckPut(), ErrFull) {
				t.Fatalf("put into a full volume: %v, %v", err, v.CheckPut())
			}
		}
		if got := v.Status().ReadOnly; got != CauseFull || got.String() != "full" {
			t.Fatalf("causes %q", got)
		}
		wantData(t, v, 2, payload(2, 3000))
		closeStore(t, s)
		clock.advance(-2 * fullGrace)
		s, v = openTestVolume(t, disk, cfg)
	}
	if _, err := v.Delete(1, testCookie); err != nil {
		t.Fatalf("delete from a full volume: %v", err)
	}
	setLimit(v.SizeBytes())
	if v.CheckPut() == nil {
		t.Error("a volume of exactly the limit takes puts")
	}
	setLimit(v.SizeBytes() + 100)
	mustPut(t, v, 4, nil)
	mustPut(t, v, 4, payload(3, 100))
	mustPut(t, v, 4, nil)
	clock.advance(fullGrace)
	if err := v.Put(&Needle{Key: 4, Cookie: testCookie}); !errors.Is(err, ErrFull) {
		t.Errorf("put into a volume that is full again: %v", err)
	}
	setLimit(0)
	mustPut(t, v, 5, nil)
	closeStore(t, s)
	s = openTestStore(t, disk, Config{})
	if got := s.SizeLimitBytes(); got != 0 {
		t.Errorf("limit %d after it was taken away", got)
	}
	closeStore(t, s)
	if err := s.SetSizeLimit(1); !errors.Is(err, ErrClosed) {
		t.Errorf("limit of a closed store: %v", err)
	}
}

// TestLimitFiles that can't be used, or written, do not keep a store from working.
func TestLimitFiles(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"version":2,"sizeLimitBytes":8}`, `{"version":1,"sizeLimitBytes":-8}`} {
		disk := vfs.NewMem()
		s, _ := createTestVolume(t, disk, Config{})
		closeStore(t, s)
		writeTestFile(t, disk, testDir+"/"+limitName, []byte(text))
		s, v := openTestVolume(t, disk, Config{})
		if s.SizeLimitBytes() != 0 {
			t.Errorf("%q: limit %d", text, s.SizeLimitBytes())
		}
		mustPut(t, v, 1, nil)
		disk.SetFault(func(op vfs.Op) error {
			if strings.Contains(op.Path, limitName) {
				return os.ErrPermission
			}
			return nil
		})
		if err := s.SetSizeLimit(8); !errors.Is(err, os.ErrPermission) {
			t.Errorf("%q: %v", text, err)
		}
		if !errors.Is(v.CheckPut(), ErrFull) {
			t.Errorf("%q: a limit that can't be written down does not hold", text)
		}
		disk.SetFault(nil)
		closeStore(t, s)
	}
}

// causeTest brings a cause about and takes it away again, in a store that may be opened anew for that.
type causeTest struct {
	cause      ReadOnlyCause
	set, clear func(*causeFixture)
}

// causeFixture is volume 7 with some blobs.
type causeFixture struct {
	t    *testing.T
	disk *vfs.Mem
	s    *Store
	v    *Volume
	cut  []byte // what was taken off the log
}

func (f *causeFixture) reopen(between func()) {
	closeStore(f.t, f.s)
	if between != nil {
		between()
	}
	f.s, f.v = openTestVolume(f.t, f.disk, Config{MinFreePercent: 10})
}

func (f *causeFixture) mark(on bool) {
	if err := f.v.SetReadOnly(CauseOperator, on); err != nil {
		f.t.Fatal(err)
	}
}

func (f *causeFixture) limit(bytes int64) {
	if err := f.s.SetSizeLimit(bytes); err != nil {
		f.t.Fatal(err)
	}
}

// room leaves a share of the disk free, in percent.
func (f *causeFixture) room(percent uint64) {
	u, err := f.disk.Usage(testDir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.disk.SetCapacity((u.TotalBytes - u.FreeBytes) * 100 / (100 - percent))
	if !f.s.CheckSpace() || f.s.CheckSpace() {
		f.t.Fatal("a change is told once")
	}
}

// breakLog loses the end of the log, or gives it back.
func (f *causeFixture) breakLog(lose bool) {
	f.reopen(func() {
		dat, err := f.disk.OpenFile(testBase+".dat", os.O_RDWR, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		defer dat.Close()
		size, err := dat.Size()
		if err != nil {
			f.t.Fatal(err)
		}
		if lose {
			f.cut = make([]byte, 64)
			if err = readFull(dat, f.cut, size-64); err == nil {
				err = dat.Truncate(size - 64)
			}
		} else {
			_, err = dat.WriteAt(f.cut, size)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	})
}

// TestCausesAreIndependent sets the causes in every order, and clears one: the others stay, at once and after
// a restart, and deletes are forbidden by those alone that are no matter of room.
func TestCausesAreIndependent(t *testing.T) {
	tests := []causeTest{
		{CauseOperator, func(f *causeFixture) { f.mark(true) }, func(f *causeFixture) { f.mark(false) }},
		{CauseFull, func(f *causeFixture) { f.limit(1000) }, func(f *causeFixture) { f.limit(1 << 30) }},
		{CauseNoSpace, func(f *causeFixture) { f.room(5) }, func(f *causeFixture) { f.room(50) }},
		{CauseDamaged, func(f *causeFixture) { f.breakLog(true) }, func(f *causeFixture) { f.breakLog(false) }},
	}
	for subset := 1; subset < 1<<len(tests); subset++ {
		for _, backwards := range []bool{false, true} {
			f := &causeFixture{t: t, disk: vfs.NewMem()}
			f.s, f.v = createTestVolume(t, f.disk, Config{MinFreePercent: 10})
			mustPut(t, f.v, 1, payload(1, 3000))
			mustPut(t, f.v, 2, payload(2, 3000))
			var chosen []causeTest
			for i := range tests {
				if subset>>i&1 != 0 {
					chosen = append(chosen, tests[i])
				}
			}
			if backwards {
				slices.Reverse(chosen)
			}
			var want ReadOnlyCause
			for _, c := range chosen {
				c.set(f)
				want |= c.cause
				f.check(want)
			}
			f.reopen(nil)
			f.check(want)
			for _, c := range chosen {
				c.clear(f)
				want &^= c.cause
				f.check(want)
			}
			mustPut(t, f.v, 3, nil)
			closeStore(t, f.s)
		}
	}
}

// check compares the causes with those that are wanted, and what is refused and said.
func (f *causeFixture) check(want ReadOnlyCause) {
	f.t.Helper()
	if got := f.v.Status().ReadOnly; got != want {
		f.t.Fatalf("causes %q, want %q", got, want)
	}
	err := f.v.CheckPut()
	if (err != nil) != (want != 0) || err != nil && !errors.Is(err, ErrReadOnly) {
		f.t.Fatalf("%q: put is refused with %v", want, err)
	}
	for _, c := range causeTexts {
		if want&c.cause != 0 && want != CauseFull && !strings.Contains(err.Error(), c.text) {
			f.t.Errorf("%v does not say %q", err, c.text)
		}
	}
	if denied := f.v.denies(true) != nil; denied != (want&(CauseOperator|CauseDamaged) != 0) {
		f.t.Fatalf("%q: deletes are denied: %v", want, denied)
	}
}

// TestNoRoomForOne fills a disk but for a little: what did not fit keeps puts away from all volumes of the disk, the
// small ones that would fit too, until clearly more is free, so that nobody is sent to a volume that takes every
// other blob.
func TestNoRoomForOne(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	other, err := s.Create(8, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, v, 1, payload(1, 3000))
	u, err := disk.Usage(testDir)
	if err != nil {
		t.Fatal(err)
	}
	used := u.TotalBytes - u.FreeBytes
	disk.SetCapacity(used + 50_000)
	if s.CheckSpace() {
		t.Fatal("there is room")
	}
	if err := v.Put(&Needle{Key: 2, Cookie: testCookie, Data: payload(2, 100_000)}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("a put of more than there is room for: %v", err)
	}
	s.CheckSpace()
	for _, moreBytes := range []uint64{50_000, 60_000, 1_000_000} {
		disk.SetCapacity(used + moreBytes)
		if s.CheckSpace() || v.CheckPut() == nil || other.CheckPut() == nil {
			t.Fatalf("%d bytes free: %v, %v", moreBytes, v.CheckPut(), other.CheckPut())
		}
	}
	if _, err := s.Create(9, "", blob.Placement{}, blob.TTL{}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("a new volume on a full disk: %v", err)
	}
	disk.SetCapacity(used + 2<<20)
	if !s.CheckSpace() || v.CheckPut() != nil || other.CheckPut() != nil {
		t.Fatalf("with room again: %v, %v", v.CheckPut(), other.CheckPut())
	}
	mustPut(t, v, 2, payload(2, 100_000))
}
