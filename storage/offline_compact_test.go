package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// compactTestVolume compacts volume 7.
func compactTestVolume(disk vfs.FS, cfg Config) (Compacted, error) {
	o, err := LockOffline(disk, testDir, "", 7, cfg)
	if err != nil {
		return Compacted{}, err
	}
	done, err := o.Compact(ignoreProgress)
	return done, errors.Join(err, o.Close())
}

// TestCompactGolden compacts every frozen volume, twice. What can be read stays.
func TestCompactGolden(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			disk := g.load(t)
			before := readTestFile(t, disk, testBase+".dat")
			super, err := ParseSuperblock(before)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				done, err := compactTestVolume(disk, goldenConfig())
				if err != nil {
					t.Fatal(err)
				}
				after := readTestFile(t, disk, testBase+".dat")
				if done.After != int64(len(after)) || round == 0 && (done.Before != int64(len(before)) || len(after) >= len(before)) ||
					round == 1 && done.After != done.Before {
					t.Errorf("round %d: %+v, %d bytes became %d", round, done, len(before), len(after))
				}
				if !bytes.Equal(after[8:super.Length()], before[8:super.Length()]) {
					t.Error("the extra part has changed")
				}
				s, v := openTestVolume(t, disk, goldenConfig())
				if !v.foreign { // whose .idx alone tells empty blobs from tombstones
					wantIdxAgrees(t, disk, testBase)
				}
				g.check(t, v)
				status := v.Status()
				if status.Revision != super.Revision+uint16(round)+1 || status.Live != done.Live || status.DeletedCount != 0 ||
					status.ReadOnly&CauseDamaged != 0 || (status.ReadOnly&CauseOperator != 0) != (g.name == "foreign") ||
					status.Placement != super.Placement || status.TTL != super.TTL {
					t.Errorf("%+v", status)
				}
				closeStore(t, s)
			}
			if _, err := disk.Stat(testBase + ".cpd"); err == nil {
				t.Error("files are left")
			}
		})
	}
}

func TestCompactDropsExpired(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	s, v := createTestVolume(t, disk, Config{Now: clock.Now})
	for key, ttl := range []blob.TTL{{}, {Count: 1, Unit: blob.TTLMinute}, {Count: 1, Unit: blob.TTLHour}, {Count: 1, Unit: blob.TTLMinute}} {
		n := Needle{Key: blob.Key(key + 1), Cookie: testCookie, TTL: ttl, Data: payload(uint64(key), []int{100, 200, 1_500_000, 1_500_000}[key])}
		if err := v.Put(&n); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	clock.advance(2 * time.Minute)
	done, err := compactTestVolume(disk, Config{Now: clock.Now})
	if err != nil || done.Live != 2 || done.After > 1_501_000 {
		t.Fatalf("%+v, %v", done, err)
	}
	s, v = openTestVolume(t, disk, Config{Now: clock.Now})
	defer closeStore(t, s)
	wantData(t, v, 1, payload(0, 100))
	wantData(t, v, 3, payload(2, 1_500_000))
	wantData(t, v, 2, nil)
	mustPut(t, v, 9, []byte("goes on"))
}

func TestCompactIsRefused(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, payload(1, 5000))
	mustPut(t, v, 2, payload(2, 100))
	mustDelete(t, v, 2)
	closeStore(t, s)
	whole := readVolumeFiles(t, disk)
	refused := func(disk vfs.FS, f volumeFiles, want error) {
		t.Helper()
		if _, err := compactTestVolume(disk, Config{}); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if after := readVolumeFiles(t, disk); !bytes.Equal(after.dat, f.dat) {
			t.Error("the log has changed")
		}
	}
	f := whole.clone()
	f.dat[100] ^= 1
	refused(f.disk(t), f, ErrCorrupt)
	narrow := whole.disk(t)
	narrow.SetCapacity(8 << 10)
	refused(narrow, whole, ErrNoSpace)
}

