package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

func lockTestVolume(t testing.TB, disk vfs.FS) *Offline {
	t.Helper()
	o, err := LockOffline(disk, testDir, "", 7, goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func ignoreProgress(int64, int64) error { return nil }

// listTestVolume returns what List finds, in order.
func listTestVolume(t testing.TB, disk vfs.FS) (records []Record, lost []Damage) {
	t.Helper()
	o := lockTestVolume(t, disk)
	v, err := o.Open()
	if err != nil {
		t.Fatal(err)
	}
	err = v.List(func(r Record) error {
		r.Name, r.Data = bytes.Clone(r.Name), bytes.Clone(r.Data)
		records = append(records, r)
		return nil
	},
		func(d Damage) error { lost = append(lost, d); return nil }, func(int64) error { return nil })
	if err = errors.Join(err, v.Close(), o.Close()); err != nil {
		t.Fatal(err)
	}
	return records, lost
}

func TestOfflineIsRefused(t *testing.T) {
	disk := vfs.NewMem()
	s := openTestStore(t, disk, Config{})
	if _, err := s.Create(7, "pics", blob.Placement{}, blob.TTL{}); err != nil {
		t.Fatal(err)
	}
	if _, err := LockOffline(disk, testDir, "pics", 7, Config{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a directory that a server has open: %v", err)
	}
	closeStore(t, s)
	for _, c := range []struct {
		dir, collection string
		kind            error
		text            string
	}{
		{testDir, "", ErrNoVolume, `/d/7.dat: no such volume here; there is one of collection "pics"`},
		{testDir, "other", ErrNoVolume, `/d/other_7.dat: no such volume here; there is one of collection "pics"`},
		{testDir, "a/b", blob.ErrMalformed, ""},
		{"/elsewhere", "pics", fs.ErrNotExist, ""},
	} {
		_, err := LockOffline(disk, c.dir, c.collection, 7, Config{})
		if !errors.Is(err, c.kind) || c.text != "" && err.Error() != c.text {
			t.Errorf("%s of %q: %v", c.dir, c.collection, err)
		}
	}
	closeStore(t, openTestStore(t, disk, Config{})) // nobody holds the lock any more
}

// TestOfflineOpenChangesNothing opens a volume as a kill has left it, on a disk that refuses every change.
func TestOfflineOpenChangesNothing(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, payload(1, 3000))
	mustPut(t, v, 2, payload(2, 2_000_000)) // longer than the scanner's window
	mustDelete(t, v, 1)
	image := disk.Image(vfs.LoseNothing, nil)
	closeStore(t, s)
	torn := append(readTestFile(t, image, testBase+".dat"), payload(3, 100)...)
	writeTestFile(t, image, testBase+".dat", torn)
	for _, idx := range []bool{true, false} {
		if !idx {
			removeTestFile(t, image, testBase+".idx")
		}
		before := readVolumeFiles(t, image)
		o := lockTestVolume(t, image)
		image.SetFault(func(op vfs.Op) error {
			switch op.Kind {
			case vfs.OpWrite, vfs.OpTruncate, vfs.OpRename, vfs.OpRemove, vfs.OpSync:
				return fmt.Errorf("%v: %w", op, syscall.EROFS)
			}
			return nil
		})
		offline, err := o.Open()
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, offline, 1, nil)
		wantData(t, offline, 2, payload(2, 2_000_000))
		if err := errors.Join(offline.Close(), o.Close()); err != nil {
			t.Error(err)
		}
		image.SetFault(nil)
		if after := readVolumeFiles(t, image); !bytes.Equal(after.dat, before.dat) || !bytes.Equal(after.idx, before.idx) || !bytes.Equal(after.meta, before.meta) {
			t.Error("files were changed")
		}
	}
}

// TestListGolden holds what List finds in the frozen volumes against what Get finds.
func TestListGolden(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			records, lost := listTestVolume(t, g.load(t))
			if len(lost) > 0 {
				t.Errorf("lost %v", lost)
			}
			live := map[blob.Key]Record{}
			end := int64(0)
			for _, r := range records {
				if end != 0 && r.Offset != end {
					t.Errorf("a record at %d, the one before ends at %d", r.Offset, end)
				}
				end = r.Offset + r.Length
				if !r.Deleted {
					live[r.Key] = r
				}
			}
			for _, want := range g.want {
				r, ok := live[want.key]
				ok = ok && r.Cookie == want.cookie
				if ok != (want.want.Data != nil) || ok && (r.DataSize != int64(len(want.want.Data)) || !bytes.Equal(r.Data, want.want.Data) || string(r.Name) != string(want.want.Name)) {
					t.Errorf("key %d: %v, %+v", want.key, ok, r)
				}
			}
		})
	}
}

