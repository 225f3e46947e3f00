package storage

import (
	"bytes"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// surveyed is a volume of several runs of records with an Origin that it can Follow, and more records behind.
func surveyed(t *testing.T) (disk *vfs.Mem, s *Store, v *Volume, follow Origin) {
	t.Helper()
	disk = vfs.NewMem()
	s, v = createTestVolume(t, disk, Config{})
	replicateAlone(t, v)
	filled(t, v)
	follow, err := v.Survey(CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key := range blob.Key(150) {
		n := Needle{Key: 1000 + key, Data: payload(uint64(key), 30), Name: []byte("a name")}
		if err := v.Put(&n); err != nil {
			t.Fatal(err)
		}
	}
	return disk, s, v, follow
}

// What no checksum of a needle covers has its sums in a log that was compacted, too, at once and after a restart.
func TestCompactedLogHasSums(t *testing.T) {
	disk, s, v, follow := surveyed(t)
	if _, err := v.Compact(CompactOptions{Follow: &follow}); err != nil {
		t.Fatal(err)
	}
	if n := scrubbedRests(t, v, nil); n != 0 {
		t.Errorf("%d runs are not known", n)
	}
	closeStore(t, s)
	s, v = openTestVolume(t, disk, Config{})
	if n := scrubbedRests(t, v, nil); n != 0 {
		t.Errorf("%d runs are not known after a restart", n)
	}
	at := records(t, v)
	if err := disk.Corrupt(testBase+".dat", at[3]+1, 4); err != nil {
		t.Fatal(err)
	}
	if n := scrubbedRests(t, v, func(b RestBlock) {
		if b.Sum == 0 || b.Doubted || b.Sum == b.Here {
			t.Errorf("%+v", b)
		}
	}); n != 1 {
		t.Errorf("%d runs are found for a flipped bit", n)
	}
	closeStore(t, s)
}

// Where no other copy vouches for what is compacted, a scrub is to find out.
func TestSumsOfACompactionAloneAreDoubted(t *testing.T) {
	_, s, v, _ := surveyed(t)
	if _, err := v.Compact(CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	runs := 0
	scrubbedRests(t, v, func(b RestBlock) {
		if runs++; b.Sum != b.Here || !b.Doubted {
			t.Errorf("%+v", b)
		}
		v.KeepRestSum(b)
	})
	if runs < 3 || scrubbedRests(t, v, nil) != 0 {
		t.Errorf("%d runs are doubted", runs)
	}
	closeStore(t, s)
}

// A bit that flipped in what came after the point up to which a log is compacted is not taken for what was written,
// wherever it is in its run of records; nor is what is next to it.
func TestCompactionMeetsFlippedRests(t *testing.T) {
	good := 0
	for i := 0; ; i += 7 {
		disk, s, v, follow := surveyed(t)
		at := records(t, v)
		for at[0] < follow.Floor {
			at = at[1:]
		}
		if i >= len(at)-1 {
			break
		}
		if err := disk.Corrupt(testBase+".dat", at[i]+2, 16); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Compact(CompactOptions{Follow: &follow}); err != nil {
			t.Fatal(err)
		}
		unknown := 0
		scrubbedRests(t, v, func(b RestBlock) {
			if unknown++; b.Sum != 0 {
				t.Errorf("record %d: %+v", i, b)
			}
			if flipped := at[i] - follow.Skipped; flipped >= b.Offset && flipped < b.Offset+b.Length {
				good++
			}
		})
		if unknown == 0 || unknown > 2 {
			t.Errorf("record %d: %d runs are not known", i, unknown)
		}
		if good--; good != 0 {
			t.Fatalf("record %d is in no run that is not known", i)
		}
		closeStore(t, s)
		wantIdxAgrees(t, disk, testBase)
	}
}

// What was known of a run that went on when the process was killed holds for its first records: a bit that flipped in
// them meanwhile is found, and what the sum is is told all the same.
func TestSumsOfARunThatWentOn(t *testing.T) {
	for _, more := range []blob.Key{3, 63} { // the run goes on, or was over
		disk := vfs.NewMem()
		s, v := createTestVolume(t, disk, Config{})
		var log *Log
		if err := v.Replicate(func(l *Log) Replicator { log = l; return &solo{log: l, committed: l.Length()} }); err != nil {
			t.Fatal(err)
		}
		flush := func(sums bool) {
			done := make(chan struct{})
			v.Post(func() {
				if log.Flush(); !sums {
					_ = disk.Remove(testBase + ".sum")
				}
				close(done)
			})
			<-done
		}
		filled(t, v)
		flush(true)
		sum := readTestFile(t, disk, testBase+".sum")
		for key := range more {
			mustPut(t, v, 500+key, payload(uint64(key), 50))
		}
		flush(false)
		writeTestFile(t, disk, testBase+".sum", sum) // which the kill was faster than
		killed := copyOf(t, disk)
		at := records(t, v)
		last := int(blob.Key(len(at)-1) - more - 1) // the last record that .sum knows
		closeStore(t, s)
		want := map[int]uint32{}
		s, v = openTestVolume(t, copyOf(t, killed), Config{})
		scrubbedRests(t, v, func(b RestBlock) {
			if b.Sum != b.Here || !b.Doubted {
				t.Errorf("%d more: %+v", more, b)
			}
			want[b.Number] = b.Here
		})
		closeStore(t, s)
		if len(want) == 0 {
			t.Fatalf("%d more: nothing is doubted", more)
		}
		if err := killed.Corrupt(testBase+".dat", at[last]+3, 32); err != nil {
			t.Fatal(err)
		}
		s, v = openTestVolume(t, killed, Config{})
		wrong := 0
		scrubbedRests(t, v, func(b RestBlock) {
			if b.Sum != b.Here {
				wrong++
			}
			if !b.Doubted || b.Sum != want[b.Number] {
				t.Errorf("%d more: %+v, want %x", more, b, want[b.Number])
			}
		})
		if wrong != 1 {
			t.Errorf("%d more: %d runs are known to be wrong", more, wrong)
		}
		closeStore(t, s)
	}
}

// Sums that were made for records that are gone do not wait for others with the same entries.
func TestStaleSumsAreDropped(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := range blob.Key(100) {
		mustPut(t, v, key+1, payload(uint64(key), 50))
	}
	at := records(t, v)
	open := readTestFile(t, disk, testBase+".meta")
	closeStore(t, s)
	sum, dat := readTestFile(t, disk, testBase+".sum"), readTestFile(t, disk, testBase+".dat")
	// A power cut takes the last records, and the client puts them once more.
	writeTestFile(t, disk, testBase+".meta", open)
	writeTestFile(t, disk, testBase+".dat", dat[:at[90]])
	idx := readTestFile(t, disk, testBase+".idx")
	writeTestFile(t, disk, testBase+".idx", idx[:90*idxEntrySize])
	_, v = openTestVolume(t, disk, Config{})
	if got := readTestFile(t, disk, testBase+".sum"); !bytes.Equal(got, sum[:len(sumHead)+sumSize]) {
		t.Errorf("%d bytes of %d are left in .sum", len(got), len(sum))
	}
	if n := scrubbedRests(t, v, func(b RestBlock) {
		if b.Sum != b.Here {
			t.Errorf("%+v", b)
		}
	}); n != 1 {
		t.Errorf("%d runs are doubted", n)
	}
}

// TestSumsBehindAStaleOne: a sum that can't be believed takes none of those behind it along.
func TestSumsBehindAStaleOne(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	for key := range blob.Key(150) {
		mustPut(t, v, key+1, payload(uint64(key), 50))
	}
	closeStore(t, s)
	before := readTestFile(t, disk, testBase+".sum")
	if err := disk.Corrupt(testBase+".sum", int64(len(sumHead)), 4); err != nil {
		t.Fatal(err)
	}
	s, _ = openTestVolume(t, disk, Config{})
	closeStore(t, s)
	after := readTestFile(t, disk, testBase+".sum")
	if len(after) != len(before) || !bytes.Equal(after[len(sumHead)+sumSize:], before[len(sumHead)+sumSize:]) {
		t.Errorf(".sum was %x, and is %x after a clean stop", before, after)
	}
	s, v = openTestVolume(t, disk, Config{})
	scrubbedRests(t, v, func(b RestBlock) {
		if b.Number != 0 || b.Sum != 0 {
			t.Errorf("%+v", b)
		}
	})
	closeStore(t, s)
}

// TestKeepRestSumOfACompactedLog: what was found out about a run before a compaction is taken down for no run of the new log.
func TestKeepRestSumOfACompactedLog(t *testing.T) {
	_, s, v, follow := surveyed(t)
	old, err := v.RestBlockAt(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Compact(CompactOptions{Follow: &follow}); err != nil {
		t.Fatal(err)
	}
	old.Sum = old.Here
	v.KeepRestSum(old)
	if n := scrubbedRests(t, v, func(b RestBlock) { t.Errorf("%+v", b) }); n > 0 {
		t.Error("a sum that was known is another one now")
	}
	closeStore(t, s)
}
