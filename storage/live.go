package storage

import (
	"bytes"
	"errors"
	"io/fs"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// LiveNeedle is a needle that can be read, or should be.
type LiveNeedle struct {
	Needle          // without data; of one that is damaged the key alone is sure
	Offset   int64  // of its record in the log, in bytes
	DataSize int64  // as stored
	Damage   string // why it can't be read, "" if it can as far as was looked
}

// Live hands the needles that can be read, and whose records begin at from or behind it and below end, which is
// committed, to f in the order of the log, until f returns false. With verify their data is read from the disk and
// compared with its checksum. Appends and reads go on meanwhile: what is deleted or replaced may be among them or not.
// Errors are those of pace, which may be nil, or ErrClosed; what can't be read is not one.
func (v *Volume) Live(from, end int64, verify bool, pace Pace, f func(LiveNeedle) bool) error {
	c := v.content.Load() // of one log, also if it is compacted meanwhile
	file := c.dat
	cold := &coldFile{File: c.dat, pace: pace}
	if verify {
		file = cold
	}
	scratch := checksumScratch.Get().(*[]byte)
	defer checksumScratch.Put(scratch)
	for key, loc := range c.index.ByOffset(uint64(from/needleAlignment), uint64(end/needleAlignment)) {
		n, err := v.lookLive(file, key, loc, verify, *scratch)
		switch {
		case cold.stopped != nil:
			return cold.stopped
		case errors.Is(err, fs.ErrClosed):
			return v.closedError(err)
		case err != nil:
			n.Damage = err.Error()
		case v.expired(&n.Needle):
			continue
		}
		if !f(n) {
			return nil
		}
	}
	return nil
}

func (v *Volume) lookLive(file vfs.File, key blob.Key, loc index.Location, verify bool, scratch []byte) (LiveNeedle, error) {
	n := LiveNeedle{Needle: Needle{Key: key}, Offset: int64(loc.Offset) * needleAlignment}
	length := needleHeaderSize + int64(loc.Size) + trailerLength(v.superblock.Version)
	if verify && length <= int64(len(scratch)) {
		err := v.verifyLive(file, &n, loc, scratch[:length])
		return n, err
	}
	var head [needleHeaderSize]byte
	if err := readFull(file, head[:], n.Offset); err != nil {
		return n, err
	}
	h := parseHeader(head[:])
	if h.key != key || h.size != Size(loc.Size) {
		return n, &CorruptError{file.Name(), n.Offset, errOther.Error()}
	}
	n.Cookie = h.cookie
	l, err := readLayout(file, v.superblock.Version, n.Offset, h)
	if err != nil {
		return n, err
	}
	n.Needle, n.DataSize = l.Needle, l.dataSize
	if !verify {
		return n, nil
	}
	crc, err := checksumRange(file, l.dataOffset, l.dataSize, scratch)
	if err == nil && !checksumMatches(l.Checksum, crc) && h.size > 0 {
		err = &CorruptError{file.Name(), n.Offset, errChecksum.Error()}
	}
	return n, err
}

// verifyLive reads a record at once into b, which is as long.
func (v *Volume) verifyLive(file vfs.File, n *LiveNeedle, loc index.Location, b []byte) error {
	if err := readFull(file, b, n.Offset); err != nil {
		return err
	}
	h := parseHeader(b)
	if h.key != n.Key || h.size != Size(loc.Size) {
		return &CorruptError{file.Name(), n.Offset, errOther.Error()}
	}
	n.Cookie = h.cookie
	var whole Needle
	if err := decodeNeedle(&whole, v.superblock.Version, b); err != nil {
		return &CorruptError{file.Name(), n.Offset, err.Error()}
	}
	n.DataSize, whole.Data = int64(len(whole.Data)), nil
	whole.Name, whole.Mime, whole.Pairs = bytes.Clone(whole.Name), bytes.Clone(whole.Mime), bytes.Clone(whole.Pairs)
	n.Needle = whole
	return nil
}
