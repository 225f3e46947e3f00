package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestFull fills a volume up to the last byte that offsets can address.
func TestFull(t *testing.T) {
	const room = 4096
	disk := vfs.NewMem()
	last := &Needle{Key: 1, Cookie: testCookie, Data: []byte("near the end"), Checksum: Checksum([]byte("near the end"))}
	var r record
	if err := r.encodePut(Version3, last); err != nil {
		t.Fatal(err)
	}
	r.stamp(exampleNs)
	offset := MaxVolumeSizeBytes - room - r.length
	writeTestFile(t, disk, testBase+".dat", Superblock{Version: Version3}.AppendBinary(nil))
	dat, err := disk.OpenFile(testBase+".dat", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dat.WriteAt(r.appendTo(nil), offset); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, disk, testBase+".idx", idxEntry{key: 1, offset: uint32(offset / 8), size: int32(r.size)}.appendTo(nil))
	m := meta{Foreign: true, Clean: &cleanMark{DatBytes: offset + r.length, IdxBytes: 16}}
	if err := m.write(disk, testBase+".meta"); err != nil {
		t.Fatal(err)
	}

	s, v := openTestVolume(t, disk, Config{})
	wantData(t, v, 1, last.Data)
	if err := v.Put(&Needle{Key: 2, Cookie: testCookie, Data: payload(2, room)}); !errors.Is(err, ErrFull) {
		t.Fatalf("put of more than fits: %v", err)
	}
	mustPut(t, v, 3, payload(3, 3000))
	left := MaxVolumeSizeBytes - v.Status().SizeBytes
	exact := int(left) - 16 - 4 - 1 - 12 - 1 // header, data size, flags, trailer, and a byte of padding
	if err := v.Put(&Needle{Key: 4, Cookie: testCookie, Data: payload(4, exact+1)}); !errors.Is(err, ErrFull) {
		t.Fatalf("put of a byte more than fits: %v", err)
	}
	mustPut(t, v, 4, payload(4, exact))
	if got := v.Status().SizeBytes; got != MaxVolumeSizeBytes {
		t.Fatalf("%d bytes", got)
	}
	for key := range blob.Key(3) {
		if err := v.Put(&Needle{Key: 10 + key, Cookie: testCookie}); !errors.Is(err, ErrFull) {
			t.Errorf("put into a full volume: %v", err)
		}
	}
	if _, err := v.Delete(1, testCookie); !errors.Is(err, ErrFull) {
		t.Errorf("delete in a full volume: %v", err)
	}
	if cause := v.Status().ReadOnly; cause != 0 {
		t.Errorf("a full volume is %v", cause)
	}
	for range 2 {
		for key, data := range map[blob.Key][]byte{1: last.Data, 2: nil, 3: payload(3, 3000), 4: payload(4, exact), 10: nil} {
			wantData(t, v, key, data)
		}
		closeStore(t, s)
		s, v = openTestVolume(t, disk, Config{})
	}
	closeStore(t, s)

	if err := dat.Truncate(MaxVolumeSizeBytes + 8); err != nil {
		t.Fatal(err)
	}
	s = openTestStore(t, disk, Config{})
	if _, ok := s.Volume(7); ok {
		t.Error("a file that offsets can't address opens")
	}
	closeStore(t, s)
	if size, err := dat.Size(); size != MaxVolumeSizeBytes+8 || err != nil {
		t.Errorf("and has %d bytes now, %v", size, err)
	}
}

// TestSizeFieldFits: the largest needle's size is an int32, as `.idx` wants it.
func TestSizeFieldFits(t *testing.T) {
	if largest := int64(4 + MaxDataSizeBytes + maxAttributesLength); largest > math.MaxInt32 {
		t.Errorf("a needle of %d bytes", largest)
	}
	if batchNumber(maxBatchOps-1) > batchMask {
		t.Error("a commit of more needles than its timestamps can count")
	}
}

