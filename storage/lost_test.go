package storage

import (
	"bytes"
	"fmt"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// writtenAlone puts needles one by one and returns the files after a kill, without the index file.
func writtenAlone(t *testing.T, needles ...*Needle) (volumeFiles, []logRecord) {
	t.Helper()
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for _, n := range needles {
		n.Cookie = testCookie
		if err := v.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	f := readVolumeFiles(t, disk)
	closeStore(t, s)
	f.idx = nil
	return f, logRecords(Version3, f.dat)
}

// TestLostHalfHeader loses the sector in which only the first half of the last header lies: what is left
// reads as a whole needle of the same key with the cookie 0, and must not replace the one before.
func TestLostHalfHeader(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		old := payload(1, 460)
		f, records := writtenAlone(t, &Needle{Key: 1, Data: old}, &Needle{Key: 1, Data: payload(2, 300)})
		at := records[1].offset
		if at%sectorSize != sectorSize-8 {
			t.Fatalf("the second record is at %d", at)
		}
		if deleted {
			var r record
			r.encodeDelete(Version3, &Needle{Key: 1, Cookie: testCookie}, Checksum(old))
			r.stamp(records[1].appendAtNs)
			f.dat = r.appendTo(f.dat[:at:at])
		}
		clear(f.dat[at : at+8])
		wantOutcome(t, f, map[blob.Key][]byte{1: old}, outcome{length: at})
	}
}

// TestLostAttributes loses a sector of header pairs, which no checksum covers.
func TestLostAttributes(t *testing.T) {
	f, records := writtenAlone(t, &Needle{Key: 1, Data: []byte("old")},
		&Needle{Key: 1, Data: []byte("new"), Pairs: fmt.Appendf(nil, `{"K":"%02000d"}`, 7)})
	clear(f.dat[1024:1536])
	wantOutcome(t, f, map[blob.Key][]byte{1: []byte("old")}, outcome{length: records[1].offset})
}

// TestLostSectorOfAnswered loses a sector of a commit whose successor is there: it was durable once.
func TestLostSectorOfAnswered(t *testing.T) {
	live := map[blob.Key][]byte{1: payload(1, 1500), 2: payload(2, 100)}
	f, _ := writtenAlone(t, &Needle{Key: 1, Data: live[1]}, &Needle{Key: 2, Data: live[2]})
	clear(f.dat[512:1024])
	wantOutcome(t, f, live, outcome{damaged: true, length: int64(len(f.dat)), keys: map[blob.Key]fate{1: corrupt}})
}

// TestNothingIsCutBehindDamage: two flipped bits, the second in the last record.
func TestNothingIsCutBehindDamage(t *testing.T) {
	live := map[blob.Key][]byte{1: payload(1, 300), 2: payload(2, 300), 3: payload(3, 300)}
	f, records := writtenAlone(t, &Needle{Key: 1, Data: live[1]}, &Needle{Key: 2, Data: live[2]}, &Needle{Key: 3, Data: live[3]})
	f.dat[records[0].offset+50] ^= 1
	f.dat[records[2].offset+50] ^= 1
	wantOutcome(t, f, live, outcome{damaged: true, length: int64(len(f.dat)), keys: map[blob.Key]fate{1: corrupt, 3: corrupt}})
}

// TestForeignIndexAndOurs appends to a volume whose index file is in no order, and crashes such that our part of
// that file has a hole: the foreign part is still believed, and what lies in the hole is found in the log.
func TestForeignIndexAndOurs(t *testing.T) {
	g := goldenVolumes[4]
	disk := g.load(t)
	s, v := openTestVolume(t, disk, goldenConfig())
	if err := v.SetReadOnly(CauseOperator, false); err != nil {
		t.Fatal(err)
	}
	length := int64(len(readTestFile(t, disk, testBase+".idx")))
	for key := range blob.Key(100) {
		mustPut(t, v, 1000+key, payload(uint64(key), 50))
	}
	for idxLength := length; idxLength < length+100*idxEntrySize; {
		info, err := disk.Stat(testBase + ".idx")
		if err != nil {
			t.Fatal(err)
		}
		idxLength = info.Size()
	}
	f := readVolumeFiles(t, disk)
	closeStore(t, s)
	clear(f.idx[512:1024])
	disk = f.disk(t)
	for range 2 {
		s, v = openTestVolume(t, disk, goldenConfig())
		g.check(t, v) // with an empty blob that only the foreign file knows
		for key := range blob.Key(100) {
			wantData(t, v, 1000+key, payload(uint64(key), 50))
		}
		if !bytes.Equal(readTestFile(t, disk, testBase+".dat"), f.dat) {
			t.Error("the log was changed")
		}
		closeStore(t, s)
	}
}
