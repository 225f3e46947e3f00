package storage

import (
	"maps"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestTornCommit loses sectors of the last commit, of several needles, or of one before it.
func TestTornCommit(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	live := map[blob.Key][]byte{1000: payload(1000, 50)}
	put := func(key blob.Key) func() {
		live[key] = payload(uint64(key), 1500)
		return func() { mustPut(t, v, key, live[key]) }
	}
	put(1)()
	together(t, disk, v, put(2), put(3), put(4), func() { mustDelete(t, v, 1) }, put(5))
	delete(live, 1)
	waitIdle(v)
	oneCommit := readVolumeFiles(t, disk)
	put(6)()
	waitIdle(v)
	twoCommits := readVolumeFiles(t, disk)
	closeStore(t, s)
	records := logRecords(Version3, twoCommits.dat)
	place := map[blob.Key]logRecord{}
	for _, r := range records {
		if r.size > 0 {
			place[r.key] = r
		}
	}
	if place[2].appendAtNs+2 != place[3].appendAtNs || place[1000].appendAtNs&^batchMask == place[2].appendAtNs&^batchMask {
		t.Fatal("the needles do not share a commit")
	}
	zero := func(f volumeFiles, from, to int64) volumeFiles {
		f = f.clone()
		f.idx = nil
		for at := (from + sectorSize - 1) &^ (sectorSize - 1); at < to; at++ {
			f.dat[at] = 0
		}
		return f
	}
	t.Run("its first sectors", func(t *testing.T) {
		f := zero(oneCommit, place[2].offset, place[2].offset+1200)
		live := maps.Clone(live)
		delete(live, 6)
		live[1] = payload(1, 1500) // the delete was not answered
		wantOutcome(t, f, live, outcome{length: place[2].offset, keys: map[blob.Key]fate{2: gone, 3: gone, 4: gone, 5: gone}})
	})
	t.Run("its middle", func(t *testing.T) {
		f := zero(oneCommit, place[3].offset, place[4].offset)
		live := maps.Clone(live)
		delete(live, 6)
		live[1] = payload(1, 1500)
		wantOutcome(t, f, live, outcome{length: place[3].offset, keys: map[blob.Key]fate{3: gone, 4: gone, 5: gone}})
	})
	t.Run("all of it", func(t *testing.T) {
		f := zero(oneCommit, place[2].offset, int64(len(oneCommit.dat)))
		live := maps.Clone(live)
		delete(live, 6)
		live[1] = payload(1, 1500)
		want := outcome{length: place[2].offset, keys: map[blob.Key]fate{2: gone, 3: gone, 4: gone, 5: gone}}
		if place[2].offset%sectorSize > sectorSize-needleHeaderSize { // then its header is in the sector before
			t.Fatal("the table is wrong")
		}
		wantOutcome(t, f, live, want)
	})
	t.Run("a commit before the last", func(t *testing.T) {
		f := zero(twoCommits, place[3].offset, place[3].offset+1200)
		wantOutcome(t, f, live, outcome{damaged: true, length: int64(len(twoCommits.dat)), keys: map[blob.Key]fate{3: corrupt}})
	})
	t.Run("version 2", func(t *testing.T) {
		// Without timestamps nobody can tell that needles came together.
		var f volumeFiles
		var d drawing
		d.superblock(2, 0, "\x00\x00", 0, nil)
		first, _ := d.needle(2, "", drawnNeedle{cookie: uint32(testCookie), key: 1, data: payload(1, 2000)})
		d.needle(2, "", drawnNeedle{cookie: uint32(testCookie), key: 2, data: payload(2, 100)})
		f.dat, f.meta = d.data, oneCommit.meta
		f = zero(f, int64(first)*8, 1200)
		wantOutcome(t, f, map[blob.Key][]byte{1: payload(1, 2000), 2: payload(2, 100)},
			outcome{damaged: true, length: int64(len(f.dat)), keys: map[blob.Key]fate{1: corrupt}})
	})
}

// TestTornTimestamp loses a sector of a commit, and the one in which the timestamp of its last needle ends, for each
// number of bytes of it that may lie there.
func TestTornTimestamp(t *testing.T) {
	for behind := range timestampSize - 1 {
		behind := int64(behind + 1)
		disk := vfs.NewMem()
		s, v := createTestVolume(t, disk, Config{})
		live := map[blob.Key][]byte{1000: payload(1000, 50), 1: payload(1, 300)}
		mustPut(t, v, 1, live[1])
		size, at := 2000, v.SizeBytes()+recordLength(Version3, 4+50+1)+recordLength(Version3, 4+1500+1)
		trailer := func() int64 { return at + needleHeaderSize + 4 + int64(size) + 1 + checksumSize + timestampSize }
		for trailer()%sectorSize != behind {
			size++
		}
		together(t, disk, v, func() { mustPut(t, v, 2, payload(2, 1500)) }, func() { mustPut(t, v, 3, payload(3, size)) })
		waitIdle(v)
		f := readVolumeFiles(t, disk)
		closeStore(t, s)
		records := logRecords(Version3, f.dat)
		first, last := records[2], records[3]
		if end := last.offset + needleHeaderSize + int64(last.size) + checksumSize + timestampSize; end != trailer() {
			t.Fatalf("the needle's time ends at %d, not at %d", end, trailer())
		}
		f.idx = nil
		hole := (first.offset + sectorSize) &^ (sectorSize - 1)
		clear(f.dat[hole : hole+sectorSize])
		clear(f.dat[trailer()-behind:])
		wantOutcome(t, f, live, outcome{length: first.offset, keys: map[blob.Key]fate{2: gone, 3: gone}})
	}
}
