package storage

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// killedWithFlippedKeys returns a volume that was killed before its last records were in the index file, with a bit flipped in
// the key of two of them, and of a tombstone if asked for, and a copy of it without.
func killedWithFlippedKeys(t *testing.T, tombstone bool) (disk *vfs.Mem, good *Volume, want map[blob.Key][]byte) {
	t.Helper()
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	filled(t, v)
	for key := blob.Key(1001); key <= 1006; key++ {
		mustPut(t, v, key, payload(uint64(key), 50))
	}
	mustPut(t, v, 1002, payload(7, 70)) // its bit makes it 1003, whose blob it hides then
	mustDelete(t, v, 1005)              // and this one 1004
	mustPut(t, v, 1006, payload(8, 80)) // was another key for a while, and nobody's
	mustPut(t, v, 1001, payload(9, 90))
	disk = copyOf(t, first) // as a kill would leave it
	at := records(t, v)
	closeStore(t, s)
	idx := readTestFile(t, disk, testBase+".idx")
	writeTestFile(t, disk, testBase+".idx", idx[:len(idx)-4*idxEntrySize])
	twin := copyOf(t, disk)
	flip := func(record int, byteOfKey int64, bit byte) {
		if err := disk.Corrupt(testBase+".dat", at[len(at)-record]+4+byteOfKey, bit); err != nil {
			t.Fatal(err)
		}
	}
	flip(5, 7, 1)
	flip(3, 1, 0x20)
	if tombstone {
		flip(4, 7, 1)
	}
	_, good = openTestVolume(t, twin, Config{})
	want = map[blob.Key][]byte{1001: payload(9, 90), 1002: payload(7, 70), 1003: payload(1003, 50), 1004: payload(1004, 50),
		1005: nil, 1006: payload(8, 80)}
	return disk, good, want
}

func wantBlobs(t *testing.T, v *Volume, want map[blob.Key][]byte) {
	t.Helper()
	for key, data := range want {
		wantData(t, v, key, data)
	}
	wantFilled(t, v)
	for _, key := range liveKeys(v) {
		if _, there := want[key]; !there && key > 200 {
			t.Errorf("there is a blob %d that nobody has put", key)
		}
	}
	if found := scrubbed(t, v, nil); len(found) > 0 {
		t.Errorf("a scrub finds %+v", found)
	}
}

// What the index has learnt from headers that had flipped is corrected when these are mended, and stays so.
func TestIndexOfFlippedKeysIsCorrected(t *testing.T) {
	disk, good, want := killedWithFlippedKeys(t, true)
	s, v := openTestVolume(t, disk, Config{})
	if _, ok := v.OffsetOf(1006 | 0x20<<48); !ok {
		t.Fatal("the damage was not believed: this tests nothing")
	}
	mended := 0
	scrubbedRests(t, v, func(b RestBlock) {
		there := b
		if err := good.RestSum(&there); err != nil {
			t.Fatal(err)
		}
		if b.Sum = there.Here; b.Sum == b.Here {
			return
		}
		n, err := v.MendRest(b, sourceOf(good))
		if mended += n; err != nil {
			t.Fatal(err)
		}
		v.KeepRestSum(b)
	})
	if mended != 3 {
		t.Errorf("%d records were mended", mended)
	}
	wantBlobs(t, v, want)
	killed := copyOf(t, disk)
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
	for _, d := range []*vfs.Mem{disk, killed} {
		s, v = openTestVolume(t, d, Config{})
		if n, err := v.MendIndexFile(); n != 0 || err != nil {
			t.Error(n, err)
		}
		wantBlobs(t, v, want)
		closeStore(t, s)
	}
}

