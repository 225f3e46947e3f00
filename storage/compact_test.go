package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// fillForCompaction puts 60 blobs, deletes every third and replaces every fifth of the rest.
func fillForCompaction(t testing.TB, v *Volume) map[blob.Key][]byte {
	t.Helper()
	want := map[blob.Key][]byte{}
	for key := blob.Key(1); key <= 60; key++ {
		want[key] = payload(uint64(key), 100*int(key))
		mustPut(t, v, key, want[key])
	}
	for key := blob.Key(1); key <= 60; key++ {
		switch {
		case key%3 == 0:
			mustDelete(t, v, key)
			want[key] = nil
		case key%5 == 0:
			want[key] = payload(uint64(key)+1000, 50)
			mustPut(t, v, key, want[key])
		}
	}
	return want
}

func wantAll(t testing.TB, v *Volume, want map[blob.Key][]byte) {
	t.Helper()
	for key, data := range want {
		wantData(t, v, key, data)
	}
}

func TestCompact(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	want := fillForCompaction(t, v)
	want[100] = payload(100, 3<<20) // longer than what is read at once
	mustPut(t, v, 100, want[100])
	if err := v.SetReadOnly(CauseOperator, true); err != nil {
		t.Fatal(err)
	}
	large, err := v.Open(59, testCookie) // a reader that has begun in the old log
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Compact(7, CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(want[59]))
	if _, err := large.ReadAt(b, 0); err != nil || !bytes.Equal(b, want[59]) {
		t.Errorf("a reader of the old log: %v", err)
	}
	status := v.Status()
	if done.Revision != 1 || status.Revision != 1 || done.After >= done.Before || status.SizeBytes != done.After ||
		status.DeletedBytes != 0 || status.ReadOnly != CauseOperator || status.Live != 41 {
		t.Errorf("done %+v, status %+v", done, status)
	}
	wantAll(t, v, want)
	if err := v.SetReadOnly(CauseOperator, false); err != nil {
		t.Fatal(err)
	}
	mustPut(t, v, 3, payload(3, 10))
	want[3] = payload(3, 10)
	mustDelete(t, v, 1)
	want[1] = nil
	closeStore(t, s)
	s, v = openTestVolume(t, disk, Config{})
	wantAll(t, v, want)
	if v.Revision() != 1 || v.ReadOnly() != 0 {
		t.Errorf("revision %d, read-only %q after a restart", v.Revision(), v.ReadOnly())
	}
	checkFound(t, v)
	closeStore(t, s)
	if done, err = compactTestVolume(disk, Config{}); err != nil || done.Revision != 2 {
		t.Errorf("offline: %+v, %v", done, err)
	}
	s, v = openTestVolume(t, disk, Config{})
	wantAll(t, v, want)
	closeStore(t, s)
}

// checkFound scrubs a volume that must be whole.
func checkFound(t *testing.T, v *Volume) {
	t.Helper()
	err := v.Scrub(v.SizeBytes(), nil, func(d Damage) bool { t.Errorf("damage: %+v", d); return false }, nil, func(int64) {})
	if err != nil {
		t.Error(err)
	}
}

