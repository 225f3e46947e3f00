package storage

import (
	"encoding/binary"
	"errors"
)

// place is where an operation was in the log, as a log offset, and its append time.
type place struct {
	offset int64
	ns     uint64
}

// errMoved says that it can't be told any more what is at a place: what was there may have been compacted.
var errMoved = errors.New("the log was compacted")

// settleCut answers those operations that were cut here and are in the log all the same: another copy had them, and was the
// primary of a later epoch. It is called when the log is known to be that of the epoch.
func (c *committer) settleCut() {
	if !c.replica.cuts {
		return
	}
	c.replica.cuts = false
	n := 0
	for _, op := range c.queue {
		there := false
		var err error
		if op.cut != (place{}) {
			there, err = c.holds(op)
		}
		switch {
		case err != nil || there && !op.delete: // a put that fewer copies than wanted may have
			op.answer(ErrOutcomeUnknown)
		case there:
			op.answer(nil)
		default:
			c.queue[n] = op
			n++
		}
	}
	clear(c.queue[n:])
	c.queue = c.queue[:n]
}

// holds reports whether an operation is in the log where it was before it was cut.
func (c *committer) holds(op *operation) (bool, error) {
	o := c.v.Origin()
	if op.cut.offset < o.Floor {
		return false, errMoved
	}
	at := op.cut.offset - o.Skipped
	if at+needleHeaderSize > c.replica.parsed {
		return false, nil
	}
	var b [needleHeaderSize]byte
	if err := readFull(c.v.dat(), b[:], at); err != nil {
		return false, err
	}
	h := parseHeader(b[:])
	trailer := at + needleHeaderSize + int64(h.size) + checksumSize
	switch {
	case h.key != op.needle.Key || h.cookie != op.needle.Cookie:
		return false, nil
	case c.v.superblock.Version != Version3:
		return false, errMoved // no times tell it from another one
	case trailer+timestampSize > c.replica.parsed:
		return false, nil
	}
	if err := readFull(c.v.dat(), b[:timestampSize], trailer); err != nil {
		return false, err
	}
	return binary.BigEndian.Uint64(b[:]) == op.cut.ns, nil
}
