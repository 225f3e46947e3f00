package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// volumeFiles are the bytes of a volume's files; nil is a file that is not there.
type volumeFiles struct{ dat, idx, meta, vif []byte }

func readVolumeFiles(t testing.TB, disk vfs.FS) (f volumeFiles) {
	t.Helper()
	for ext, to := range f.byExtension() {
		if _, err := disk.Stat(testBase + ext); err == nil {
			*to = readTestFile(t, disk, testBase+ext)
		}
	}
	return f
}

func (f *volumeFiles) byExtension() map[string]*[]byte {
	return map[string]*[]byte{".dat": &f.dat, ".idx": &f.idx, ".meta": &f.meta, ".vif": &f.vif}
}

func (f volumeFiles) clone() volumeFiles {
	return volumeFiles{bytes.Clone(f.dat), bytes.Clone(f.idx), bytes.Clone(f.meta), bytes.Clone(f.vif)}
}

func (f volumeFiles) disk(t testing.TB) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	for ext, from := range f.byExtension() {
		if *from != nil {
			writeTestFile(t, disk, testBase+ext, *from)
		}
	}
	return disk
}

// fate is what becomes of a key.
type fate int

const (
	survives fate = iota
	gone
	corrupt
)

// outcome is what a damaged volume opens as.
type outcome struct {
	refused bool              // it does not open at all
	damaged bool              // it is read-only for that reason
	length  int64             // of `.dat` afterwards
	keys    map[blob.Key]fate // those that do not survive
	forged  map[blob.Key]bool // keys that appear out of nowhere
	indexed bool              // `.idx` still says what the log said before it was damaged
}

// wantOutcome opens the files three times and compares.
func wantOutcome(t *testing.T, f volumeFiles, live map[blob.Key][]byte, want outcome) {
	t.Helper()
	disk := f.disk(t)
	for round := range 3 {
		s := openTestStore(t, disk, Config{})
		v, ok := s.Volume(7)
		if ok == want.refused {
			t.Fatalf("round %d: opens: %v", round, ok)
		}
		if !ok {
			closeStore(t, s)
			if after := readVolumeFiles(t, disk); !bytes.Equal(after.dat, f.dat) || !bytes.Equal(after.idx, f.idx) {
				t.Errorf("a volume that does not open was changed")
			}
			return
		}
		if damaged := v.Status().ReadOnly == CauseDamaged; damaged != want.damaged {
			t.Errorf("round %d: read-only %q, want damage %v", round, v.Status().ReadOnly, want.damaged)
		}
		for key, data := range live {
			n, _, err := v.Get(key, testCookie, nil)
			got := survives
			switch {
			case errors.Is(err, ErrNotFound):
				got = gone
			case errors.Is(err, ErrCorrupt):
				got = corrupt
			case err != nil || !bytes.Equal(n.Data, data):
				t.Errorf("round %d: key %d: %v, %d bytes", round, key, err, len(n.Data))
			}
			if got != want.keys[key] {
				t.Errorf("round %d: key %d: fate %d, want %d", round, key, got, want.keys[key])
			}
		}
		for _, key := range liveKeys(v) {
			if live[key] == nil && !want.forged[key] {
				t.Errorf("round %d: key %d came to life", round, key)
			}
		}
		err := v.Put(&Needle{Key: 1 << 50, Cookie: testCookie, Data: []byte("x")})
		if (err != nil) != want.damaged || err != nil && !errors.Is(err, ErrReadOnly) {
			t.Errorf("round %d: put: %v", round, err)
		}
		if err == nil {
			mustDelete(t, v, 1<<50)
			want.length += 40 + 32 // the put: 16+4+1+1+12 and padding; its tombstone
		}
		closeStore(t, s)
		if after := readTestFile(t, disk, testBase+".dat"); int64(len(after)) != want.length {
			t.Errorf("round %d: .dat has %d bytes, want %d", round, len(after), want.length)
		}
		if !want.damaged && !want.indexed {
			wantIdxAgrees(t, disk, testBase)
		}
	}
}