// TestServerSettlesSwaps starts a server where a backup and a swap were broken off.
func TestServerSettlesSwaps(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, []byte("kept"))
	closeStore(t, s)
	f := readVolumeFiles(t, disk)
	for _, name := range []string{"8.dat.backup", "8.meta.backup"} {
		writeTestFile(t, disk, testDir+"/"+name, []byte("begun"))
	}
	for ext, content := range map[string][]byte{".dat": f.dat, ".idx": f.idx, ".meta": f.meta} {
		writeTestFile(t, disk, testDir+"/9"+ext+partialSuffix, content)
	}
	writeTestFile(t, disk, testDir+"/9"+swapExtension, []byte(partialSuffix+"\n"))
	writeTestFile(t, disk, testDir+"/10"+swapExtension, []byte("/etc\n"))
	s = openTestStore(t, disk, Config{})
	defer closeStore(t, s)
	for _, id := range []blob.VolumeID{7, 9} {
		v, ok := s.Volume(id)
		if !ok {
			t.Fatalf("volume %d is not there", id)
		}
		wantData(t, v, 1, []byte("kept"))
	}
	for name, want := range map[string]bool{"8.dat.backup": true, "8.meta.backup": true, "9.dat.backup": false, "9.swap": false, "10.swap": true} {
		if _, err := disk.Stat(testDir + "/" + name); (err == nil) != want {
			t.Errorf("%s is there: %v", name, err == nil)
		}
	}
}

// TestCompactFails fails each disk operation of a compaction once, with a power cut after it, and another one while the
// volume is opened again: there is the old volume or the new one, and everything in it.
func TestCompactFails(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := blob.Key(1); key <= 20; key++ {
		mustPut(t, v, key, payload(uint64(key), 200))
		if key%3 == 0 {
			mustDelete(t, v, key)
		}
	}
	closeStore(t, s)
	whole := readVolumeFiles(t, disk)
	if _, err := compactTestVolume(disk, Config{}); err != nil {
		t.Fatal(err)
	}
	compacted := readTestFile(t, disk, testBase+".dat")
	check := func(name string, disk *vfs.Mem) {
		t.Helper()
		s, v := openTestVolume(t, disk, Config{})
		defer closeStore(t, s)
		dat := readTestFile(t, disk, testBase+".dat")
		if v.ReadOnly() != 0 || v.foreign || !bytes.Equal(dat, whole.dat) && !bytes.Equal(dat, compacted) {
			t.Fatalf("%s: %d bytes, read-only %q, foreign %v", name, len(dat), v.ReadOnly(), v.foreign)
		}
		for key := blob.Key(1); key <= 20; key++ {
			var want []byte
			if key%3 != 0 {
				want = payload(uint64(key), 200)
			}
			wantData(t, v, key, want)
		}
	}
	for n := 1; ; n++ {
		disk := whole.disk(t)
		if err := disk.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		failing := disk.OpCount() + n
		disk.FailAt(failing, syscall.EIO)
		done, err := compactTestVolume(disk, Config{})
		disk.SetFault(nil)
		last := disk.OpCount() < failing
		if err == nil && done.After != int64(len(compacted)) {
			t.Errorf("operation %d: %+v", n, done)
		}
		for seed := range uint64(8) {
			name := fmt.Sprintf("operation %d, crash %d", n, seed)
			crashed := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(uint64(n), seed)))
			again := crashed.Image(vfs.LoseNothing, nil)
			again.FailAt(again.OpCount()+1+int(seed), syscall.EIO)
			if s, err := OpenStore(again, []Directory{{Path: testDir, MaxVolumes: 3}}, Config{}); err == nil {
				_ = s.Close() // the disk has failed it
			}
			check(name+", and another", again.Image(vfs.LoseSome, rand.New(rand.NewPCG(seed, uint64(n)))))
			check(name, crashed)
		}
		if last {
			return
		}
		if n > 200 {
			t.Fatal("no end of operations")
		}
	}
}
