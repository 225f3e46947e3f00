package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// idxEntrySize is the length in bytes of an `.idx` entry: key (8), offset in units of 8 (4), size (4).
const idxEntrySize = 16

// tombstoneSize in an entry's size field says that the key was deleted.
const tombstoneSize = -1

// idxEntry is one line of the index file: where the latest append of a key is.
type idxEntry struct {
	key    blob.Key
	offset uint32 // in units of needleAlignment
	size   int32  // the needle's size field, or tombstoneSize
	rest   uint32 // checksum of the record but for its data, see restSum; 0: not known. It is not in the file
	doubt  bool   // rest is of what another copy had on its disk, where it may have changed. It is not in the file either
}

// entryOf returns the index entry of the record with a header at an offset.
func entryOf(h header, offset int64) idxEntry {
	e := idxEntry{key: h.key, offset: uint32(offset / needleAlignment), size: int32(h.size)}
	if h.size == 0 {
		e.size = tombstoneSize
	}
	return e
}

// deleted covers every form that writers of this format have used: size -1, with or without the
// tombstone's offset, and offset 0.
func (e idxEntry) deleted() bool { return e.size < 0 || e.offset == 0 }

// bodySize is the size field of the record that the entry points at.
func (e idxEntry) bodySize() Size {
	if e.size < 0 {
		return 0
	}
	return Size(e.size)
}

func (e idxEntry) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.key))
	dst = binary.BigEndian.AppendUint32(dst, e.offset)
	return binary.BigEndian.AppendUint32(dst, uint32(e.size))
}

// parseIdxEntry reads the first idxEntrySize bytes of b.
func parseIdxEntry(b []byte) idxEntry {
	_ = b[idxEntrySize-1]
	return idxEntry{
		key:    blob.Key(binary.BigEndian.Uint64(b[0:])),
		offset: binary.BigEndian.Uint32(b[8:]),
		size:   int32(binary.BigEndian.Uint32(b[12:])),
	}
}

// idxCheck says how an `.idx` file is to be believed.
type idxCheck struct {
	version     Version
	firstNeedle int64 // offset of the first needle
	datLength   int64 // length of the `.dat` file
	// looseBytes is the length of the file's head that another program wrote: its entries may come in any
	// order. Together they cover the log up to looseLength. unknownLength: all of the file is such.
	looseBytes, looseLength int64
	sums                    *sumCheck // may be nil
}

// unknownLength is a looseBytes that no file reaches.
const unknownLength = math.MaxInt64

// idxLoad is what was learned from an `.idx` file.
type idxLoad struct {
	goodBytes int64    // length of the head that can be believed
	logEnd    int64    // offset in `.dat` up to which the head covers the log
	last      idxEntry // the entry whose record is the last in the log
	before    idxEntry // the one that was last before it
	first     idxEntry // the entry whose record is the first in the chain
	rejected  bool     // an entry behind the head can't be right
	beyond    bool     // the chain goes on behind the end of the log
}

// loadIdx reads entries in order and hands each to apply until the first that can't be right. Entries that
// we wrote form a chain: each record begins where the one before ends, so a hole that a power cut has
// left in the file, which is never synced while in use, breaks the chain and ends the load there.
func loadIdx(f vfs.File, check idxCheck, apply func(idxEntry)) (idxLoad, error) {
	size, err := f.Size()
	if err != nil {
		return idxLoad{}, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	load := idxLoad{logEnd: check.firstNeedle}
	buf := make([]byte, min(1<<20, size))
	for at := int64(0); at+idxEntrySize <= size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		n -= n % idxEntrySize
		if n == 0 {
			if err == nil || err == io.EOF {
				break
			}
			return load, fmt.Errorf("read %s at byte %d: %w", f.Name(), at, err)
		}
		for i := 0; i < n; i += sumBlockBytes {
			if !load.block(buf[i:min(i+sumBlockBytes, n)], at+int64(i), &check, apply) {
				load.rejected = true
				return load, nil
			}
		}
		at += int64(n)
	}
	return load, nil
}

// block takes in the entries of a block that begins at an offset of the file; false says that one can't be right.
func (l *idxLoad) block(entries []byte, at int64, check *idxCheck, apply func(idxEntry)) bool {
	check.sums.check(entries, at, check, l.logEnd)
	for i := 0; i < len(entries); i += idxEntrySize {
		e := parseIdxEntry(entries[i:])
		if !l.accept(e, check) {
			check.sums.loaded(entries[:i], at)
			return false
		}
		apply(e)
	}
	check.sums.loaded(entries, at)
	return true
}

