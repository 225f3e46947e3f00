package storage

import (
	"errors"
	"fmt"

	"weed/storage/index"
)

// walker goes through a whole log, damaged or not.
type walker struct {
	scanner *logScanner
	// record gets each record in order; good is false for one that is damaged and of known length.
	record func(r logRecord, good bool) error
	// lost gets each stretch in which there is no valid record.
	lost func(d Damage) error
	// reached is told now and then how far the walk has come, and may end it.
	reached func(offset int64) error
}

// walkStep is how many bytes lie at least between two calls of reached.
const walkStep = 4 << 20

// walk goes from an offset to the end. Behind what is damaged it goes on at the next record that is certainly one.
func (w *walker) walk(from int64) error {
	s, told := w.scanner, from
	for at := from; at < s.end; {
		if at-told >= walkStep {
			told = at
			if err := w.reached(at); err != nil {
				return err
			}
		}
		r, v, err := s.check(at)
		if err != nil {
			return err
		}
		if v == recordGood {
			if err := w.record(r, true); err != nil {
				return err
			}
			at += r.length
			continue
		}
		if at, err = w.damaged(r, at); err != nil {
			return err
		}
	}
	return w.reached(s.end)
}

// damaged deals with a bad record at an offset, and returns where to go on.
func (w *walker) damaged(r logRecord, at int64) (int64, error) {
	s := w.scanner
	r.offset = at
	known, err := s.lengthKnown(r)
	if err != nil {
		return at, err
	}
	d := Damage{Offset: at, Reason: "no valid needle here"}
	next, found, err := s.resume(r, known)
	if errors.Is(err, errTooMuch) {
		d.Reason, found, err = errTooMuch.Error(), false, nil
	}
	if err != nil {
		return at, err
	}
	stop := s.end
	if found {
		stop = next.offset
	}
	d.Length = stop - at
	if known && at+r.length <= s.end {
		d.Reason = fmt.Sprintf("the needle of key %x does not match its checksum", uint64(r.key))
		if err := w.record(r, false); err != nil {
			return at, err
		}
	}
	return stop, w.lost(d)
}

// Record is one record of a log, as List finds it. Its slices are valid until the function that gets it returns.
type Record struct {
	Needle          // Data is nil if it is longer than what is read at once: see DataSize
	Offset    int64 // of the record in the log, in bytes
	Length    int64 // with padding
	DataSize  int64 // as stored
	Deleted   bool  // nobody can read it: it was deleted or replaced, or its time is over
	Tombstone bool
}

// List goes through the log of a volume that nobody writes to, and hands each record to record, in order. Those that
// are damaged are not among them; lost gets their place. reached is told now and then how far it is, in bytes. Errors
// are those of the functions and of the disk.
func (v *Volume) List(record func(Record) error, lost func(Damage) error, reached func(offset int64) error) error {
	length, err := v.dat().Size()
	if err != nil {
		return err
	}
	w := walker{scanner: newLogScanner(v.dat(), v.superblock.Version, length), lost: lost, reached: reached}
	w.record = func(r logRecord, good bool) error {
		if !good {
			return nil
		}
		n, dataSize, err := w.needle(r)
		if err != nil {
			return err
		}
		loc, live := v.index().Get(r.key)
		live = live && loc == index.Location{Offset: uint32(r.offset / needleAlignment), Size: uint32(r.size)}
		return record(Record{Needle: n, Offset: r.offset, Length: r.length, DataSize: dataSize,
			Deleted: !live || v.expired(&n), Tombstone: r.size == 0 && !live})
	}
	return w.walk(v.superblock.Length())
}

// needle reads a good record, of which the window holds what was just checked unless it is longer.
func (w *walker) needle(r logRecord) (n Needle, dataSize int64, err error) {
	s := w.scanner
	if r.length > int64(len(s.buf)) {
		l, err := readLayout(s.f, s.version, r.offset, r.header)
		return l.Needle, l.dataSize, err
	}
	b, err := s.bytes(r.offset, int(r.length))
	if err == nil {
		err = decodeNeedle(&n, s.version, b)
	}
	return n, int64(len(n.Data)), err
}
