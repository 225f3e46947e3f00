package storage

import (
	"encoding/binary"
	"fmt"
	"io"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// SuperblockSize is the length in bytes of a superblock without its extra part.
const SuperblockSize = 8

// Version is the needle layout of a volume. New volumes have CurrentVersion; all three are read.
type Version uint8

// The needle layouts.
const (
	Version1 Version = 1
	Version2 Version = 2
	Version3 Version = 3

	CurrentVersion = Version3
)

// Superblock is the head of a `.dat` file:
//
//	0        1           2          3         4-5 (big endian)      6-7 (big endian)
//	version  placement   ttl count  ttl unit  compaction revision   length of the extra part that follows
//
// The placement is the code xyz as one decimal number. Volumes of ours have no extra part; a foreign one
// is skipped.
type Superblock struct {
	Version     Version
	Placement   blob.Placement
	TTL         blob.TTL
	Revision    uint16 // counts compactions
	ExtraLength uint16 // bytes between the superblock and the first needle
}

// Length returns the offset of the first needle in bytes.
func (s Superblock) Length() int64 { return SuperblockSize + int64(s.ExtraLength) }

// AppendBinary appends the eight bytes of the superblock to dst.
func (s Superblock) AppendBinary(dst []byte) []byte {
	count, unit := s.TTL.Bytes()
	dst = append(dst, byte(s.Version), s.Placement.Byte(), count, unit)
	dst = binary.BigEndian.AppendUint16(dst, s.Revision)
	return binary.BigEndian.AppendUint16(dst, s.ExtraLength)
}

// ParseSuperblock reads the first eight bytes of b. An unknown version is an error.
func ParseSuperblock(b []byte) (Superblock, error) {
	if len(b) < SuperblockSize {
		return Superblock{}, fmt.Errorf("superblock: %d bytes instead of %d", len(b), SuperblockSize)
	}
	s := Superblock{
		Version:     Version(b[0]),
		Placement:   blob.PlacementFromByte(b[1]),
		TTL:         blob.TTLFromBytes(b[2], b[3]),
		Revision:    binary.BigEndian.Uint16(b[4:]),
		ExtraLength: binary.BigEndian.Uint16(b[6:]),
	}
	if s.Version < Version1 || s.Version > Version3 {
		return Superblock{}, fmt.Errorf("superblock: version %d is unknown (1, 2 and 3 are read)", b[0])
	}
	if s.Length()%needleAlignment != 0 {
		return Superblock{}, fmt.Errorf("superblock: its extra part of %d bytes does not end at a multiple of %d",
			s.ExtraLength, needleAlignment)
	}
	return s, nil
}

func readSuperblock(f vfs.File) (Superblock, error) {
	var b [SuperblockSize]byte
	if n, err := f.ReadAt(b[:], 0); err != nil && (err != io.EOF || n < len(b)) {
		if err == io.EOF {
			return Superblock{}, &CorruptError{f.Name(), int64(n), "the file ends inside its superblock"}
		}
		return Superblock{}, fmt.Errorf("read superblock of %s: %w", f.Name(), err)
	}
	s, err := ParseSuperblock(b[:])
	if err != nil {
		return Superblock{}, &CorruptError{f.Name(), 0, err.Error()}
	}
	return s, nil
}