func TestListExpired(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	s, v := createTestVolume(t, disk, Config{Now: clock.Now})
	if err := v.Put(&Needle{Key: 1, Cookie: testCookie, Data: []byte("a"), TTL: blob.TTL{Count: 3, Unit: blob.TTLMinute}}); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, age := range []time.Duration{3*time.Minute - time.Millisecond, 3*time.Minute + time.Millisecond} {
		now := clock.Now().Add(age)
		o, err := LockOffline(disk, testDir, "", 7, Config{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		offline, err := o.Open()
		if err != nil {
			t.Fatal(err)
		}
		err = offline.List(func(r Record) error {
			if r.Deleted != (age > 3*time.Minute) || r.Tombstone {
				t.Errorf("after %v: %+v", age, r)
			}
			return nil
		}, nil, func(int64) error { return nil })
		if err = errors.Join(err, offline.Close(), o.Close()); err != nil {
			t.Error(err)
		}
	}
}

// fixTestVolume rebuilds the index of volume 7.
func fixTestVolume(t testing.TB, disk vfs.FS) Fixed {
	t.Helper()
	o := lockTestVolume(t, disk)
	fixed, err := o.Fix(ignoreProgress)
	if err = errors.Join(err, o.Close()); err != nil {
		t.Fatal(err)
	}
	return fixed
}

// TestFixGolden rebuilds the index of every frozen volume, of ours byte for byte.
func TestFixGolden(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			if g.name == "foreign3" { // of a deletion without a tombstone the log knows nothing
				g.want = slices.DeleteFunc(slices.Clone(g.want), func(n goldenNeedle) bool { return n.key == 4 })
			}
			disk := g.load(t)
			fixed := fixTestVolume(t, disk)
			if fixed.LostCount != 0 || fixed.LogBytes != int64(len(readTestFile(t, disk, testBase+".dat"))) {
				t.Errorf("%+v", fixed)
			}
			if g.name == "v3" || g.name == "example" {
				wantIdxAgrees(t, disk, testBase)
			}
			for range 2 {
				s, v := openTestVolume(t, disk, goldenConfig())
				g.check(t, v)
				if got := v.Status(); got.Live != fixed.Live || got.ReadOnly&CauseDamaged != 0 {
					t.Errorf("%d live, %q; the tool found %d", got.Live, got.ReadOnly, fixed.Live)
				}
				closeStore(t, s)
			}
			fixTestVolume(t, disk) // of one that was taken in meanwhile
			s, v := openTestVolume(t, disk, goldenConfig())
			g.check(t, v)
			closeStore(t, s)
		})
	}
}

// TestFixDamaged damages single records of a log and looks at what is said to be lost.
func TestFixDamaged(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := blob.Key(1); key <= 9; key++ {
		mustPut(t, v, key, payload(uint64(key), 500))
	}
	mustDelete(t, v, 9)
	closeStore(t, s)
	whole := readVolumeFiles(t, disk)
	records := logRecords(Version3, whole.dat)
	at := func(i int) int64 { return records[i].offset }
	for _, c := range []struct {
		name   string
		damage func(dat []byte) []byte
		live   int
		lost   []Damage // offset and length
	}{
		{"nothing", func(dat []byte) []byte { return dat }, 8, nil},
		{"data", func(dat []byte) []byte { dat[at(3)+100] ^= 1; return dat }, 7, []Damage{{Offset: at(3), Length: records[3].length}}},
		{"size", func(dat []byte) []byte { dat[at(4)+13] ^= 1; return dat }, 7, []Damage{{Offset: at(4), Length: records[4].length}}},
		{"two in a row, and another", func(dat []byte) []byte {
			clear(dat[at(1)+20 : at(3)-40])
			dat[at(5)+80] ^= 4
			return dat
		}, 5, []Damage{{Offset: at(1), Length: at(3) - at(1)}, {Offset: at(5), Length: records[5].length}}},
		{"end", func(dat []byte) []byte { return dat[:at(8)+200] }, 8, []Damage{{Offset: at(8), Length: 200}}},
	} {
		f := whole.clone()
		f.dat = c.damage(f.dat)
		disk := f.disk(t)
		fixed := fixTestVolume(t, disk)
		if fixed.Live != c.live || fixed.LostCount != len(c.lost) {
			t.Errorf("%s: %+v", c.name, fixed)
			continue
		}
		sum := int64(0)
		for i, want := range c.lost {
			if got := fixed.Lost[i]; got.Offset != want.Offset || got.Length != want.Length {
				t.Errorf("%s: lost %+v, want %+v", c.name, got, want)
			}
			sum += want.Length
		}
		if sum != fixed.LostBytes || !bytes.Equal(readTestFile(t, disk, testBase+".dat"), f.dat) {
			t.Errorf("%s: %+v, or the log was changed", c.name, fixed)
		}
	}
}

// TestFixFails fails every disk operation of a rebuild once: the old index file stays, or the new one is there, whole.
func TestFixFails(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := blob.Key(1); key <= 20; key++ {
		mustPut(t, v, key, payload(uint64(key), 100))
	}
	closeStore(t, s)
	whole := readVolumeFiles(t, disk)
	f := whole.clone()
	f.idx = f.idx[:len(f.idx)-idxEntrySize*5]
	for n := 1; ; n++ {
		disk := f.disk(t)
		if err := disk.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		o := lockTestVolume(t, disk)
		disk.FailAt(disk.OpCount()+n, syscall.EIO)
		_, err := o.Fix(ignoreProgress)
		disk.SetFault(nil)
		crashed := disk.Crash(vfs.LoseSome, rand.New(rand.NewPCG(uint64(n), 0)))
		idx := readTestFile(t, crashed, testBase+".idx")
		if !bytes.Equal(idx, f.idx) && !bytes.Equal(idx, whole.idx) {
			t.Fatalf("operation %d failed: %v, and the index has %d bytes", n, err, len(idx))
		}
		if err == nil {
			if n < 5 || !bytes.Equal(idx, whole.idx) {
				t.Errorf("after %d operations: %d bytes", n, len(idx))
			}
			return
		}
	}
}
