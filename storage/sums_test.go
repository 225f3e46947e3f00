package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// filled puts and deletes so much that there are several runs of records.
func filled(t *testing.T, v *Volume) {
	t.Helper()
	for key := range blob.Key(200) {
		n := Needle{Key: key + 1, Cookie: blob.Cookie(key) * 7, Data: payload(uint64(key), 40+int(key)%90), Name: []byte("a name"),
			Mime: []byte("text/x"), LastModified: 1_600_000_000}
		if err := v.Put(&n); err != nil {
			t.Fatal(err)
		}
		if key%9 == 8 {
			if _, err := v.Delete(key, blob.Cookie(key-1)*7); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// copyOf returns a disk with the volume's files, sums included.
func copyOf(t *testing.T, disk *vfs.Mem) *vfs.Mem {
	t.Helper()
	c := readVolumeFiles(t, disk).disk(t)
	writeTestFile(t, c, testBase+".sum", readTestFile(t, disk, testBase+".sum"))
	return c
}

// wantFilled wants what filled has left.
func wantFilled(t *testing.T, v *Volume) {
	t.Helper()
	for key := blob.Key(1); key <= 200; key++ {
		_, _, err := v.Get(key, blob.Cookie(key-1)*7, nil)
		if deleted := key%9 == 8 && key < 200; deleted != errors.Is(err, ErrNotFound) || !deleted && err != nil {
			t.Fatalf("key %d: %v", key, err)
		}
	}
}

// A bit that flips in the index file while nobody has it open is flipped back when the volume is opened.
func TestFlippedIndexFile(t *testing.T) {
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	filled(t, v)
	closeStore(t, s)
	want := readTestFile(t, first, testBase+".idx")
	for at := int64(0); at < int64(len(want)); at += 7 {
		disk := copyOf(t, first)
		if err := disk.Corrupt(testBase+".idx", at, 1<<(at%8)); err != nil {
			t.Fatal(err)
		}
		s, v := openTestVolume(t, disk, Config{})
		if v.ReadOnly() != 0 {
			t.Fatalf("byte %d: the volume is read-only: %v", at, v.ReadOnly())
		}
		wantFilled(t, v)
		closeStore(t, s)
		if got := readTestFile(t, disk, testBase+".idx"); !bytes.Equal(got, want) {
			t.Fatalf("byte %d: the index file is not what it was", at)
		}
	}
}

// One that flips while the volume is open is found by MendIndexFile, and before the file is read for a cut.
func TestFlippedIndexFileOfAnOpenVolume(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	filled(t, v)
	var log *Log
	err := v.Replicate(func(l *Log) Replicator {
		log = l
		return &solo{log: l, committed: l.Length()}
	})
	if err != nil {
		t.Fatal(err)
	}
	onCommitter := func(do func()) {
		t.Helper()
		done := make(chan struct{})
		if !v.Post(func() { do(); close(done) }) {
			t.Fatal("the volume is closed")
		}
		<-done
	}
	onCommitter(log.Flush)
	want := readTestFile(t, disk, testBase+".idx")
	if n, err := v.MendIndexFile(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	for _, at := range []int64{3, 1024, int64(len(want)) - 9} {
		if err := disk.Corrupt(testBase+".idx", at, 4); err != nil {
			t.Fatal(err)
		}
		if n, err := v.MendIndexFile(); n != 1 || err != nil {
			t.Fatalf("byte %d: mended %d, %v", at, n, err)
		}
		if got := readTestFile(t, disk, testBase+".idx"); !bytes.Equal(got, want) {
			t.Fatalf("byte %d: the index file is not what it was", at)
		}
	}
	if err := disk.Corrupt(testBase+".idx", 64*idxEntrySize+6, 4); err != nil {
		t.Fatal(err)
	}
	at := records(t, v)
	onCommitter(func() {
		if err := log.Cut(at[len(at)-3]); err != nil { // the delete of 197 is among those that go
			t.Error(err)
		}
	})
	for key := blob.Key(1); key <= 196; key++ {
		if _, _, err := v.Get(key, blob.Cookie(key-1)*7, nil); key%9 != 8 && err != nil {
			t.Fatalf("key %d: %v", key, err)
		}
	}
	onCommitter(log.Flush)
	closeStore(t, s)
	_, v = openTestVolume(t, disk, Config{})
	if n := scrubbedRests(t, v, nil); n != 0 {
		t.Errorf("%d runs are not known, or wrong", n)
	}
}

// scrubbedRests counts the runs of records of which a scrub finds that they are not what is known of them.
func scrubbedRests(t *testing.T, v *Volume, each func(RestBlock)) (n int) {
	t.Helper()
	err := v.Scrub(v.SizeBytes(), nil, func(d Damage) bool { t.Errorf("found %+v", d); return false }, func(b RestBlock) {
		if n++; each != nil {
			each(b)
		}
	}, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Bits that flip where no checksum of a needle covers them are found, and what another copy has is believed if it is
// what was written.
func TestFlippedRests(t *testing.T) {
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	filled(t, v)
	closeStore(t, s)
	good := copyOf(t, first)
	_, other := openTestVolume(t, good, Config{})
	want := readTestFile(t, first, testBase+".dat")
	var at []int64
	begins := records(t, other)
	for _, offset := range begins[:len(begins)-1] {
		h := parseHeader(want[offset:])
		end := offset + needleHeaderSize + int64(h.size)
		at = append(at, offset+1, end+checksumSize+3, offset+recordLength(Version3, h.size)-1) // cookie, time, padding
		if h.size > 0 {
			at = append(at, end-2) // an attribute
		} else {
			at = append(at, offset+5, end+1) // the key, the checksum
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		disk := copyOf(t, first)
		offset := at[random.IntN(len(at))]
		if err := disk.Corrupt(testBase+".dat", offset, 1<<random.IntN(8)); err != nil {
			t.Fatal(err)
		}
		s, v := openTestVolume(t, disk, Config{})
		n := scrubbedRests(t, v, func(b RestBlock) {
			if offset < b.Offset || offset >= b.Offset+b.Length || b.Sum == 0 {
				t.Errorf("byte %d: found %+v", offset, b)
			}
			// Another copy that is damaged, too, is not believed.
			if _, err := v.MendRest(b, sourceOf(v)); !errors.Is(err, ErrUnfit) {
				t.Error(err)
			}
			if changed, err := v.MendRest(b, sourceOf(other)); err != nil || changed != 1 {
				t.Errorf("byte %d: %d, %v", offset, changed, err)
			}
		})
		if n != 1 {
			t.Fatalf("byte %d: %d runs were found", offset, n)
		}
		if got := readTestFile(t, disk, testBase+".dat"); !bytes.Equal(got, want) {
			t.Fatalf("byte %d: the log is not what it was", offset)
		}
		if n := scrubbedRests(t, v, nil); n != 0 {
			t.Fatalf("byte %d: found again", offset)
		}
		closeStore(t, s)
	}
}

// Without the file of sums, with an old one, or one that is another volume's, the volume is what it is, and sums are
// learned anew.
func TestSumsThatSayNothing(t *testing.T) {
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	filled(t, v)
	closeStore(t, s)
	sums := readTestFile(t, first, testBase+".sum")
	wrong := bytes.Clone(sums)
	for i := len(sumHead); i < len(wrong); i += 3 {
		wrong[i]++
	}
	for name, b := range map[string][]byte{"none": nil, "short": sums[:len(sumHead)+11], "wrong": wrong, "no head": sums[1:], "long": append(bytes.Clone(sums), wrong...)} {
		disk := copyOf(t, first)
		writeTestFile(t, disk, testBase+".sum", b)
		s, v := openTestVolume(t, disk, Config{})
		wantFilled(t, v)
		scrubbedRests(t, v, func(b RestBlock) {
			if name != "wrong" && b.Sum != 0 && !b.Doubted {
				t.Errorf("%s: %+v", name, b)
			}
			b.Sum = b.Here
			v.KeepRestSum(b)
		})
		if n := scrubbedRests(t, v, nil); n != 0 {
			t.Errorf("%s: %d runs are not known", name, n)
		}
		filledMore := Needle{Key: 500, Data: []byte("more")}
		if err := v.Put(&filledMore); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		s, v = openTestVolume(t, disk, Config{})
		wantFilled(t, v)
		if n := scrubbedRests(t, v, nil); n != 0 {
			t.Errorf("%s: %d runs are not known after a restart", name, n)
		}
		closeStore(t, s)
	}
}

// What a kill has left is known as far as it was there when the volume was opened, and is doubted.
func TestSumsAfterAKill(t *testing.T) {
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	filled(t, v)
	disk := copyOf(t, first) // as a kill would leave it
	closeStore(t, s)
	idx := readTestFile(t, disk, testBase+".idx")
	writeTestFile(t, disk, testBase+".idx", idx[:len(idx)-3*idxEntrySize]) // the end is found by a scan
	_, v = openTestVolume(t, disk, Config{})
	doubted := 0
	scrubbedRests(t, v, func(b RestBlock) {
		if doubted++; !b.Doubted || b.Sum != b.Here {
			t.Errorf("%+v", b)
		}
	})
	if doubted == 0 {
		t.Error("no run is doubted")
	}
	begins := records(t, v)
	if err := disk.Corrupt(testBase+".dat", begins[len(begins)-3]+2, 1); err != nil {
		t.Fatal(err)
	}
	wrong := 0
	scrubbedRests(t, v, func(b RestBlock) {
		if b.Sum != b.Here {
			wrong++
		}
	})
	if wrong != 1 {
		t.Errorf("%d runs are wrong", wrong)
	}
}

// What has been on another copy's disk for a while is doubted, what comes at once is not.
func TestSumsOfWhatWasCaughtUpWith(t *testing.T) {
	for _, late := range []bool{true, false} {
		_, s, p := newFollower(t, Config{})
		p.do(func(l *Log) {
			l.CatchUp(late)
			for key := range blob.Key(100) {
				if err := l.Write(l.Length(), shipPut(key+1, payload(uint64(key), 50), 1<<60+uint64(key)<<12+1).raw); err != nil {
					t.Error(err)
				}
			}
			l.Commit(l.Length())
		})
		runs := scrubbedRests(t, p.v, func(b RestBlock) {
			if !late || !b.Doubted || b.Sum != b.Here {
				t.Errorf("late %v: %+v", late, b)
			}
		})
		if want := map[bool]int{true: 2}[late]; runs != want {
			t.Errorf("late %v: %d runs are doubted", late, runs)
		}
		closeStore(t, s)
	}
}

func TestFoldRest(t *testing.T) {
	sum := uint32(firstRest)
	for _, rest := range []uint32{1, 0x01020304, 0x7fffffff, 0x40000001} {
		want := known(updateChecksum(sum, []byte{byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)}))
		if sum = foldRest(sum, rest); sum != want {
			t.Fatalf("%x, want %x", sum, want)
		}
	}
	if foldRest(0, 5) != 0 || foldRest(5, 0) != 0 {
		t.Error("what is not known is not passed on")
	}
}

// An index file that a full disk has no room for is written when there is room again.
func TestIndexFileWaitsForRoom(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, []byte("one"))
	full := func(op vfs.Op) error {
		if op.Is("7.idx", vfs.OpWrite) || op.Is("7.sum", vfs.OpWrite) || op.Is("7.sum", vfs.OpOpen) {
			return syscall.ENOSPC
		}
		return nil
	}
	disk.SetFault(full)
	mustPut(t, v, 2, []byte("two"))
	for key := range blob.Key(100) {
		mustPut(t, v, key+3, []byte("more"))
	}
	disk.SetFault(nil)
	mustPut(t, v, 300, []byte("last"))
	closeStore(t, s)
	if idx := readTestFile(t, disk, testBase+".idx"); len(idx) != 103*idxEntrySize {
		t.Errorf("the index file has %d bytes", len(idx))
	}
	_, v = openTestVolume(t, disk, Config{})
	if n := scrubbedRests(t, v, nil); n != 0 || v.Status().Live != 103 {
		t.Errorf("%d runs are not known, %d blobs", n, v.Status().Live)
	}
}

// A record whose size has flipped on another copy is refused as soon as its sizes are here: nobody waits for its end.
func TestRecordThatWouldNeverEnd(t *testing.T) {
	first := vfs.NewMem()
	s, v := createTestVolume(t, first, Config{})
	mustPut(t, v, 1, payload(1, 500))
	mustPut(t, v, 2, payload(2, 500))
	begins := records(t, v)
	closeStore(t, s)
	log := readTestFile(t, first, testBase+".dat")
	for name, at := range map[string]int64{"size": begins[1] + 12, "data size": begins[1] + needleHeaderSize} {
		b := bytes.Clone(log)
		b[at] ^= 0x32
		_, v := createTestVolume(t, vfs.NewMem(), Config{})
		done := make(chan error, 1)
		err := v.Replicate(func(l *Log) Replicator {
			done <- l.Write(l.Length(), b[l.Length():])
			return &solo{log: l, committed: l.Length()}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		_ = v.Close()
	}
}