// accept judges one entry and, if it is good, moves the ends behind it.
func (l *idxLoad) accept(e idxEntry, check *idxCheck) bool {
	loose := l.goodBytes < check.looseBytes
	if e.offset == 0 {
		// A foreign tombstone without a place. All zeros are a hole in the file.
		if !loose || e == (idxEntry{}) {
			return false
		}
	} else {
		begin := int64(e.offset) * needleAlignment
		end := begin + recordLength(check.version, e.bodySize())
		if begin < check.firstNeedle || end > check.datLength || !loose && begin != l.logEnd {
			l.beyond = !loose && begin == l.logEnd
			return false
		}
		if l.last == (idxEntry{}) {
			l.first = e
		}
		if end > l.logEnd {
			l.logEnd, l.before, l.last = end, l.last, e
		}
	}
	if l.goodBytes += idxEntrySize; l.goodBytes == check.looseBytes {
		l.logEnd = max(l.logEnd, check.looseLength)
	}
	return true
}

// maxIdxWaiting bounds the bytes of entries that wait for room on a full disk.
const maxIdxWaiting = 4 << 20

// idxFlushBytes is how much an idxWriter gathers before it writes.
const idxFlushBytes = 64 << 10

// idxWriter appends entries to an `.idx` file. The file is derived, so an error is not fatal: the writer
// remembers it and writes no more, and the next open completes the file from the log. For room on a full disk it waits.
type idxWriter struct {
	f     vfs.File
	at    int64 // length of the file
	dirty bool  // bytes below at were never synced
	off   bool  // the file can't be written, and nothing is
	buf   []byte
	err   error
	late  bool  // the disk is full, and buf waits
	sums  *sums // may be nil
}

func (w *idxWriter) add(e idxEntry) {
	if w.off || w.err != nil {
		return
	}
	w.buf = e.appendTo(w.buf)
	if w.sums != nil {
		w.sums.add(e)
	}
	if len(w.buf) >= idxFlushBytes {
		w.flush() //nolint:errcheck // the error is kept
	}
}

func (w *idxWriter) flush() error {
	if w.err == nil && len(w.buf) > 0 {
		w.dirty = true
		_, err := w.f.WriteAt(w.buf, w.at)
		if err = diskError(err); err != nil {
			err = fmt.Errorf("append to %s: %w", w.f.Name(), err)
		}
		if w.late = errors.Is(err, ErrNoSpace) && len(w.buf) < maxIdxWaiting; w.late {
			return err // the next call tries again
		}
		if w.err = err; err == nil {
			w.at += int64(len(w.buf))
		}
		w.buf = w.buf[:0]
		w.flushSums(false)
	}
	return w.err
}

// flushSums writes the sums of what the file has; part says that the last block is to be among them.
func (w *idxWriter) flushSums(part bool) {
	if w.err == nil && len(w.buf) == 0 && w.sums != nil {
		w.sums.flush(part)
	}
}

// truncate cuts the file, durably.
func (w *idxWriter) truncate(to int64) error {
	err := w.f.Truncate(to)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		w.err = fmt.Errorf("cut %s: %w", w.f.Name(), err)
		return w.err
	}
	w.at, w.dirty = to, false
	if w.sums == nil {
		return nil
	}
	rest := make([]byte, to%sumBlockBytes)
	if len(rest) > 0 {
		if err := readFull(w.f, rest, to-int64(len(rest))); err != nil {
			w.err = fmt.Errorf("read %s: %w", w.f.Name(), err)
			return w.err
		}
	}
	w.sums.cut(to/idxEntrySize, rest)
	return nil
}

// sync flushes and makes the file durable.
func (w *idxWriter) sync() error {
	if err := w.flush(); err != nil || !w.dirty {
		return err
	}
	if err := w.f.Sync(); err != nil {
		w.err = fmt.Errorf("sync %s: %w", w.f.Name(), err)
		return w.err
	}
	w.dirty = false
	return nil
}

// close makes the file durable, closes it, and returns its length.
func (w *idxWriter) close() (int64, error) {
	err := w.sync()
	w.flushSums(true)
	return w.at, errors.Join(err, w.f.Close())
}
