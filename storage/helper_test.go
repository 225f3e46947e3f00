package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// testDir is the directory of the volumes in tests, testBase the path of volume 7 in it.
const (
	testDir  = "/d"
	testBase = "/d/7"
)

// fakeClock stands still unless it is moved.
type fakeClock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1700000000, 0)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openTestStore(t testing.TB, disk vfs.FS, cfg Config) *Store {
	t.Helper()
	s, err := OpenStore(disk, []Directory{{Path: testDir, MaxVolumes: 100}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// createTestVolume makes volume 7 in a new store.
func createTestVolume(t testing.TB, disk vfs.FS, cfg Config) (*Store, *Volume) {
	t.Helper()
	s := openTestStore(t, disk, cfg)
	v, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// openTestVolume opens volume 7, which must be there.
func openTestVolume(t testing.TB, disk vfs.FS, cfg Config) (*Store, *Volume) {
	t.Helper()
	s := openTestStore(t, disk, cfg)
	v, ok := s.Volume(7)
	if !ok {
		t.Fatal("volume 7 does not open")
	}
	return s, v
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// payload returns bytes that are told by seed and hold no stretch of zeros.
func payload(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size+7)
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64()|0x0101010101010101)
	}
	return b[:size]
}

const testCookie = blob.Cookie(0x637037d6)

func mustPut(t testing.TB, v *Volume, key blob.Key, data []byte) {
	t.Helper()
	if err := v.Put(&Needle{Key: key, Cookie: testCookie, Data: data}); err != nil {
		t.Fatalf("put key %d: %v", key, err)
	}
}

func mustDelete(t testing.TB, v *Volume, key blob.Key) {
	t.Helper()
	if _, err := v.Delete(key, testCookie); err != nil {
		t.Fatalf("delete key %d: %v", key, err)
	}
}

// wantData checks that key holds data, or if data is nil that it is not found.
func wantData(t testing.TB, v *Volume, key blob.Key, data []byte) {
	t.Helper()
	n, _, err := v.Get(key, testCookie, nil)
	switch {
	case data == nil && !errors.Is(err, ErrNotFound):
		t.Errorf("get key %d: %d bytes, %v; want %v", key, len(n.Data), err, ErrNotFound)
	case data != nil && (err != nil || !bytes.Equal(n.Data, data)):
		t.Errorf("get key %d: %d bytes, %v; want %d bytes", key, len(n.Data), err, len(data))
	}
}

func readTestFile(t testing.TB, disk vfs.FS, name string) []byte {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

// writeTestFile replaces a file and makes it durable.
func writeTestFile(t testing.TB, disk vfs.FS, name string, content []byte) {
	t.Helper()
	if err := disk.MkdirAll(testDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFileAtomic(disk, name, content); err != nil {
		t.Fatal(err)
	}
}

func removeTestFile(t testing.TB, disk vfs.FS, name string) {
	t.Helper()
	if err := disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// logRecords walks a log without the engine's scanner, up to the first record that does not fit.
func logRecords(version Version, dat []byte) (records []logRecord) {
	at := int64(SuperblockSize) + int64(binary.BigEndian.Uint16(dat[6:]))
	for at+needleHeaderSize <= int64(len(dat)) {
		r := logRecord{header: parseHeader(dat[at:]), offset: at}
		n := 16 + int64(r.size) + 4
		if version == Version3 {
			n += 8
		}
		if r.length = n + 8 - n%8; at+r.length > int64(len(dat)) {
			break
		}
		if version == Version3 {
			r.appendAtNs = binary.BigEndian.Uint64(dat[at+20+int64(r.size):])
		}
		records = append(records, r)
		at += r.length
	}
	return records
}

// wantIdxAgrees checks that a closed volume's `.idx` has one entry per record of the log, in order.
func wantIdxAgrees(t testing.TB, disk vfs.FS, base string) {
	t.Helper()
	dat, idx := readTestFile(t, disk, base+".dat"), readTestFile(t, disk, base+".idx")
	var want []byte
	for _, r := range logRecords(Version(dat[0]), dat) {
		size := int32(r.size)
		if size == 0 {
			size = -1
		}
		want = idxEntry{key: r.key, offset: uint32(r.offset / 8), size: size}.appendTo(want)
	}
	if !bytes.Equal(idx, want) {
		t.Errorf("%s.idx has %d bytes, %d records want %d; equal up to %d", base, len(idx), len(want)/16, len(want), commonPrefix(idx, want))
	}
}

func commonPrefix(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// liveKeys returns the keys of the index in order.
func liveKeys(v *Volume) []blob.Key {
	var keys []blob.Key
	for key := range v.index().All() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
