package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

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
	// trustedBytes is the length of the file's head that was synced at a clean shutdown, when the log was
	// trustedLength long. Its entries must point into the log and that is all.
	trustedBytes, trustedLength int64
	// foreign says that another program wrote the file: its entries may come in any order.
	foreign bool
}

// idxLoad is what was learned from an `.idx` file.
type idxLoad struct {
	goodBytes int64    // length of the head that can be believed
	logEnd    int64    // offset in `.dat` up to which the head covers the log
	last      idxEntry // the entry that ends at logEnd
	damage    error    // an entry in the trusted head points outside the log
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
	buf := make([]byte, 1<<20)
	for at := int64(0); at+idxEntrySize <= size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		n -= n % idxEntrySize
		if n == 0 {
			if err == nil || err == io.EOF {
				break
			}
			return load, fmt.Errorf("read %s at byte %d: %w", f.Name(), at, err)
		}
		for i := 0; i < n; i += idxEntrySize {
			e := parseIdxEntry(buf[i:])
			trusted := at+int64(i) < check.trustedBytes
			if !load.accept(e, check, trusted) {
				if trusted {
					load.damage = &CorruptError{f.Name(), at + int64(i), "the entry points outside the log"}
				}
				return load, nil
			}
			if trusted && load.goodBytes+idxEntrySize == check.trustedBytes {
				load.logEnd = max(load.logEnd, check.trustedLength)
			}
			load.goodBytes += idxEntrySize
			apply(e)
		}
		at += int64(n)
	}
	return load, nil
}

// accept judges one entry and moves logEnd behind its record.
func (l *idxLoad) accept(e idxEntry, check idxCheck, trusted bool) bool {
	if e.offset == 0 { // a foreign tombstone without a place
		return check.foreign || trusted
	}
	begin := int64(e.offset) * needleAlignment
	end := begin + recordLength(check.version, e.bodySize())
	if begin < check.firstNeedle || end > check.datLength {
		return false
	}
	if !check.foreign && !trusted && begin != l.logEnd {
		return false
	}
	if end > l.logEnd {
		l.logEnd, l.last = end, e
	}
	return true
}

// idxFlushBytes is how much an idxWriter gathers before it writes.
const idxFlushBytes = 64 << 10

// idxWriter appends entries to an `.idx` file. The file is derived, so an error is not fatal: the writer
// remembers it and writes no more, and the next open completes the file from the log.
type idxWriter struct {
	f   vfs.File
	at  int64 // length of the file
	buf []byte
	err error
}

func (w *idxWriter) add(e idxEntry) {
	if w.err != nil {
		return
	}
	w.buf = e.appendTo(w.buf)
	if len(w.buf) >= idxFlushBytes {
		w.flush() //nolint:errcheck // the error is kept
	}
}

func (w *idxWriter) flush() error {
	if w.err == nil && len(w.buf) > 0 {
		if _, err := w.f.WriteAt(w.buf, w.at); err != nil {
			w.err = fmt.Errorf("append to %s: %w", w.f.Name(), err)
		} else {
			w.at += int64(len(w.buf))
		}
		w.buf = w.buf[:0]
	}
	return w.err
}

// close flushes, makes the file durable if sync is set, closes it, and returns its length.
func (w *idxWriter) close(sync bool) (int64, error) {
	err := w.flush()
	if err == nil && sync {
		err = w.f.Sync()
	}
	return w.at, errors.Join(err, w.f.Close())
}
