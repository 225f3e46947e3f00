package testcluster_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// needle is what the scan keeps of a record of a .dat file.
type needle struct {
	offset uint32 // in units of 8 bytes
	size   int32  // -1 for a tombstone
	cookie uint32
	data   []byte // as the client sent it
}

// scanVolume reads a .dat file from its first byte to its last, by the documented layout and with no code of
// the store, and returns what is alive by key.
func scanVolume(dat []byte) (map[uint64]needle, error) {
	if len(dat) < 8 || dat[0] != 3 {
		return nil, errors.New("no superblock of version 3")
	}
	alive := make(map[uint64]needle)
	at := 8 + int(binary.BigEndian.Uint16(dat[6:]))
	for at < len(dat) {
		record := dat[at:]
		if len(record) < 32 {
			return nil, fmt.Errorf("%d bytes at %#x are no record", len(record), at)
		}
		n := needle{cookie: binary.BigEndian.Uint32(record), offset: uint32(at / 8)}
		key, size := binary.BigEndian.Uint64(record[4:]), int(binary.BigEndian.Uint32(record[12:]))
		end := 16 + size + 4 + 8
		end += 8 - end%8
		if size > len(record) || end > len(record) {
			return nil, fmt.Errorf("the record at %#x ends behind the file", at)
		}
		if key == 0 {
			return nil, fmt.Errorf("the record at %#x has no key", at)
		}
		if size == 0 {
			delete(alive, key)
		} else {
			var err error
			if n.data, err = needleData(record[16:16+size], binary.BigEndian.Uint32(record[16+size:])); err != nil {
				return nil, fmt.Errorf("the record at %#x: %w", at, err)
			}
			n.size = int32(size)
			alive[key] = n
		}
		at += end
	}
	return alive, nil
}

func needleData(body []byte, checksum uint32) ([]byte, error) {
	length := int(binary.BigEndian.Uint32(body))
	if length > len(body)-5 {
		return nil, fmt.Errorf("%d bytes of data in a body of %d", length, len(body))
	}
	data, flags := body[4:4+length], body[4+length]
	if got := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)); got != checksum {
		return nil, fmt.Errorf("checksum %08x, stored %08x", got, checksum)
	}
	if flags&1 == 0 {
		return data, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// scanIndex reads a .idx file: offset and size of what is alive, by key.
func scanIndex(idx []byte) (map[uint64]needle, error) {
	if len(idx)%16 != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of entries", len(idx))
	}
	alive := make(map[uint64]needle)
	for ; len(idx) > 0; idx = idx[16:] {
		key := binary.BigEndian.Uint64(idx)
		n := needle{offset: binary.BigEndian.Uint32(idx[8:]), size: int32(binary.BigEndian.Uint32(idx[12:]))}
		if n.size < 0 || n.offset == 0 {
			delete(alive, key)
		} else {
			alive[key] = n
		}
	}
	return alive, nil
}

// scanDir scans all volumes of a directory whose server has ended, and returns what is alive by volume and
// key. The index of each must say the same as its log.
func scanDir(t *testing.T, dir string) map[uint32]map[uint64]needle {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no volumes in %s (%v)", dir, err)
	}
	volumes := make(map[uint32]map[uint64]needle)
	for _, name := range logs {
		base := strings.TrimSuffix(name, ".dat")
		text := filepath.Base(base)
		id, err := strconv.ParseUint(text[strings.LastIndexByte(text, '_')+1:], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if alive, ok := scanCopy(t, base, read(t, base+".dat")); ok {
			volumes[uint32(id)] = alive
		}
	}
	return volumes
}

// scanCopy scans the log of a volume, whose path without the suffix is base, and wants its index to say the same. It is false
// if the log can't be read.
func scanCopy(t *testing.T, base string, log []byte) (alive map[uint64]needle, ok bool) {
	t.Helper()
	alive, err := scanVolume(log)
	if err != nil {
		t.Errorf("%s.dat: %v", base, err)
		return nil, false
	}
	indexed, err := scanIndex(read(t, base+".idx"))
	if err != nil {
		t.Errorf("%s.idx: %v", base, err)
	}
	for key, n := range alive {
		if i, ok := indexed[key]; !ok || i.offset != n.offset || i.size != n.size {
			t.Errorf("%s: key %x is at %d with %d bytes in the log, the index says %+v, %v", base, key, n.offset, n.size, i, ok)
		}
	}
	for key, i := range indexed {
		if _, ok := alive[key]; !ok {
			t.Errorf("%s: key %x is in the index (%+v) and not in the log", base, key, i)
		}
	}
	return alive, true
}

// decidedLog returns of a volume's log what its server knew to be decided when it was stopped: all if it does not say.
func decidedLog(t *testing.T, base string) []byte {
	t.Helper()
	var meta struct{ Clean struct{ DatBytes int } }
	if err := json.Unmarshal(read(t, base+".meta"), &meta); err != nil {
		t.Fatal(err)
	}
	log, n := read(t, base+".dat"), meta.Clean.DatBytes
	if n > len(log) {
		t.Fatalf("%s: the server was stopped with %d bytes, the log has %d", base, n, len(log))
	}
	if n == 0 {
		return log
	}
	return log[:n]
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestScan reads the example of the documentation, whole and damaged.
func TestScan(t *testing.T) {
	t.Parallel()
	const superblock = "\x03\x00\x00\x00\x00\x00\x00\x00"
	put := "\xd4\x59\x8e\xed\x00\x00\x00\x00\x00\x00\x00\x23\x00\x00\x00\x38" +
		"\x00\x00\x00\x07ABCDEFG\x3e\x05s.bin\x13application/x-seven\x00\x65\x53\xf1\x00\x05\x03\x00\x09{\"K\":\"v\"}" +
		"\x2c\x77\x56\x65\x18\xea\x64\x38\x3b\xa6\x61\xa9\x00\x00\x00\x00"
	tombstone := "\xd4\x59\x8e\xed\x00\x00\x00\x00\x00\x00\x00\x23\x00\x00\x00\x00\x2c\x77\x56\x65" +
		"\x18\xea\x64\x38\x3d\x07\xb2\xc8\x00\x00\x00\x00"
	for _, c := range []struct {
		name, dat string
		alive     int // -1 for an error
	}{
		{"empty", superblock, 0},
		{"put", superblock + put, 1},
		{"deleted", superblock + put + tombstone, 0},
		{"deleted and put", superblock + put + tombstone + put, 1},
		{"no superblock", put, -1},
		{"torn", superblock + put[:len(put)-8], -1},
		{"zeros behind", superblock + put + strings.Repeat("\x00", 32), -1},
		{"flipped", superblock + strings.Replace(put, "ABC", "ABD", 1), -1},
	} {
		alive, err := scanVolume([]byte(c.dat))
		if c.alive < 0 {
			if err == nil {
				t.Errorf("%s: no error", c.name)
			}
			continue
		}
		n, ok := alive[0x23]
		if err != nil || len(alive) != c.alive || ok && (string(n.data) != "ABCDEFG" || n.cookie != 0xd4598eed || n.size != 0x38) {
			t.Errorf("%s: %+v, %v", c.name, alive, err)
		}
	}
}
