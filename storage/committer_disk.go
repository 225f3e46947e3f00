package storage

import (
	"errors"
	"fmt"
	"path"
	"syscall"

	"weed/internal/vfs"
)

// append writes the accepted records behind the end of the log.
func (c *committer) append() error {
	at := c.end
	c.buf = c.buf[:0]
	flush := func(b []byte) error {
		if len(b) == 0 {
			return nil
		}
		_, err := c.v.dat().WriteAt(b, at)
		c.dirty.Store(true) // not before the write: a sync in between would not cover it
		at += int64(len(b))
		return err
	}
	for _, op := range c.accepted {
		r := &op.rec
		if len(r.data) < copyLimit && len(c.buf) < bufferLimit {
			c.buf = r.appendTo(c.buf)
			continue
		}
		c.buf = append(c.buf, r.prefix[:r.prefixN]...)
		if err := flush(c.buf); err != nil {
			return err
		}
		if err := flush(r.data); err != nil {
			return err
		}
		c.buf = append(c.buf[:0], r.suffix...)
	}
	return flush(c.buf)
}

// fail gives every accepted operation, and those that were refused for them, the disk's error, which it returns, takes
// what was written of them back, and keeps the volume from taking more.
func (c *committer) fail(batch []*operation, err error) error {
	err = fmt.Errorf("append to volume %d: %w", c.v.id, diskError(err))
	c.diskFailed(err)
	for _, op := range batch {
		if op.err == nil || op.byMate {
			op.err = err
		}
	}
	c.takeBack()
	return err
}

// diskFailed keeps the volume from taking more after an error of the disk.
func (c *committer) diskFailed(err error) {
	cause := CauseDamaged
	if errors.Is(err, ErrNoSpace) && c.v.readOnly.load()&CauseDamaged == 0 {
		cause = CauseNoSpace
		c.noteNoRoom()
	}
	c.v.turnReadOnly(cause, err)
}

// noteNoRoom takes down how much room the disk has, which was not enough: what was written of the append counts as free.
func (c *committer) noteNoRoom() {
	usage, err := c.v.fs.Usage(path.Dir(c.v.base))
	if err != nil {
		usage = vfs.Usage{}
	}
	if length, err := c.v.dat().Size(); err == nil && length > c.end {
		usage.FreeBytes += uint64(length - c.end)
	}
	c.v.noRoom.Store(&usage)
}

// takeBack removes what was written behind the end of the log, now if the disk lets it.
func (c *committer) takeBack() {
	c.uncut = true
	if err := c.cut(); err != nil {
		c.v.cfg.Logger.Error("a failed append can't be cut off yet", "volume", c.v.id, "error", err)
	}
}

// cut removes the bytes of a failed commit, durably: until that has worked nothing else is appended.
func (c *committer) cut() error {
	if !c.uncut {
		return nil
	}
	if err := c.v.dat().Truncate(c.end); err != nil {
		return err
	}
	c.dirty.Store(true)
	if c.v.cfg.Sync == SyncAlways {
		// Also after a sync that failed: what lies before the cut was made durable by an earlier one.
		c.syncMu.Lock()
		defer c.syncMu.Unlock()
		if err := c.v.dat().Sync(); err != nil {
			return c.syncFailed(err)
		}
	}
	c.uncut = false
	return nil
}

func (c *committer) flushIdx() {
	if c.idx.err != nil {
		return
	}
	was := c.idx.late
	if err := c.idx.flush(); err != nil && c.idx.late {
		if !was {
			c.v.cfg.Logger.Warn("index file waits for room on the disk", "volume", c.v.id, "error", err)
		}
	} else if err != nil {
		c.v.cfg.Logger.Error("index file is not written any more; the next start completes it", "volume", c.v.id, "error", err)
	}
}

// sync makes durable what was written before the call. Once that has failed it never succeeds again: the
// kernel drops the bytes that it could not write, and the next sync knows nothing of them.
func (c *committer) sync() error {
	c.syncMu.Lock()
	defer c.syncMu.Unlock()
	if c.syncErr == nil && c.dirty.Swap(false) {
		if err := c.v.dat().Sync(); err != nil {
			return c.syncFailed(err)
		}
	}
	return c.syncErr
}

// syncFailed takes note of a sync that failed. c.syncMu is held.
func (c *committer) syncFailed(err error) error {
	c.syncErr = fmt.Errorf("sync volume %d: %w", c.v.id, diskError(err))
	c.v.turnReadOnly(CauseDamaged, c.syncErr)
	return c.syncErr
}

// diskError gives a full disk its kind.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