func TestCompactExpired(t *testing.T) {
	clock := newFakeClock()
	s, v := createTestVolume(t, vfs.NewMem(), Config{Now: clock.Now})
	minute, err := blob.ParseTTL("1m")
	if err != nil {
		t.Fatal(err)
	}
	for key := blob.Key(1); key <= 2; key++ {
		if err := v.Put(&Needle{Key: key, Cookie: testCookie, Data: payload(1, 2000), TTL: minute}); err != nil {
			t.Fatal(err)
		}
		clock.advance(45 * time.Second)
	}
	mustPut(t, v, 3, payload(3, 9))
	if _, err := v.Compact(CompactOptions{AsOf: clock.Now()}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(liveKeys(v)); got != "[2 3]" {
		t.Errorf("live are %s", got)
	}
	closeStore(t, s)
}

func TestCompactRefused(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{MinFreePercent: 1})
	want := fillForCompaction(t, v)
	copied, err := s.Create(8, "", blob.Placement{Servers: 1}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compact(8, CompactOptions{}); !errors.Is(err, ErrSeveralCopies) {
		t.Errorf("volume %d of two copies: %v", copied.ID(), err)
	}
	if _, err := s.Compact(9, CompactOptions{}); !errors.Is(err, ErrNoVolume) {
		t.Errorf("no volume: %v", err)
	}
	stop := errors.New("stop")
	inside := func(int) error {
		if _, err := s.Compact(7, CompactOptions{}); !errors.Is(err, ErrCompacting) {
			t.Errorf("a second compaction: %v", err)
		}
		return stop
	}
	if _, err := s.Compact(7, CompactOptions{Pace: inside}); !errors.Is(err, stop) {
		t.Errorf("paced: %v", err)
	}
	usage, err := disk.Usage(testDir)
	if err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity(usage.TotalBytes - usage.FreeBytes + 1000)
	if _, err := s.Compact(7, CompactOptions{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("full disk: %v", err)
	}
	wantNoLeftovers(t, disk)
	v.turnReadOnly(CauseDamaged, stop)
	if _, err := s.Compact(7, CompactOptions{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("damaged: %v", err)
	}
	wantAll(t, v, want)
	closeStore(t, s)
}

func wantNoLeftovers(t testing.TB, disk vfs.FS) {
	t.Helper()
	for _, ext := range []string{".cpd", ".cpx"} {
		if _, err := disk.Stat(testBase + ext); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", ext, err)
		}
	}
}

// TestCompactFailures fails each operation of a compaction once, or it and all that follow, and pulls the plug then:
// the volume has all that was acknowledged, before and after.
func TestCompactFailures(t *testing.T) {
	for _, fails := range []struct {
		name string
		set  func(*vfs.Mem, int, error)
	}{{"once", (*vfs.Mem).FailAt}, {"from then on", (*vfs.Mem).FailFrom}} {
		for _, loss := range []vfs.Loss{vfs.LoseUnsynced, vfs.LoseSome, vfs.LoseNothing} {
			t.Run(fmt.Sprint(fails.name, " ", loss), func(t *testing.T) {
				for n := 1; compactWithFailure(t, n, loss, func(disk *vfs.Mem) { fails.set(disk, disk.OpCount()+n, syscall.EIO) }); n++ {
					if n > 1000 {
						t.Fatal("no end")
					}
				}
			})
		}
	}
}

// compactWithFailure returns whether the compaction met the failure at its n-th operation.
func compactWithFailure(t *testing.T, n int, loss vfs.Loss, arm func(*vfs.Mem)) bool {
	disk := vfs.NewMem()
	_, v := createTestVolume(t, disk, Config{})
	want := fillForCompaction(t, v)
	waitIdle(v)
	before := disk.OpCount()
	arm(disk)
	_, err := v.Compact(CompactOptions{})
	met := disk.OpCount()-before >= n
	for key, data := range want {
		if got, _, e := v.Get(key, testCookie, nil); e == nil && !bytes.Equal(got.Data, data) {
			t.Fatalf("operation %d: key %d is another blob", n, key)
		}
	}
	late := payload(999, 700)
	if v.Put(&Needle{Key: 999, Cookie: testCookie, Data: late}) == nil {
		want[999] = late
	}
	if _, e := v.Delete(2, testCookie); e == nil {
		want[2] = nil
	}
	disk = disk.Crash(loss, rand.New(rand.NewPCG(uint64(n), 7)))
	s, v := openTestVolume(t, disk, Config{})
	if v.ReadOnly() != 0 {
		t.Errorf("operation %d (%v): read-only after a restart: %s", n, err, v.ReadOnly())
	}
	wantAll(t, v, want)
	wantNoLeftovers(t, disk)
	checkFound(t, v)
	if err == nil && v.Revision() != 1 {
		t.Errorf("operation %d: revision %d", n, v.Revision())
	}
	if _, err := s.Compact(7, CompactOptions{}); err != nil {
		t.Errorf("operation %d: once more: %v", n, err)
	}
	wantAll(t, v, want)
	closeStore(t, s)
	if t.Failed() {
		t.FailNow()
	}
	return met
}

// TestCompactUnderLoad compacts again and again while blobs are put, replaced, deleted and read.
func TestCompactUnderLoad(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{Sync: SyncNever})
	const writers, rounds = 4, 6
	var stop atomic.Bool
	var group sync.WaitGroup
	states := make([]map[blob.Key][]byte, writers)
	for w := range writers {
		states[w] = map[blob.Key][]byte{}
		group.Go(func() { loadWhileCompacting(t, v, w, states[w], &stop) })
	}
	for range rounds {
		length := v.SizeBytes()
		if _, err := s.Compact(7, CompactOptions{}); err != nil {
			t.Error(err)
		}
		for v.SizeBytes() < length/2 && !t.Failed() {
			if _, _, err := v.Get(1, testCookie, nil); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
	}
	stop.Store(true)
	group.Wait()
	closeStore(t, s)
	s, v = openTestVolume(t, disk, Config{})
	for _, state := range states {
		wantAll(t, v, state)
	}
	checkFound(t, v)
	if v.Revision() != rounds || v.ReadOnly() != 0 {
		t.Errorf("revision %d, read-only %q", v.Revision(), v.ReadOnly())
	}
	closeStore(t, s)
}

func loadWhileCompacting(t *testing.T, v *Volume, writer int, state map[blob.Key][]byte, stop *atomic.Bool) {
	rng := rand.New(rand.NewPCG(uint64(writer), 3))
	for i := 0; (i < 2000 || !stop.Load()) && !t.Failed(); i++ {
		key := blob.Key(writer*1000 + rng.IntN(50))
		switch data := state[key]; {
		case data != nil && rng.IntN(3) == 0:
			mustDeleteOrFail(t, v, key)
			state[key] = nil
		case data != nil && rng.IntN(2) == 0:
			wantData(t, v, key, data)
		default:
			state[key] = payload(rng.Uint64(), 1+rng.IntN(3000))
			if err := v.Put(&Needle{Key: key, Cookie: testCookie, Data: state[key]}); err != nil {
				t.Error(err)
			}
		}
	}
}

func mustDeleteOrFail(t *testing.T, v *Volume, key blob.Key) {
	if _, err := v.Delete(key, testCookie); err != nil {
		t.Errorf("delete key %d: %v", key, err)
	}
}

// TestCompactForeign compacts volumes of other programs, with what was appended to them. What they hold stays, also
// over a crash; empty blobs that only the index tells from tombstones do, too.
func TestCompactForeign(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			disk := g.load(t)
			s, v := openTestVolume(t, disk, goldenConfig())
			if v.Placement().Copies() > 1 {
				if _, err := s.Compact(7, CompactOptions{}); !errors.Is(err, ErrSeveralCopies) {
					t.Error(err)
				}
				v.superblock.Placement = blob.Placement{}
			}
			extra := v.superblock.ExtraLength
			if err := v.SetReadOnly(CauseOperator, false); err != nil {
				t.Fatal(err)
			}
			added := v.Put(&Needle{Key: 0x99, Cookie: testCookie, Data: payload(9, 3000)}) == nil
			revision := v.Revision()
			if _, err := v.Compact(CompactOptions{}); err != nil {
				t.Fatal(err)
			}
			crashed := disk.Image(vfs.LoseUnsynced, nil)
			g.check(t, v)
			closeStore(t, s)
			for _, disk := range []*vfs.Mem{disk, crashed} {
				s, v := openTestVolume(t, disk, goldenConfig())
				g.check(t, v)
				if added {
					wantData(t, v, 0x99, payload(9, 3000))
				}
				if v.Revision() != revision+1 || v.superblock.ExtraLength != extra || v.ReadOnly()&CauseDamaged != 0 {
					t.Errorf("%+v, %s", v.superblock, v.ReadOnly())
				}
				closeStore(t, s)
			}
		})
	}
}