// Where the index was not corrected before the end, a scrub finds that it differs from what both copies have. It is
// corrected once they agree on the headers.
func TestWrongIndexIsCorrectedByAScrub(t *testing.T) {
	disk, good, want := killedWithFlippedKeys(t, false)
	s, _ := openTestVolume(t, disk, Config{})
	closeStore(t, s) // the index file has the wrong keys now
	dat := make([]byte, good.SizeBytes())
	if err := sourceOf(good)(dat, 0); err != nil {
		t.Fatal(err)
	}
	removeTestFile(t, disk, testBase+".dat")
	writeTestFile(t, disk, testBase+".dat", dat)
	s, v := openTestVolume(t, disk, Config{})
	var wrong []Damage
	scrubbed(t, v, func(d Damage) bool {
		_, err := v.Mend(d.Offset, v.SizeBytes(), sourceOf(good))
		if wrong = append(wrong, d); !errors.Is(err, ErrUnvouched) {
			t.Errorf("%+v: %v", d, err)
		}
		return false
	})
	if len(wrong) != 2 {
		t.Fatalf("a scrub finds %+v", wrong)
	}
	agreed, err := v.RestBlockOf(wrong[0].Offset)
	if err != nil {
		t.Fatal(err)
	}
	agreed.Sum = agreed.Here
	v.KeepRestSum(agreed)
	mended := scrubbed(t, v, func(d Damage) bool {
		m, err := v.Mend(d.Offset, v.SizeBytes(), sourceOf(good))
		if err != nil || m.Changed == 0 {
			t.Errorf("%+v: %+v, %v", d, m, err)
		}
		return err == nil
	})
	if len(mended) != 2 {
		t.Errorf("a scrub finds %+v", mended)
	}
	wantBlobs(t, v, want)
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
}

// mendAll does what a server does with what a scrub finds, of which good has another copy.
func mendAll(t *testing.T, v, good *Volume) (failure error) {
	t.Helper()
	settle := func(b RestBlock) error {
		there := b
		if err := good.RestSum(&there); err != nil {
			return err
		}
		if b.Sum = there.Here; b.Sum != b.Here {
			if _, err := v.MendRest(b, sourceOf(good)); err != nil {
				return err
			}
		}
		v.KeepRestSum(b)
		return nil
	}
	err := v.Scrub(v.SizeBytes(), nil, func(d Damage) bool {
		_, err := v.Mend(d.Offset, v.SizeBytes(), sourceOf(good))
		if errors.Is(err, ErrUnvouched) {
			b, blockErr := v.RestBlockOf(d.Offset)
			if err = blockErr; err == nil {
				err = settle(b)
			}
			if err == nil {
				_, err = v.Mend(d.Offset, v.SizeBytes(), sourceOf(good))
			}
		}
		failure = errors.Join(failure, err)
		return err == nil
	}, func(b RestBlock) { failure = errors.Join(failure, settle(b)) }, func(int64) {})
	return errors.Join(failure, err)
}

// The disk fails at each step of a correction in turn, and then the power: what is left can be mended.
func TestCrashWhileTheIndexIsCorrected(t *testing.T) {
	disk, good, want := killedWithFlippedKeys(t, true)
	for step := 1; ; step++ {
		broken := copyOf(t, disk)
		s, v := openTestVolume(t, broken, Config{})
		broken.FailFrom(broken.OpCount()+step, syscall.EIO)
		err := mendAll(t, v, good)
		crashed := broken.Crash(vfs.LoseSome, rand.New(rand.NewPCG(uint64(step), 7)))
		_ = s.Close()
		s, v = openTestVolume(t, crashed, Config{})
		if err := mendAll(t, v, good); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		wantBlobs(t, v, want)
		closeStore(t, s)
		wantIdxAgrees(t, crashed, testBase)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
		if err == nil {
			t.Logf("%d steps", step)
			return
		}
	}
}

// A header that the index has never believed is mended while the volume is compacted, too. One that it has believed
// waits.
func TestRestsAreMendedBesideACompaction(t *testing.T) {
	disk, good, _ := killedWithFlippedKeys(t, false)
	s, v := openTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	at := records(t, v)
	for _, c := range []struct {
		record int
		want   error
	}{{10, nil}, {len(at) - 3, ErrCompacting}} { // the other one's key has flipped
		if c.want == nil {
			if err := disk.Corrupt(testBase+".dat", at[c.record]+1, 1); err != nil { // a cookie
				t.Fatal(err)
			}
		}
		b, err := v.RestBlockOf(at[c.record])
		if err != nil {
			t.Fatal(err)
		}
		there := b
		if err := good.RestSum(&there); err != nil {
			t.Fatal(err)
		}
		if b.Sum = there.Here; b.Sum == b.Here {
			t.Fatal("nothing is damaged")
		}
		v.compacting.Store(true)
		n, err := v.MendRest(b, sourceOf(good))
		v.compacting.Store(false)
		if !errors.Is(err, c.want) || err == nil && n != 1 {
			t.Errorf("record %d: %d mended, %v", c.record, n, err)
		}
	}
}