// TestFieldLimits: the longest that fits comes back, and one more is refused.
func TestFieldLimits(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	long := &Needle{Key: math.MaxUint64, Cookie: testCookie, Data: []byte("d"), Name: bytes.Repeat([]byte("n"), 255),
		Mime: bytes.Repeat([]byte("m"), 255), Pairs: []byte(`"` + strings.Repeat("p", 65533) + `"`), LastModified: 1<<40 - 1,
		TTL: blob.TTL{Count: 255, Unit: blob.TTLYear}, Gzipped: true, Manifest: true}
	if err := v.Put(long); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]*Needle{
		"name":           {Name: make([]byte, 256)},
		"mime":           {Mime: make([]byte, 256)},
		"pairs":          {Pairs: bytes.Repeat([]byte("p"), 65536)},
		"time":           {LastModified: 1 << 40},
		"time before it": {LastModified: -1},
	} {
		if err := v.Put(n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Put(&Needle{Pairs: []byte{'a', 0}}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("pairs with a zero byte: %v", err)
	}
	if got := v.Status(); got.Live != 1 || got.MaxKey != 0 {
		t.Errorf("%+v", got)
	}
	for range 2 {
		got, err := found(v, long.Key)
		if err != nil || !sameNeedle(got, long) || got.TTL != long.TTL || !got.Gzipped || !got.Manifest || !bytes.Equal(got.Mime, long.Mime) {
			t.Errorf("%v: %+v", err, got)
		}
		waitIdle(v)
		removeTestFile(t, disk, testBase+".idx")
		closeStore(t, s)
		s, v = openTestVolume(t, disk, Config{})
	}
	closeStore(t, s)
}

// TestWriteSizes puts data of the sizes at which the committer changes its way of writing, alone and mixed
// in one commit.
func TestWriteSizes(t *testing.T) {
	var sizes []int
	for _, limit := range []int{copyLimit, bufferLimit, scanWindowSize, 128 << 10} {
		for d := -45; d <= 5; d += 5 {
			sizes = append(sizes, limit+d)
		}
		sizes = append(sizes, limit-1, limit+1, 10)
	}
	for range 20 {
		sizes = append(sizes, copyLimit-100) // they fill the buffer
	}
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	var ops []func()
	for i, size := range sizes {
		mustPut(t, v, blob.Key(i), payload(uint64(i), size))
		ops = append(ops, func() { mustPut(t, v, blob.Key(2000+i), payload(uint64(2000+i), size)) })
	}
	together(t, disk, v, ops...)
	check := func(v *Volume) {
		t.Helper()
		for i, size := range sizes {
			for _, key := range []blob.Key{blob.Key(i), blob.Key(2000 + i)} {
				wantData(t, v, key, payload(uint64(key), size))
				b, err := v.Open(key, testCookie)
				if err != nil || b.DataSize() != int64(size) || b.Checksum != Checksum(payload(uint64(key), size)) {
					t.Errorf("open of key %d, %d bytes: %v", key, size, err)
				}
			}
		}
	}
	check(v)
	waitIdle(v)
	killed := disk.Image(vfs.LoseUnsynced, nil)
	removeTestFile(t, killed, testBase+".idx")
	closeStore(t, s)
	for _, disk := range []*vfs.Mem{disk, killed} {
		s, v := openTestVolume(t, disk, Config{})
		check(v)
		closeStore(t, s)
		wantIdxAgrees(t, disk, testBase)
	}
}

// commits counts the commits of a log from the timestamps.
func commits(records []logRecord) (lengths []int) {
	for i, r := range records {
		if i == 0 || r.appendAtNs&^batchMask != records[i-1].appendAtNs&^batchMask {
			lengths = append(lengths, 0)
		}
		lengths[len(lengths)-1]++
	}
	return lengths
}

// TestCommitLimits: what waits is cut into commits by number and by bytes.
func TestCommitLimits(t *testing.T) {
	for _, row := range []struct {
		name  string
		ops   int
		size  int
		want  []int
		large []int // ordinals that have 9 MiB
	}{
		{"number", maxBatchOps + 10, 10, []int{1, maxBatchOps, 10}, nil},
		{"bytes", 5, 3 << 20, []int{1, 2, 2, 1}, nil},
		{"one too large for a commit", 4, 100, []int{1, 1, 1, 2}, []int{1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			disk := vfs.NewMem()
			s, v := createTestVolume(t, disk, Config{})
			var ops []func()
			for i := range row.ops {
				size := row.size
				for _, large := range row.large {
					if i == large {
						size = 9 << 20
					}
				}
				data := payload(uint64(i), size)
				ops = append(ops, func() { mustPut(t, v, blob.Key(5000+i), data) })
			}
			together(t, disk, v, ops...)
			if v.Status().Live != row.ops+1 {
				t.Errorf("%d live", v.Status().Live)
			}
			closeStore(t, s)
			got := commits(logRecords(Version3, readTestFile(t, disk, testBase+".dat")))
			if !slices.Equal(got, row.want) {
				t.Errorf("commits of %v, want %v", got, row.want)
			}
		})
	}
}

// TestClockGoesBack: timestamps grow all the same, within a run and over a restart.
func TestClockGoesBack(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	s, v := createTestVolume(t, disk, Config{Now: clock.Now})
	for key := range blob.Key(6) {
		mustPut(t, v, key, []byte("x"))
		clock.advance(-1e9)
		if key == 3 {
			closeStore(t, s)
			s, v = openTestVolume(t, disk, Config{Now: clock.Now})
		}
	}
	closeStore(t, s)
	records := logRecords(Version3, readTestFile(t, disk, testBase+".dat"))
	if lengths := commits(records); len(lengths) != 6 {
		t.Errorf("commits of %v", lengths)
	}
	for i := range records[1:] {
		if records[i].appendAtNs >= records[i+1].appendAtNs {
			t.Errorf("record %d at %x, the next at %x", i, records[i].appendAtNs, records[i+1].appendAtNs)
		}
	}
}

// TestResyncIsBounded damages content that was made to keep recovery busy: a candidate at every 8 bytes, as
// long as the rest of the log.
func TestResyncIsBounded(t *testing.T) {
	const length = 4 << 20
	b := Superblock{Version: Version3}.AppendBinary(nil)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0, 200, 0, 0, 0, 0) // a record that contradicts itself
	for len(b)+32 <= length {
		rest := uint32(length - len(b) - 100)
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, byte(rest>>24), byte(rest>>16), byte(rest>>8), byte(rest))
		rest -= 5
		b = append(b, byte(rest>>24), byte(rest>>16), byte(rest>>8), byte(rest), 1, 1, 1, 1)
	}
	b[length-85] = 1 // where all of them have their flags
	s := newLogScanner(fuzzFile(t, b), Version3, int64(len(b)))
	got, err := s.scanTail(SuperblockSize, 0, func(logRecord, bool) {})
	if err != nil {
		t.Fatal(err)
	}
	if s.work > s.workLimit()+2*length {
		t.Errorf("%d bytes of work on %d", s.work, len(b))
	}
	if got.damage == nil || got.damage.Reason != errTooMuch.Error() || got.cut != 0 {
		t.Errorf("%+v", got)
	}
}
