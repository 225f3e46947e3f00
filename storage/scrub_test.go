package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// scrubbed is what a scrub has found.
func scrubbed(t *testing.T, v *Volume, mend func(Damage) bool) []Damage {
	t.Helper()
	var all []Damage
	reached := int64(0)
	err := v.Scrub(v.SizeBytes(), nil, func(d Damage) bool {
		all = append(all, d)
		return mend != nil && mend(d)
	}, nil, func(offset int64) { reached = offset })
	if err != nil {
		t.Fatal(err)
	}
	if reached != v.SizeBytes() {
		t.Fatalf("the scrub ended at byte %d of %d", reached, v.SizeBytes())
	}
	return all
}

// twins makes two volumes with the same log, on disks of their own.
func twins(t *testing.T, fill func(*Volume)) (disks [2]*vfs.Mem, volumes [2]*Volume) {
	t.Helper()
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	fill(v)
	closeStore(t, s)
	files := readVolumeFiles(t, disk)
	for i := range disks {
		disks[i] = files.disk(t)
		var s *Store
		s, volumes[i] = openTestVolume(t, disks[i], Config{})
		t.Cleanup(func() { _ = s.Close() })
	}
	return disks, volumes
}

// sourceOf reads another volume's log.
func sourceOf(v *Volume) Source {
	return func(p []byte, offset int64) error {
		_, err := v.ReadFile(offset, p)
		return err
	}
}

func mixed(t *testing.T) func(*Volume) {
	return func(v *Volume) {
		for key := range blob.Key(40) {
			mustPut(t, v, key+1, payload(uint64(key), 100+int(key)*331))
		}
		mustPut(t, v, 3, payload(99, 77))
		mustDelete(t, v, 5)
		mustPut(t, v, 50, payload(50, 3*pieceSize+4711))
		mustPut(t, v, 51, payload(51, 10))
	}
}

// records returns where each record of a log begins, and where the last one ends.
func records(t *testing.T, v *Volume) (at []int64) {
	t.Helper()
	s := newLogScanner(v.dat(), v.superblock.Version, v.SizeBytes())
	for offset := v.superblock.Length(); offset < v.SizeBytes(); {
		at = append(at, offset)
		r, verdict, err := s.check(offset)
		if err != nil || verdict != recordGood {
			t.Fatalf("record at byte %d: %v, %v", offset, verdict, err)
		}
		offset += r.length
	}
	return append(at, v.SizeBytes())
}