// standardVolume has one needle per commit, and a tombstone. Its files are those after a kill (no clean
// mark) and after a clean shutdown.
func standardVolume(t testing.TB) (killed, clean volumeFiles, live map[blob.Key][]byte) {
	t.Helper()
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	live = map[blob.Key][]byte{1: payload(1, 600), 3: payload(3, 2000), 4: payload(4, 700), 5: payload(5, 300)}
	mustPut(t, v, 2, payload(2, 100))
	for _, key := range []blob.Key{1, 3, 4, 5} {
		if key == 4 {
			mustDelete(t, v, 2)
		}
		n := &Needle{Key: key, Cookie: testCookie, Data: live[key], Name: []byte("name"), LastModified: 1700000000}
		if err := v.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	waitIdle(v)
	killed = readVolumeFiles(t, disk)
	closeStore(t, s)
	return killed, readVolumeFiles(t, disk), live
}

// waitIdle waits until the committer has written the index file.
func waitIdle(v *Volume) {
	b := make([]byte, v.stats.length.Load())
	if err := readFull(v.dat(), b, 0); err != nil {
		return
	}
	want := int64(len(logRecords(v.superblock.Version, b))) * idxEntrySize
	for {
		if info, err := v.fs.Stat(v.base + ".idx"); err != nil || info.Size() == want {
			return
		}
		runtime.Gosched()
	}
}

// places of a record of version 3 with a name and a modification time, at which a bit is flipped.
var places = []struct {
	name string
	at   func(r logRecord) int64
	bit  byte
}{
	{"cookie", func(r logRecord) int64 { return r.offset }, 0x80},
	{"key", func(r logRecord) int64 { return r.offset + 4 }, 0x80},
	{"size", func(r logRecord) int64 { return r.offset + 12 }, 0x40},
	{"data size", func(r logRecord) int64 { return r.offset + 16 }, 0x40},
	{"data", func(r logRecord) int64 { return r.offset + 20 + 50 }, 0x01},
	{"flags", func(r logRecord) int64 { return r.offset + 16 + int64(r.size) - 11 }, 0x20},
	{"name", func(r logRecord) int64 { return r.offset + 16 + int64(r.size) - 8 }, 0x02},
	{"checksum", func(r logRecord) int64 { return r.offset + 16 + int64(r.size) }, 0x01},
	{"timestamp", func(r logRecord) int64 { return r.offset + 16 + int64(r.size) + 4 }, 0x01},
	{"padding", func(r logRecord) int64 { return r.offset + r.length - 1 }, 0xff},
}

// TestFlippedBit flips a bit of the first, a middle and the last record, of a volume that was closed or
// killed, with its index file and without.
func TestFlippedBit(t *testing.T) {
	killed, clean, live := standardVolume(t)
	records := logRecords(Version3, clean.dat)
	for _, state := range []struct {
		name         string
		files        volumeFiles
		hasIdx, mark bool
	}{
		{"killed", killed, true, false},
		{"closed", clean, true, true},
		{"killed, no index file", volumeFiles{dat: killed.dat, meta: killed.meta}, false, false},
		{"closed, no index file", volumeFiles{dat: clean.dat, meta: clean.meta}, false, true},
	} {
		for _, target := range []int{1, 2, len(records) - 1} {
			for _, place := range places {
				t.Run(fmt.Sprintf("%s/key %d/%s", state.name, records[target].key, place.name), func(t *testing.T) {
					r, last := records[target], target == len(records)-1
					f := state.files.clone()
					f.dat[place.at(r)] ^= place.bit
					want := outcome{length: int64(len(f.dat)), keys: map[blob.Key]fate{}, forged: map[blob.Key]bool{}}
					switch place.name {
					case "name", "timestamp", "padding": // no checksum covers them
					case "cookie":
						want.keys[r.key] = gone // to whom has the right one
					case "key":
						want.indexed = state.hasIdx
						want.damaged = last && state.hasIdx
						if want.keys[r.key] = corrupt; !state.hasIdx {
							want.keys[r.key], want.forged[r.key|1<<63] = gone, true
						}
					default:
						want.keys[r.key] = corrupt
						want.damaged = last || !state.hasIdx
						want.indexed = state.hasIdx
						lengthLost := place.name == "size" || place.name == "data size" || place.name == "flags"
						switch {
						case state.hasIdx:
						case last && !state.mark: // looks like a write that was torn
							want.keys[r.key], want.damaged, want.length = gone, false, r.offset
						case lengthLost:
							want.keys[r.key] = gone
							if target == 2 {
								// The tombstone behind it can't be told from content, as it has no data: the deleted
								// blob shows, in a volume that is read-only and asks to be replaced.
								want.forged[2] = true
							}
						}
					}
					wantOutcome(t, f, live, want)
				})
			}
		}
	}
}

// TestTruncated cuts the file to every fifth length, which takes every residue modulo 8. What is whole survives.
// Nothing is cut below the clean mark, nor where the index file proves that the log was longer.
func TestTruncated(t *testing.T) {
	killed, clean, live := standardVolume(t)
	records := logRecords(Version3, clean.dat)
	for length := int64(0); length < int64(len(clean.dat)); length += 5 * faultStride {
		for _, state := range []volumeFiles{killed, clean, {dat: killed.dat, meta: killed.meta}} {
			f := state.clone()
			f.dat = f.dat[:length]
			want := outcome{refused: length < SuperblockSize, length: SuperblockSize, keys: map[blob.Key]fate{}, forged: map[blob.Key]bool{}}
			for _, r := range records {
				if r.offset+r.length <= length {
					want.length = r.offset + r.length
					want.forged[2] = want.forged[2] && r.size > 0 || r.key == 2 && r.size > 0
				} else if r.size > 0 && live[r.key] != nil {
					want.keys[r.key] = gone
				}
			}
			if bytes.Equal(state.meta, clean.meta) || state.idx != nil {
				want.length, want.damaged = length, true
			}
			wantOutcome(t, f, live, want)
			if t.Failed() {
				t.Fatalf("at length %d, clean mark: %v, index file: %v", length, want.damaged, state.idx != nil)
			}
		}
	}
}

// TestTails puts something behind the log.
func TestTails(t *testing.T) {
	killed, clean, live := standardVolume(t)
	var whole record
	n := &Needle{Key: 99, Cookie: testCookie, Data: []byte("from elsewhere"), Checksum: Checksum([]byte("from elsewhere"))}
	if err := whole.encodePut(Version3, n); err != nil {
		t.Fatal(err)
	}
	whole.stamp(1 << 12)
	for _, row := range []struct {
		name    string
		tail    []byte
		damaged bool
	}{
		{"8 zeros", make([]byte, 8), false},
		{"100 zeros", make([]byte, 100), false},
		{"a page of zeros", make([]byte, 4096), false},
		{"a byte", []byte{1}, false},
		{"17 bytes of garbage", payload(1, 17), false},
		{"5000 bytes of garbage", payload(2, 5000), false},
		{"zeros, then garbage", append(make([]byte, 600), payload(3, 600)...), false},
		// Behind the garbage comes what looks like a commit of its own: nobody knows what was in between.
		{"garbage, then a needle", whole.appendTo(payload(4, 800)), true},
	} {
		for name, f := range map[string]volumeFiles{"killed": killed.clone(), "closed": clean.clone()} {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				want := outcome{length: int64(len(f.dat)), damaged: row.damaged, forged: map[blob.Key]bool{99: row.damaged}}
				f.dat = append(f.dat, row.tail...)
				if row.damaged {
					want.length = int64(len(f.dat))
				}
				wantOutcome(t, f, live, want)
			})
		}
	}
}

