package storage

import (
	"fmt"
)

// accept checks each operation of the batch against the state that the ones before it leave, and gives the
// good ones their place and time. It returns where the log will end.
func (c *committer) accept(batch []*operation) (end int64) {
	end = c.end
	ns := max(uint64(c.v.cfg.Now().UnixNano())&^batchMask, c.lastNs&^batchMask+batchMask+1)
	clear(c.inBatch)
	for _, op := range batch {
		if op.err = c.admit(op, end); op.err != nil {
			continue
		}
		at := ns + batchNumber(len(c.accepted))
		op.rec.stamp(at)
		if c.v.superblock.Version == Version3 {
			op.needle.AppendAtNs = at
		}
		op.entry = idxEntry{key: op.needle.Key, offset: uint32(end / needleAlignment), size: int32(op.rec.size),
			rest: op.rec.restSum()}
		if op.delete {
			op.entry.size = tombstoneSize
		}
		end += op.rec.length
		c.lastNs = at
		c.accepted = append(c.accepted, op)
		if len(batch) > 1 {
			c.inBatch[op.needle.Key] = op
		}
	}
	return end
}

// admit says whether an operation may be appended at offset end. For a delete it lays out the tombstone.
func (c *committer) admit(op *operation, end int64) error {
	op.byMate = false
	if err := c.v.denies(op.delete); err != nil {
		return err
	}
	if c.replica.noPuts != nil && !op.delete {
		return c.replica.noPuts
	}
	if before := c.inBatch[op.needle.Key]; before != nil {
		switch {
		case op.delete && (before.delete || before.needle.Cookie != op.needle.Cookie):
			op.byMate = true
			return ErrNotFound
		case !before.delete && before.needle.Cookie != op.needle.Cookie:
			op.byMate = true
			return ErrCookie
		case op.delete:
			op.size = before.contentSize()
			op.rec.encodeDelete(c.v.superblock.Version, op.needle, before.needle.Checksum)
		}
	} else if err := c.admitAgainstDisk(op); err != nil {
		return err
	}
	if end+op.rec.length > MaxVolumeSizeBytes {
		return fmt.Errorf("volume %d: %w", c.v.id, ErrFull)
	}
	return nil
}

// admitAgainstDisk compares the operation with the needle that the index knows under its key.
func (c *committer) admitAgainstDisk(op *operation) error {
	loc, ok := c.v.index().Get(op.needle.Key)
	if !ok {
		if op.delete {
			return ErrNotFound
		}
		return nil
	}
	offset := int64(loc.Offset) * needleAlignment
	var b [needleHeaderSize]byte
	if err := readFull(c.v.dat(), b[:], offset); err != nil {
		return err
	}
	h := parseHeader(b[:])
	switch {
	case h.key != op.needle.Key || h.size != Size(loc.Size):
		return &CorruptError{c.v.dat().Name(), offset, errOther.Error()}
	case h.cookie != op.needle.Cookie && op.delete:
		return ErrNotFound
	case h.cookie != op.needle.Cookie:
		return ErrCookie
	case !op.delete:
		return nil
	}
	old, err := readLayout(c.v.dat(), c.v.superblock.Version, offset, h)
	if err != nil {
		return err
	}
	if c.v.expired(&old.Needle) {
		return ErrNotFound
	}
	if op.size, err = old.contentSize(c.v.dat()); err != nil {
		return err
	}
	op.rec.encodeDelete(c.v.superblock.Version, op.needle, old.Checksum)
	return nil
}
