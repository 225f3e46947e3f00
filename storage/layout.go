package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"weed/internal/vfs"
)

// layout is a needle whose data stays on disk: everything but the bytes, and where they are.
type layout struct {
	Needle     // without Data; Checksum is the stored one, in either form
	dataOffset int64
	dataSize   int64
}

// readLayout reads the parts of a record around its data. h is the record's header, read by the caller.
// Fields that contradict each other are a *CorruptError.
func readLayout(f vfs.File, version Version, offset int64, h header) (layout, error) {
	l := layout{Needle: Needle{Key: h.key, Cookie: h.cookie}, dataOffset: offset + needleHeaderSize}
	l.dataSize = int64(h.size)
	attributes := int64(0)
	if version != Version1 && h.size > 0 {
		var b [4]byte
		if err := readFull(f, b[:], l.dataOffset); err != nil {
			return l, err
		}
		dataSize, err := splitBody(b[:], int64(h.size))
		if err != nil {
			return l, &CorruptError{f.Name(), offset, err.Error()}
		}
		l.dataOffset += 4
		l.dataSize, attributes = dataSize, int64(h.size)-4-dataSize
	}
	if attributes > maxAttributesLength {
		return l, &CorruptError{f.Name(), offset, errBody.Error()}
	}
	rest := make([]byte, attributes+trailerLength(version))
	if err := readFull(f, rest, l.dataOffset+l.dataSize); err != nil {
		return l, err
	}
	if attributes > 0 {
		if err := decodeAttributes(&l.Needle, rest[:attributes]); err != nil {
			return l, &CorruptError{f.Name(), offset, err.Error()}
		}
	}
	l.Checksum = binary.BigEndian.Uint32(rest[attributes:])
	if version == Version3 {
		l.AppendAtNs = binary.BigEndian.Uint64(rest[attributes+checksumSize:])
	}
	return l, nil
}

// contentSize is the length of the blob as its owner knows it: of compressed data, what the last four
// bytes of the gzip stream (RFC 1952, ISIZE) say.
func (l *layout) contentSize(f vfs.File) (int64, error) {
	if !l.Gzipped || l.dataSize < minGzipBytes {
		return l.dataSize, nil
	}
	var b [4]byte
	if err := readFull(f, b[:], l.dataOffset+l.dataSize-4); err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint32(b[:])), nil
}

// readFull fills b from offset at. A file that ends before is a *CorruptError.
func readFull(f vfs.File, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return &CorruptError{f.Name(), at + int64(n), "the file ends inside a needle"}
	}
	return fmt.Errorf("read %s at byte %d: %w", f.Name(), at, err)
}

// ignoreCorrupt keeps only errors of the disk itself.
func ignoreCorrupt(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}

// checksumScratch holds the buffers of checksumRange for large blobs: big enough to keep system calls few,
// small enough to stay in a core's cache.
var checksumScratch = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// checksumRange returns the CRC32-C of length bytes at offset at, read through scratch.
func checksumRange(f vfs.File, at, length int64, scratch []byte) (uint32, error) {
	crc := uint32(0)
	for length > 0 {
		b := scratch[:min(int64(len(scratch)), length)]
		if err := readFull(f, b, at); err != nil {
			return 0, err
		}
		crc = updateChecksum(crc, b)
		at += int64(len(b))
		length -= int64(len(b))
	}
	return crc, nil
}