// together has operations share one commit, in order, behind a put of key 1000 of its own commit.
func together(t *testing.T, disk *vfs.Mem, v *Volume, ops ...func()) {
	t.Helper()
	hold, held := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("*.dat", vfs.OpWrite) && first.CompareAndSwap(false, true) {
			close(held)
			<-hold
		}
		return nil
	})
	done := make(chan struct{})
	start := func(op func()) {
		go func() {
			op()
			done <- struct{}{}
		}()
	}
	start(func() { mustPut(t, v, 1000, payload(1000, 50)) })
	<-held
	for i, op := range ops {
		start(op)
		for waiting := 0; waiting <= i; runtime.Gosched() {
			v.committer.mu.Lock()
			waiting = len(v.committer.waiting)
			v.committer.mu.Unlock()
		}
	}
	close(hold)
	for range len(ops) + 1 {
		<-done
	}
	disk.SetFault(nil)
}

// TestIndexFile damages the index file alone: nothing is lost.
func TestIndexFile(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	live := map[blob.Key][]byte{}
	for key := range blob.Key(150) {
		live[key] = payload(uint64(key), 20+int(key))
		mustPut(t, v, key, live[key])
		if key%5 == 4 {
			mustDelete(t, v, key-2)
			delete(live, key-2)
		}
	}
	waitIdle(v)
	killed := readVolumeFiles(t, disk)
	closeStore(t, s)
	clean := readVolumeFiles(t, disk)

	otherDisk := vfs.NewMem()
	s, v = createTestVolume(t, otherDisk, Config{})
	for key := range blob.Key(200) {
		mustPut(t, v, key+5000, payload(uint64(key), 20+int(key)))
	}
	closeStore(t, s)
	other := readVolumeFiles(t, otherDisk)

	reversed := func(idx []byte) []byte {
		var b []byte
		entries := slices.Collect(slices.Chunk(idx, idxEntrySize))
		for _, e := range slices.Backward(entries) {
			b = append(b, e...)
		}
		return b
	}
	for _, row := range []struct {
		name   string
		damage func(f *volumeFiles)
	}{
		{"untouched", func(*volumeFiles) {}},
		{"missing", func(f *volumeFiles) { f.idx = nil }},
		{"empty", func(f *volumeFiles) { f.idx = []byte{} }},
		{"an entry short", func(f *volumeFiles) { f.idx = f.idx[:len(f.idx)-16] }},
		{"half", func(f *volumeFiles) { f.idx = f.idx[:len(f.idx)/32*16] }},
		{"cut within an entry", func(f *volumeFiles) { f.idx = f.idx[:len(f.idx)-7] }},
		{"garbage behind", func(f *volumeFiles) { f.idx = append(f.idx, payload(1, 333)...) }},
		{"zeros behind", func(f *volumeFiles) { f.idx = append(f.idx, make([]byte, 333)...) }},
		{"a part of itself behind", func(f *volumeFiles) { f.idx = append(f.idx, f.idx[160:480]...) }},
		{"all zeros", func(f *volumeFiles) { clear(f.idx) }},
		{"first sector zeros", func(f *volumeFiles) { clear(f.idx[:512]) }},
		{"a hole", func(f *volumeFiles) { clear(f.idx[512:1024]) }},
		{"last sector zeros", func(f *volumeFiles) { clear(f.idx[len(f.idx)&^511:]) }},
		{"garbage", func(f *volumeFiles) { f.idx = payload(5, len(f.idx)) }},
		{"of another volume", func(f *volumeFiles) { f.idx = other.idx }},
		{"of another volume, as long", func(f *volumeFiles) { f.idx = other.idx[:len(f.idx)] }},
		{"upside down", func(f *volumeFiles) { f.idx = reversed(f.idx) }},
		{"ahead of the log", func(f *volumeFiles) {
			f.idx = idxEntry{key: 777, offset: uint32(len(f.dat) / 8), size: 100}.appendTo(f.idx)
		}},
	} {
		for state, f := range map[string]volumeFiles{
			"killed": killed, "closed": clean, "no .meta": {dat: clean.dat, idx: clean.idx},
		} {
			t.Run(row.name+"/"+state, func(t *testing.T) {
				f := f.clone()
				row.damage(&f)
				if f.meta == nil && (row.name == "upside down" || row.name == "a part of itself behind") {
					return // another program might have meant that
				}
				proof := row.name == "ahead of the log" && f.meta != nil
				wantOutcome(t, f, live, outcome{length: int64(len(f.dat)), damaged: proof})
			})
		}
	}
}

