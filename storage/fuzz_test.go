package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// seeds adds the golden files with the given extension.
func seeds(f *testing.F, ext string) {
	f.Helper()
	for _, g := range goldenVolumes {
		content, err := os.ReadFile(filepath.Join("testdata", g.name, "7"+ext))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
}

func fuzzFile(t *testing.T, content []byte) vfs.File {
	t.Helper()
	f, err := vfs.NewMem().OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// FuzzSuperblock: what parses is what was meant, or differs only where the format has several spellings.
func FuzzSuperblock(f *testing.F) {
	seeds(f, ".dat")
	f.Add([]byte{3, 255, 9, 9, 1, 2, 0, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		if s.Version < 1 || s.Version > 3 || s.Length()%8 != 0 {
			t.Fatalf("%+v", s)
		}
		again := s.AppendBinary(nil)
		if len(again) != SuperblockSize || again[0] != b[0] || again[1] != b[1] || !bytes.Equal(again[4:], b[4:8]) {
			t.Fatalf("%x became %x", b[:8], again)
		}
		if twice, err := ParseSuperblock(again); err != nil || twice != s {
			t.Fatalf("%+v became %+v, %v", s, twice, err)
		}
	})
}

// FuzzIdx: whatever the bytes, the load ends within them and covers no more than the log.
func FuzzIdx(f *testing.F) {
	for _, g := range goldenVolumes {
		files := g.files()
		f.Add(files["7.idx"], files["7.dat"][0], int64(len(files["7.dat"])), int64(0))
		f.Add(files["7.idx"], byte(3), int64(len(files["7.dat"])), int64(len(files["7.idx"])))
	}
	f.Fuzz(func(t *testing.T, b []byte, version byte, datLength, loose int64) {
		check := idxCheck{version: Version(version%3 + 1), firstNeedle: 8, datLength: datLength, looseBytes: loose, looseLength: datLength}
		entries := 0
		load, err := loadIdx(fuzzFile(t, b), check, func(e idxEntry) {
			entries++
			if int64(e.offset)*8 > max(datLength, 0) || !e.deleted() && int64(e.offset)*8+16+int64(e.size) > datLength {
				t.Fatalf("%+v points outside of %d bytes", e, datLength)
			}
		})
		if err != nil || load.goodBytes != int64(entries)*16 || load.goodBytes > int64(len(b)) || load.logEnd > max(datLength, 8) {
			t.Fatalf("%+v, %v", load, err)
		}
		if !load.rejected && int64(len(b))-load.goodBytes >= 16 {
			t.Fatalf("stopped at %d of %d", load.goodBytes, len(b))
		}
	})
}

// FuzzNeedle: decoding never panics nor reads beyond; what it accepts encodes to the same.
func FuzzNeedle(f *testing.F) {
	for _, g := range goldenVolumes {
		dat := g.files()["7.dat"]
		for _, r := range logRecords(Version(dat[0]), dat) {
			f.Add(dat[0], dat[r.offset:r.offset+r.length])
		}
	}
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		v := Version(version%3 + 1)
		var n Needle
		if err := decodeNeedle(&n, v, b); err != nil {
			return
		}
		h := parseHeader(b)
		if h.size == 0 {
			return
		}
		var r record
		if err := r.encodePut(v, &n); err != nil {
			if bytes.IndexByte(n.Pairs, 0) < 0 {
				t.Fatal(err)
			}
			return
		}
		r.stamp(n.AppendAtNs)
		var again Needle
		encoded := r.appendTo(nil)
		if int64(len(encoded)) != r.length || len(encoded)%8 != 0 {
			t.Fatalf("%d bytes, said %d", len(encoded), r.length)
		}
		if err := decodeNeedle(&again, v, encoded); err != nil && len(n.Data)+int(r.size) > 0 {
			t.Fatalf("%x became %x: %v", b, encoded, err)
		}
		if !sameNeedle(&n, &again) || n.Checksum != again.Checksum || n.AppendAtNs != again.AppendAtNs || n.TTL != again.TTL ||
			n.Gzipped != again.Gzipped || n.Manifest != again.Manifest || !bytes.Equal(n.Mime, again.Mime) {
			t.Fatalf("%+v became %+v", n, again)
		}
		end := needleHeaderSize + int64(h.size)
		if v != Version1 {
			dataSize := int64(binary.BigEndian.Uint32(b[16:]))
			length, whole := attributesLength(b[20+dataSize : end])
			if !whole || length != end-20-dataSize {
				t.Fatalf("attributes of %d bytes are said to be %d, %v", end-20-dataSize, length, whole)
			}
		}
	})
}

// FuzzLog recovers volumes of any bytes: no panic, work in proportion to the length, the same result again.
func FuzzLog(f *testing.F) {
	seeds(f, ".dat")
	f.Fuzz(func(t *testing.T, b []byte) {
		super, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		for _, durable := range []int64{0, int64(len(b))} {
			s := newLogScanner(fuzzFile(t, b), super.Version, int64(len(b)))
			s.batched = true
			live := map[blob.Key]blob.Cookie{}
			s.cookieOf = func(key blob.Key) (blob.Cookie, bool, error) {
				cookie, ok := live[key]
				return cookie, ok, nil
			}
			at := super.Length()
			got, err := s.scanTail(at, durable, func(r logRecord, good bool) {
				if r.offset < at || r.offset+r.length > int64(len(b)) {
					t.Fatalf("%+v is out of order or of bounds", r)
				}
				at = r.offset + r.length
				live[r.key] = r.cookie
			})
			if err != nil && super.Length() <= int64(len(b)) {
				t.Fatal(err)
			}
			if s.work > s.workLimit()+2*int64(len(b)) {
				t.Fatalf("%d bytes of work on %d", s.work, len(b))
			}
			if got.end+got.cut != int64(len(b)) || got.cut > 0 && got.end < max(durable, super.Length()) {
				t.Fatalf("%+v of %d bytes, %d durable", got, len(b), durable)
			}
			if got.cut > 0 && got.damage != nil {
				t.Fatalf("cut although %v", got.damage)
			}
		}
	})
}

// FuzzVolume opens whatever lies in the three files, twice.
func FuzzVolume(f *testing.F) {
	for _, g := range goldenVolumes {
		files := g.files()
		f.Add(files["7.dat"], files["7.idx"], files["7.vif"])
		f.Add(files["7.dat"], files["7.idx"], []byte(`{"version":1,"clean":{"datBytes":100,"idxBytes":16}}`))
	}
	f.Fuzz(func(t *testing.T, dat, idx, meta []byte) {
		disk := volumeFiles{dat: dat, idx: idx, meta: meta}.disk(t)
		var before []blob.Key
		for round := range 2 {
			s := openTestStore(t, disk, Config{})
			v, ok := s.Volume(7)
			if !ok {
				closeStore(t, s)
				return
			}
			keys := liveKeys(v)
			for _, key := range keys {
				_, _, err := v.Get(key, testCookie, nil)
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				_, _ = v.Delete(key, 0) // must not panic either
			}
			if keys = liveKeys(v); round == 1 && len(keys) != len(before) {
				t.Fatalf("%d keys, then %d", len(before), len(keys))
			}
			before = keys
			closeStore(t, s)
		}
	})
}