func TestScrubOfAGoodLogFindsNothing(t *testing.T) {
	_, v := twins(t, mixed(t))
	if found := scrubbed(t, v[0], nil); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

// Each part of each record is damaged in turn: what a reader would miss is found where it is, mended from the other
// copy, and then both are the same.
func TestScrubFindsAndMends(t *testing.T) {
	disks, v := twins(t, mixed(t))
	want := readTestFile(t, disks[1], testBase+".dat")
	at := records(t, v[0])
	damages := map[string]func(i int) int64{ // what to damage of a live record, -1 for nothing
		"key":        func(i int) int64 { return at[i] + 11 },
		"size":       func(i int) int64 { return at[i] + 12 },
		"small size": func(i int) int64 { return at[i] + 15 },
		"data size":  func(i int) int64 { return at[i] + 17 },
		"data":       func(i int) int64 { return at[i] + 20 + (at[i+1]-at[i]-36)/2 },
		"checksum":   func(i int) int64 { return at[i] + 20 + int64(len(payloadOf(i))) + 1 },
	}
	for what, place := range damages {
		for _, i := range []int{0, 1, 17, 39, 42, 43} {
			offset := place(i)
			if i == 2 || i == 4 || i == 40 || i == 41 {
				continue // not live
			}
			if err := disks[0].Corrupt(testBase+".dat", offset, 0x41); err != nil {
				t.Fatal(err)
			}
			found := scrubbed(t, v[0], nil)
			if len(found) != 1 || found[0].Offset != at[i] || found[0].Offset+found[0].Length <= offset {
				t.Fatalf("%s of record %d, %d to %d: found %+v", what, i, at[i], at[i+1], found)
			}
			found = scrubbed(t, v[0], func(d Damage) bool {
				m, err := v[0].Mend(d.Offset, v[0].SizeBytes(), sourceOf(v[1]))
				if err != nil || m.Offset != at[i] || m.Length != at[i+1]-at[i] || m.Changed > patchBlock {
					t.Errorf("%s of record %d: %+v, %v", what, i, m, err)
				}
				return err == nil
			})
			if len(found) != 1 || !bytes.Equal(readTestFile(t, disks[0], testBase+".dat"), want) {
				t.Fatalf("%s of record %d is not mended", what, i)
			}
		}
	}
	wantData(t, v[0], 50, payload(50, 3*pieceSize+4711))
}

// payloadOf is the data of the records of mixed, by their number.
func payloadOf(i int) []byte {
	switch {
	case i < 40:
		return payload(uint64(i), 100+i*331)
	case i == 42:
		return payload(50, 3*pieceSize+4711)
	}
	return payload(51, 10)
}

// A stretch over many records is mended record by record, and a disk that can't read a sector is damage like any other.
func TestScrubMendsAStretch(t *testing.T) {
	disks, v := twins(t, mixed(t))
	want := readTestFile(t, disks[1], testBase+".dat")
	at := records(t, v[0])
	rng := rand.New(rand.NewPCG(1, 1))
	for offset := at[7] + 1; offset < at[12]; offset += 3 {
		if err := disks[0].Corrupt(testBase+".dat", offset, byte(1+rng.IntN(255))); err != nil {
			t.Fatal(err)
		}
	}
	mended := []int64{}
	unreadable := 0
	disks[0].SetFault(func(op vfs.Op) error {
		if op.Is("7.dat", vfs.OpRead) && op.Offset == at[0] && unreadable < 2 { // by the scrub and by Mend
			unreadable++
			return syscall.EIO
		}
		return nil
	})
	scrubbed(t, v[0], func(d Damage) bool {
		m, err := v[0].Mend(d.Offset, v[0].SizeBytes(), sourceOf(v[1]))
		if err != nil {
			t.Error(err)
		}
		mended = append(mended, m.Offset)
		return err == nil
	})
	for _, i := range []int{0, 7, 8, 9, 10, 11} {
		if !slices.Contains(mended, at[i]) {
			t.Errorf("record %d was not mended: %v", i, mended)
		}
	}
	if !bytes.Equal(readTestFile(t, disks[0], testBase+".dat"), want) {
		t.Error("the copies differ")
	}
}

// What can't be mended is reported, the good rest is found, and no byte is changed.
func TestScrubLeavesAloneWhatItCantMend(t *testing.T) {
	disks, v := twins(t, mixed(t))
	at := records(t, v[0])
	for _, i := range []int{3, 9, 42} {
		for d := range disks {
			if err := disks[d].Corrupt(testBase+".dat", at[i]+30, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := readTestFile(t, disks[0], testBase+".dat")
	found := scrubbed(t, v[0], func(d Damage) bool {
		if _, err := v[0].Mend(d.Offset, v[0].SizeBytes(), sourceOf(v[1])); !errors.Is(err, ErrUnfit) {
			t.Errorf("the other copy is damaged there, too: %v", err)
		}
		return false
	})
	if len(found) != 3 || found[0].Offset != at[3] || found[1].Offset != at[9] || found[2].Offset != at[42] {
		t.Errorf("found %+v", found)
	}
	if !bytes.Equal(readTestFile(t, disks[0], testBase+".dat"), before) {
		t.Error("bytes were changed")
	}
	wantData(t, v[0], 11, payload(10, 100+10*331))
	if v[0].ReadOnly() != 0 {
		t.Errorf("it turns read-only: %v", v[0].ReadOnly())
	}
}

// Another copy whose bytes are good, but not those of this log, is not believed.
func TestMendRefusesWhatDoesNotFit(t *testing.T) {
	disks, v := twins(t, mixed(t))
	at := records(t, v[0])
	if err := disks[0].Corrupt(testBase+".dat", at[6]+30, 1); err != nil {
		t.Fatal(err)
	}
	before := readTestFile(t, disks[0], testBase+".dat")
	end := v[0].SizeBytes()
	shifted := func(by int64) Source {
		return func(p []byte, offset int64) error { return sourceOf(v[1])(p, offset+by) }
	}
	calls := 0
	for what, from := range map[string]Source{
		"another key":        shifted(at[7] - at[6]),
		"from within":        shifted(8),
		"zeros":              func([]byte, int64) error { return nil },
		"a tombstone":        shifted(at[41] - at[6]),
		"longer than so far": shifted(at[42] - at[6]),
		"it fails":           func([]byte, int64) error { return syscall.ECONNRESET },
		"it ends": func(p []byte, offset int64) error {
			if calls++; calls == 1 {
				return sourceOf(v[1])(p, offset)
			}
			return syscall.ECONNRESET
		},
	} {
		if _, err := v[0].Mend(at[6], end, from); !errors.Is(err, ErrUnfit) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Of record 2, which was replaced, the index knows nothing; but behind a shorter one no record would begin.
	short := func(p []byte, offset int64) error {
		if offset < at[2]+at[2]-at[1] {
			offset -= at[2] - at[1]
		}
		return sourceOf(v[1])(p, offset)
	}
	if _, err := v[0].Mend(at[2], end, short); !errors.Is(err, ErrUnfit) {
		t.Errorf("a record that is too short: %v", err)
	}
	for _, offset := range []int64{0, at[6] + 1, end, end + 8, end - 8} {
		if _, err := v[0].Mend(offset, end, sourceOf(v[1])); !errors.Is(err, ErrUnfit) {
			t.Errorf("at byte %d: %v", offset, err)
		}
	}
	if !bytes.Equal(readTestFile(t, disks[0], testBase+".dat"), before) {
		t.Error("bytes were changed")
	}
}

// A copy that changes between the look at it and the use of it is not used.
func TestMendOfALargeRecordUsesWhatWasVerified(t *testing.T) {
	disks, v := twins(t, mixed(t))
	at := records(t, v[0])
	if err := disks[0].Corrupt(testBase+".dat", at[42]+2*pieceSize, 1); err != nil {
		t.Fatal(err)
	}
	before := readTestFile(t, disks[0], testBase+".dat")
	fetched := 0
	_, err := v[0].Mend(at[42], v[0].SizeBytes(), func(p []byte, offset int64) error {
		err := sourceOf(v[1])(p, offset)
		if offset == at[42]+2*pieceSize {
			if fetched++; fetched > 1 {
				p[5] ^= 1
			}
		}
		return err
	})
	if !errors.Is(err, ErrUnfit) || fetched < 2 {
		t.Errorf("fetched %d times: %v", fetched, err)
	}
	if !bytes.Equal(readTestFile(t, disks[0], testBase+".dat"), before) {
		t.Error("bytes were changed")
	}
}

// The disk fails at each step of a repair in turn, and then the power: the record is damaged or whole, all else is
// as it was, and a repair afterwards works.
func TestCrashWhileMending(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := range blob.Key(6) {
		mustPut(t, v, key+1, payload(uint64(key), 9000))
	}
	at := records(t, v)
	closeStore(t, s)
	good := readVolumeFiles(t, disk)
	other := good.clone()
	source := func(p []byte, offset int64) error { copy(p, other.dat[offset:]); return nil }
	bad := good.clone()
	for offset := at[2] + 40; offset < at[3]-40; offset += 97 {
		bad.dat[offset] ^= 0x10
	}
	for step := 1; ; step++ {
		disk := bad.disk(t)
		s, v := openTestVolume(t, disk, Config{})
		ops := disk.OpCount()
		disk.FailFrom(ops+step, syscall.EIO)
		_, err := v.Mend(at[2], v.SizeBytes(), source)
		failed := err != nil
		rng := rand.New(rand.NewPCG(uint64(step), 7))
		crashed := disk.Crash(vfs.LoseSome, rng)
		_ = s.Close()
		s, v = openTestVolume(t, crashed, Config{})
		for key := range blob.Key(6) {
			n, _, err := v.Get(key+1, testCookie, nil)
			if key == 2 && failed && errors.Is(err, ErrCorrupt) {
				continue
			}
			if err != nil || !bytes.Equal(n.Data, payload(uint64(key), 9000)) {
				t.Fatalf("step %d: key %d: %v", step, key+1, err)
			}
		}
		if _, err := v.Mend(at[2], v.SizeBytes(), source); err != nil {
			t.Fatalf("step %d: mending again: %v", step, err)
		}
		if found := scrubbed(t, v, nil); len(found) > 0 {
			t.Fatalf("step %d: %+v", step, found)
		}
		closeStore(t, s)
		if !bytes.Equal(readTestFile(t, crashed, testBase+".dat"), good.dat) {
			t.Fatalf("step %d: the log differs", step)
		}
		if !failed {
			if step < 3 {
				t.Fatalf("only %d steps", step)
			}
			return
		}
	}
}

// Appends go on while the log is read and mended.
func TestScrubBesideAppends(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	for key := range blob.Key(200) {
		mustPut(t, v, key+1, payload(uint64(key), 2000))
	}
	want := readTestFile(t, disk, testBase+".dat")
	source := func(p []byte, offset int64) error { copy(p, want[offset:]); return nil }
	end := v.SizeBytes()
	at := records(t, v)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := blob.Key(1000 + w)
				if err := v.Put(&Needle{Key: key, Cookie: testCookie, Data: payload(uint64(i), 500)}); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if _, err := v.Delete(key, testCookie); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 20 {
		if err := disk.Corrupt(testBase+".dat", at[i*7]+50, 4); err != nil {
			t.Fatal(err)
		}
		found := 0
		err := v.Scrub(end, nil, func(d Damage) bool {
			found++
			_, err := v.Mend(d.Offset, end, source)
			return err == nil
		}, nil, func(int64) {})
		if err != nil || found != 1 {
			t.Fatalf("round %d: found %d: %v", i, found, err)
		}
	}
	stop()
	writers.Wait()
	if !bytes.Equal(readTestFile(t, disk, testBase+".dat")[:end], want) {
		t.Error("the log differs")
	}
	if found := scrubbed(t, v, nil); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestScrubKeepsPace(t *testing.T) {
	_, v := twins(t, mixed(t))
	read, stop := 0, errors.New("stop")
	pace := func(n int) error {
		if read += n; read > 2*pieceSize {
			return stop
		}
		return nil
	}
	err := v[0].Scrub(v[0].SizeBytes(), pace, func(d Damage) bool { t.Errorf("found %+v", d); return false }, nil, func(int64) {})
	if !errors.Is(err, stop) {
		t.Errorf("not stopped: %v", err)
	}
	read = 0
	pace = func(n int) error { read += n; return nil }
	if err := v[0].Scrub(v[0].SizeBytes(), pace, nil, nil, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if size := int(v[0].SizeBytes()); read < size-16 || read > 2*size {
		t.Errorf("%d bytes were read of a log of %d", read, size)
	}
}

func TestChecksumLog(t *testing.T) {
	disks, v := twins(t, mixed(t))
	log := readTestFile(t, disks[0], testBase+".dat")
	want := crc32.Checksum(log[16:], castagnoli)
	crc, at, calls := uint32(0), int64(16), 0
	for at < int64(len(log)) {
		bytes := 0
		pace := func(n int) error {
			if bytes += n; bytes > 300<<10 {
				return errors.New("enough")
			}
			return nil
		}
		sum, n, err := v[0].ChecksumLog(at, int64(len(log))-at, crc, pace)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		crc, at = sum, at+n
		calls++
	}
	if crc != want || calls < 5 {
		t.Errorf("%x after %d calls, want %x", crc, calls, want)
	}
	if _, _, err := v[0].ChecksumLog(16, int64(len(log)), 0, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("beyond the end: %v", err)
	}
}

// What made a volume open read-only is mended: then it opens well, and all its needles are there.
func TestReopenAfterMending(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := range blob.Key(9) {
		mustPut(t, v, key+1, payload(uint64(key), 3000))
	}
	at := records(t, v)
	closeStore(t, s)
	files := readVolumeFiles(t, disk)
	for what, offset := range map[string]int64{"data": at[4] + 100, "size": at[4] + 13} {
		bad := files.clone()
		bad.idx = nil // so that all of the log is looked at
		bad.dat[offset] ^= 1
		s, v := openTestVolume(t, bad.disk(t), Config{})
		if v.ReadOnly() != CauseDamaged || !v.DamagedWhenOpened() {
			t.Fatalf("%s: %v", what, v.ReadOnly())
		}
		found := scrubbed(t, v, func(d Damage) bool {
			_, err := v.Mend(d.Offset, v.SizeBytes(), func(p []byte, offset int64) error { copy(p, files.dat[offset:]); return nil })
			if err != nil {
				t.Error(err)
			}
			return err == nil
		})
		if len(found) != 1 {
			t.Fatalf("%s: %+v", what, found)
		}
		v, err := s.Reopen(7)
		if err != nil || v.ReadOnly() != 0 {
			t.Fatalf("%s: %v, %v", what, v.ReadOnly(), err)
		}
		for key := range blob.Key(9) {
			wantData(t, v, key+1, payload(uint64(key), 3000))
		}
		mustPut(t, v, 100, []byte("more"))
		if _, err := s.Reopen(7); !errors.Is(err, ErrNoVolume) {
			t.Errorf("a volume that is well: %v", err)
		}
		closeStore(t, s)
	}
}

// A disk that fails to sync has damaged more than a scrub can see.
func TestFailedSyncIsNoDamageOfTheLog(t *testing.T) {
	bad := func(fault bool) bool {
		disk := vfs.NewMem()
		s, v := createTestVolume(t, disk, Config{})
		defer func() { _ = s.Close() }()
		mustPut(t, v, 1, payload(1, 100))
		if fault {
			disk.SetFault(func(op vfs.Op) error {
				if op.Is("7.dat", vfs.OpSync) {
					return fmt.Errorf("sync: %w", syscall.EIO)
				}
				return nil
			})
			_ = v.Put(&Needle{Key: 2, Cookie: testCookie, Data: []byte("x")})
		}
		_, err := s.Reopen(7)
		return v.ReadOnly()&CauseDamaged != 0 && !v.DamagedWhenOpened() && errors.Is(err, ErrNoVolume)
	}
	if !bad(true) || bad(false) {
		t.Error("a volume whose disk fails is opened again")
	}
}
