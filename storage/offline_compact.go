package storage

import (
	"errors"
	"fmt"
	"os"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// ErrCopies: what is asked for would make a copy differ from those on other servers.
var ErrCopies = errors.New("the volume has copies on other servers, which must stay the same: compact it there, with volume.vacuum of weed shell")

// Compacted says what Offline.Compact has done.
type Compacted struct {
	BytesBefore, BytesAfter int64 // length of the log
	Live                    int64 // blobs that are left
}

// Compact replaces the log by one that holds nothing but what can be read, in the same order and byte by byte, with the
// next compaction revision, and its index file. Until the new files are whole and durable the old ones are as they were;
// after a crash there are the ones or the others. reached is told now and then how many bytes of the old log it has
// passed, and ends the work by an error. Errors: ErrCopies, ErrNoSpace, *CorruptError if anything is damaged, those of
// reached and of the disk.
func (o *Offline) Compact(reached func(offset, length int64) error) (done Compacted, err error) {
	v, err := openVolume(o.fs, o.dir, o.id, o.collection, o.cfg)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	switch cause := v.ReadOnly(); {
	case cause&CauseDamaged != 0:
		return done, fmt.Errorf("%s: %w: weed fix says where; take it from a backup or another copy", v.base, ErrCorrupt)
	case cause&CauseFiles != 0:
		return done, fmt.Errorf("%s: %w", v.base, cause.deny())
	case v.Kept() != nil:
		return done, fmt.Errorf("%s: %w", v.base, ErrCopies)
	}
	if err := dropStaged(o.fs, v.base, compactSuffix); err != nil {
		return done, err
	}
	done.BytesBefore = v.SizeBytes()
	if usage, err := o.fs.Usage(o.dir); err == nil && usage.TotalBytes > 0 {
		if need := done.BytesBefore - int64(v.Status().DeletedBytes); need > int64(usage.FreeBytes) {
			return done, fmt.Errorf("%w: the compacted volume may take %d bytes beside the old one, and %d are free", ErrNoSpace, need, usage.FreeBytes)
		}
	}
	c := compaction{v: v, reached: reached}
	if err := c.run(suffixFS{o.fs, compactSuffix}); err != nil {
		return done, errors.Join(fmt.Errorf("compact %s: %w", v.base, diskError(err)), dropStaged(o.fs, v.base, compactSuffix))
	}
	done.BytesAfter, done.Live = c.end, c.live
	if err := v.Close(); err != nil { // which writes .meta
		return done, err
	}
	return done, swapIn(o.fs, v.base, compactSuffix)
}

// compaction writes the new files.
type compaction struct {
	v       *Volume
	reached func(offset, length int64) error
	dat     vfs.File
	idx     *idxWriter
	buf     []byte      // of the end of the new log, not written yet
	old     *logScanner // reads the old log in order
	end     int64       // of the new log
	live    int64
}

// run makes the files of the compacted volume in a file system of their own, durably.
func (c *compaction) run(beside vfs.FS) (err error) {
	v := c.v
	if c.dat, err = beside.OpenFile(v.base+".dat", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
		return err
	}
	idx, err := beside.OpenFile(v.base+".idx", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return errors.Join(err, c.dat.Close())
	}
	c.idx = &idxWriter{f: idx, dirty: true}
	err = c.copyAll()
	if err == nil {
		err = c.dat.Sync()
	}
	idxBytes, idxErr := c.idx.close()
	if err = errors.Join(err, idxErr, c.dat.Close()); err != nil {
		return err
	}
	m := v.meta
	m.Synced, m.Elsewhere, m.Clean = true, false, &cleanMark{DatBytes: c.end, IdxBytes: idxBytes}
	// What is written here is a chain; only in version 1 an empty blob is still told by the index file alone.
	m.Foreign = m.Foreign && v.superblock.Version == Version1
	return m.write(beside, v.base+".meta")
}

func (c *compaction) copyAll() error {
	v := c.v
	head := make([]byte, v.superblock.Length())
	if err := readFull(v.dat, head, 0); err != nil {
		return err
	}
	super := v.superblock
	super.Revision++
	copy(head, super.AppendBinary(nil))
	if err := c.write(head); err != nil {
		return err
	}
	c.old = newLogScanner(v.dat, v.superblock.Version, v.SizeBytes())
	told := int64(0)
	for key, loc := range v.index.Load().ByOffset(0, 1<<32) {
		at := int64(loc.Offset) * needleAlignment
		if at-told >= walkStep {
			told = at
			if err := c.reached(at, v.SizeBytes()); err != nil {
				return err
			}
		}
		if err := c.copyRecord(key, loc); err != nil {
			return err
		}
	}
	return c.flush()
}

// copyRecord appends the record of a live needle, unless its time is over. Its checksum is verified.
func (c *compaction) copyRecord(key blob.Key, loc index.Location) error {
	v := c.v
	at, version := int64(loc.Offset)*needleAlignment, v.superblock.Version
	length := recordLength(version, Size(loc.Size))
	head, err := c.old.bytes(at, int(min(int64(len(c.old.buf)), length)))
	if err != nil {
		return err
	}
	if len(head) < needleHeaderSize {
		return &CorruptError{v.dat.Name(), at, errShortRecord.Error()}
	}
	h := parseHeader(head)
	if h.key != key || h.size != Size(loc.Size) {
		return &CorruptError{v.dat.Name(), at, errOther.Error()}
	}
	var n Needle
	if length > int64(len(head)) {
		return c.copyLarge(h, at, length)
	}
	if err := decodeNeedle(&n, version, head); err != nil {
		return &CorruptError{v.dat.Name(), at, err.Error()}
	}
	if v.expired(&n) {
		return nil
	}
	size := h.size
	if size == 0 && version != Version1 { // an empty blob of another program: with a body the log tells it
		var r record
		if err := r.encodePut(version, &n); err != nil {
			return err
		}
		r.stamp(n.AppendAtNs)
		head, size = r.appendTo(nil), r.size
	}
	c.note(key, size)
	return c.write(head)
}

// copyLarge appends a record that is longer than what is read at once.
func (c *compaction) copyLarge(h header, at, length int64) error {
	v := c.v
	l, err := readLayout(v.dat, v.superblock.Version, at, h)
	if err != nil || v.expired(&l.Needle) {
		return err
	}
	c.old.n = 0 // the window is used as scratch
	crc, err := checksumRange(v.dat, l.dataOffset, l.dataSize, c.old.buf)
	if err == nil && !checksumMatches(l.Checksum, crc) {
		err = &CorruptError{v.dat.Name(), at, errChecksum.Error()}
	}
	if err != nil {
		return err
	}
	c.note(h.key, h.size)
	for done := int64(0); done < length; {
		b := c.old.buf[:min(int64(len(c.old.buf)), length-done)]
		if err := readFull(v.dat, b, at+done); err != nil {
			return err
		}
		if err := c.write(b); err != nil {
			return err
		}
		done += int64(len(b))
	}
	return nil
}

// note takes down that a record begins at the end.
func (c *compaction) note(key blob.Key, size Size) {
	c.idx.add(idxEntry{key: key, offset: uint32(c.end / needleAlignment), size: int32(size)})
	c.live++
}

func (c *compaction) write(b []byte) error {
	c.buf = append(c.buf, b...)
	c.end += int64(len(b))
	if len(c.buf) < scanWindowSize {
		return nil
	}
	return c.flush()
}

func (c *compaction) flush() error {
	_, err := c.dat.WriteAt(c.buf, c.end-int64(len(c.buf)))
	c.buf = c.buf[:0]
	return err
}