// TestLostEnd zeroes the end of a log that the index file lists: that is damage, unless the volume was used
// without syncs, where a power cut may do it.
func TestLostEnd(t *testing.T) {
	killed, _, live := standardVolume(t)
	records := logRecords(Version3, killed.dat)
	from := records[3].offset
	for _, synced := range []bool{true, false} {
		f := killed.clone()
		clear(f.dat[from:])
		want := outcome{length: int64(len(f.dat)), damaged: true, keys: map[blob.Key]fate{}, forged: map[blob.Key]bool{}}
		lost := corrupt
		if !synced {
			f.meta = []byte(`{"version":1}`)
			want.length, want.damaged, lost = from, false, gone
			want.forged[2] = true // its tombstone went too
		}
		for _, r := range records[3:] {
			if live[r.key] != nil {
				want.keys[r.key] = lost
			}
		}
		wantOutcome(t, f, live, want)
	}
}

// TestSideFiles damages what is beside the log and its index.
func TestSideFiles(t *testing.T) {
	killed, clean, live := standardVolume(t)
	length := int64(len(clean.dat))
	newer, err := json.Marshal(meta{Version: metaVersionOrigin + 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		files volumeFiles
		want  outcome
	}{
		{"no .meta", volumeFiles{dat: clean.dat, idx: clean.idx}, outcome{length: length}},
		{"no .meta, no .idx", volumeFiles{dat: clean.dat}, outcome{length: length}},
		{"empty .meta", volumeFiles{clean.dat, clean.idx, []byte{}, nil}, outcome{length: length, damaged: true}},
		{"half a .meta", volumeFiles{clean.dat, clean.idx, clean.meta[:10], nil}, outcome{length: length, damaged: true}},
		{".meta of a newer program", volumeFiles{killed.dat, killed.idx, newer, nil}, outcome{refused: true}},
		{"damaged .vif", volumeFiles{clean.dat, clean.idx, nil, []byte("{")}, outcome{length: length, damaged: true}},
		{"no superblock", volumeFiles{[]byte{}, clean.idx, clean.meta, nil}, outcome{refused: true}},
		{"half a superblock", volumeFiles{clean.dat[:5], clean.idx, clean.meta, nil}, outcome{refused: true}},
		{"version 0", volumeFiles{append([]byte{0}, clean.dat[1:]...), clean.idx, clean.meta, nil}, outcome{refused: true}},
		{"version 4", volumeFiles{append([]byte{4}, clean.dat[1:]...), clean.idx, clean.meta, nil}, outcome{refused: true}},
	} {
		t.Run(row.name, func(t *testing.T) { wantOutcome(t, row.files, live, row.want) })
	}
}

// TestBlobHoldsNeedles stores a copy of a volume as a blob. Whatever happens to the blob, none of the
// needles in it comes to life.
func TestBlobHoldsNeedles(t *testing.T) {
	_, inner, _ := standardVolume(t)
	data := append(payload(8, 3), inner.dat[SuperblockSize:]...)
	for len(data)%8 != 4 { // the data begins 4 bytes behind a multiple of 8
		data = append([]byte{1}, data...)
	}
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	live := map[blob.Key][]byte{51: payload(51, 100), 52: data, 53: payload(53, 100)}
	for shift := range 8 {
		live[blob.Key(60+shift)] = append(payload(9, shift), data...)
	}
	keys := slices.Sorted(maps.Keys(live))
	for _, key := range keys {
		mustPut(t, v, key, live[key])
	}
	waitIdle(v)
	killed := readVolumeFiles(t, disk)
	closeStore(t, s)
	for i, r := range logRecords(Version3, killed.dat) {
		if len(live[keys[i]]) <= 100 {
			continue
		}
		f := volumeFiles{dat: bytes.Clone(killed.dat), meta: killed.meta}
		f.dat[r.offset+20] ^= 1
		want := outcome{damaged: true, length: int64(len(f.dat)), keys: map[blob.Key]fate{r.key: corrupt}}
		if i == len(keys)-1 {
			want = outcome{length: r.offset, keys: map[blob.Key]fate{r.key: gone}}
		}
		wantOutcome(t, f, live, want)

		f.dat = bytes.Clone(killed.dat[:r.offset+r.length*3/4])
		want = outcome{length: r.offset, keys: map[blob.Key]fate{}}
		for _, key := range keys[i:] {
			want.keys[key] = gone
		}
		wantOutcome(t, f, live, want)
	}
}
