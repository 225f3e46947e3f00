package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
)

// Log is what a Replicator does with a volume's log. All its offsets are log offsets, which no compaction changes: see
// Origin.
type Log struct{ c *committer }

// Origin returns which compaction has made the log.
func (l *Log) Origin() Origin { return l.c.v.Origin() }

// skipped is what log offsets are more than those in the file.
func (l *Log) skipped() int64 { return l.Origin().Skipped }

// Length returns where the log ends, uncommitted bytes included.
func (l *Log) Length() int64 { return l.c.end + l.skipped() }

// Whole returns the end of the last whole record.
func (l *Log) Whole() int64 { return l.c.replica.parsed + l.skipped() }

// Waiting reports whether operations wait to be decided.
func (l *Log) Waiting() bool {
	p := &l.c.replica
	return p.flight != nil || len(l.c.queue)+len(p.doubted)+len(p.entries) > 0
}

// Sync has what was written synced before the next Persisted, whatever the policy.
func (l *Log) Sync() { l.c.replica.sync = true }

// Settle makes durable, whatever the policy, what was written. The error is the disk's.
func (l *Log) Settle() error {
	l.c.replica.unsynced = false
	return l.c.sync()
}

// WantsSync reports whether an operation in flight is to be synced whatever the policy.
func (l *Log) WantsSync() bool {
	f := l.c.replica.flight
	return f != nil && f.wantsSync()
}

// CatchUp says whether what is written from now on has been on another copy's disk for a while, so that a part of it that no
// checksum covers is to be compared with further copies.
func (l *Log) CatchUp(on bool) { l.c.replica.catchingUp = on }

// Write appends bytes of another copy's log at offset, which must be the length of this one. Durable they are
// after the next Persisted. The records in them are checked as far as they are whole; after an error, ErrCorrupt or
// the disk's, the bytes are not part of the log. A disk that fails makes the volume read-only.
func (l *Log) Write(offset int64, b []byte) error {
	c := l.c
	if offset != l.Length() {
		return fmt.Errorf("append to volume %d at byte %d, which is %d long", c.v.id, offset, l.Length())
	}
	at := c.end
	err := c.cut()
	if err == nil {
		_, err = c.v.dat().WriteAt(b, at)
		c.dirty.Store(true) // not before the write: a sync in between would not cover it
	}
	before, entries := c.replica.parsed, len(c.replica.entries)
	if err == nil {
		c.end += int64(len(b))
		err = c.parse(b, at)
	}
	if err == nil {
		c.replica.unsynced = true
		return nil
	}
	c.end, c.replica.parsed = at, before
	c.forgetTail(entries)
	err = fmt.Errorf("append to volume %d: %w", c.v.id, diskError(err))
	if !errors.Is(err, ErrCorrupt) {
		c.diskFailed(err)
	}
	c.takeBack()
	return err
}

// parse notes the whole records between c.replica.parsed and the end of the log; b are the log's bytes from at on.
func (c *committer) parse(b []byte, at int64) error {
	p := &c.replica
	for c.end-p.parsed >= needleHeaderSize {
		var head [needleHeaderSize]byte
		inside := p.parsed >= at
		if inside {
			copy(head[:], b[p.parsed-at:])
		} else if err := readFull(c.v.dat(), head[:], p.parsed); err != nil {
			return err
		}
		r := logRecord{header: parseHeader(head[:]), offset: p.parsed}
		r.length = recordLength(c.v.superblock.Version, r.size)
		if r.header == (header{}) || r.size > math.MaxInt32 || p.parsed+r.length > MaxVolumeSizeBytes {
			return &CorruptError{c.v.dat().Name(), p.parsed, "what another copy has sent is no needle"}
		}
		if p.parsed+r.length > c.end {
			return c.checkFront(&r)
		}
		var err error
		if inside {
			err = c.checkRecord(&r, b[p.parsed-at:][:r.length])
		} else {
			err = c.checkOnDisk(&r)
		}
		if err != nil {
			return err
		}
		e := entryOf(r.header, p.parsed)
		e.doubt = p.catchingUp
		if inside {
			e.rest = restSum(c.v.superblock.Version, b[p.parsed-at:][:r.length])
		} else if rest, _, err := readRest(c.v.dat(), c.v.superblock.Version, p.parsed, nil); err == nil {
			e.rest = known(Checksum(rest))
		}
		c.lastNs = max(c.lastNs, r.appendAtNs)
		p.parsed += r.length
		c.addTail(e, p.parsed)
	}
	return nil
}

// checkFront checks a record of which more is to come: one with sizes that do not fit each other would be waited for
// in vain.
func (c *committer) checkFront(r *logRecord) error {
	var b [needleHeaderSize + 4]byte
	if c.v.superblock.Version == Version1 || r.size == 0 || c.end-r.offset < int64(len(b)) {
		return nil
	}
	if err := readFull(c.v.dat(), b[:], r.offset); err != nil {
		return err
	}
	dataSize, err := splitBody(b[needleHeaderSize:], int64(r.size))
	if err != nil || int64(r.size)-4-dataSize > maxAttributesLength {
		return &CorruptError{c.v.dat().Name(), r.offset, "what another copy has sent has sizes that do not fit"}
	}
	return nil
}

// checkRecord checks a record, all of whose bytes are b, as recovery would.
func (c *committer) checkRecord(r *logRecord, b []byte) error {
	var n Needle
	if err := decodeNeedle(&n, c.v.superblock.Version, b); err != nil {
		return &CorruptError{c.v.dat().Name(), r.offset, err.Error()}
	}
	r.appendAtNs = n.AppendAtNs
	if c.v.superblock.Version == Version3 && n.AppendAtNs == 0 {
		return &CorruptError{c.v.dat().Name(), r.offset, "the needle has no append time"}
	}
	return nil
}

// scanWindows are the windows of scanners that look at one record.
var scanWindows = sync.Pool{New: func() any { b := make([]byte, scanWindowSize); return &b }}

// checkOnDisk checks a record that came in more than one piece.
func (c *committer) checkOnDisk(r *logRecord) error {
	window := scanWindows.Get().(*[]byte)
	defer scanWindows.Put(window)
	s := logScanner{f: c.v.dat(), version: c.v.superblock.Version, end: r.offset + r.length, buf: *window}
	got, verdict, err := s.check(r.offset)
	if err != nil {
		return err
	}
	if verdict != recordGood {
		return &CorruptError{c.v.dat().Name(), r.offset, "what another copy has sent is damaged"}
	}
	*r = got
	return nil
}

func (c *committer) addTail(e idxEntry, end int64) {
	c.replica.entries = append(c.replica.entries, tailEntry{e, end})
	c.replica.keys.add(e.key)
}

// forgetTail keeps the first n entries of the uncommitted part.
func (c *committer) forgetTail(n int) {
	p := &c.replica
	if n < len(p.entries) {
		p.keys.remove(p.entries[n:])
		p.entries = p.entries[:n]
	}
}

// maxSpareEntries bounds the memory that is kept for the uncommitted part of a log.
const maxSpareEntries = 4 << 10

// Commit publishes what lies below an offset, and answers those whose operations that settles.
func (l *Log) Commit(to int64) {
	c := l.c
	p := &c.replica
	to -= l.skipped()
	n := 0
	for n < len(p.entries) && p.entries[n].end <= to {
		c.v.apply(p.entries[n].idxEntry)
		c.idx.add(p.entries[n].idxEntry)
		n++
	}
	if n > 0 {
		c.v.stats.modifiedAtUnix.Store(c.v.cfg.Now().Unix())
		c.v.setLength(p.entries[n-1].end)
		c.v.readOnly.noteFilled(c.v.cfg.Now)
		p.keys.remove(p.entries[:n]) // after they are published: a reader that waited looks them up then
		p.entries = p.entries[:copy(p.entries, p.entries[n:])]
		if len(p.entries) == 0 && cap(p.entries) > maxSpareEntries {
			p.entries = nil
		}
	}
	if f := p.flight; f != nil && f.end <= to {
		p.land()
		c.land(len(f.ops), f.began)
		for _, op := range f.ops {
			if op.short {
				op.answer(ErrOutcomeUnknown)
			} else {
				op.answer(nil)
			}
		}
	}
}

// Cut cuts the log, as durably as the policy asks for. Operations of this server that go with that wait to be
// decided anew. After an error the log may be as long as before, and the volume is read-only; but for an offset that is
// not in the log: then nothing changes. A log that is cut below its Floor is the beginning of one of its Origin, no more.
func (l *Log) Cut(to int64) error {
	c := l.c
	p := &c.replica
	o, length := l.Origin(), l.Length()
	if to < c.v.superblock.Length()+o.Skipped || to > length {
		return fmt.Errorf("cut volume %d to byte %d, which is %d long and begins at byte %d", c.v.id, to, length, c.v.superblock.Length()+o.Skipped)
	}
	to -= o.Skipped
	if to < c.v.stats.length.Load() {
		// First, and durably: an index file that knows more than the log is taken for a sign of damage.
		if err := c.rewind(to); err != nil {
			err = fmt.Errorf("cut volume %d: %w", c.v.id, err)
			c.diskFailed(err)
			return err
		}
	}
	n := len(p.entries)
	for n > 0 && p.entries[n-1].end > to {
		n--
	}
	p.parsed = c.v.stats.length.Load()
	if n > 0 {
		p.parsed = p.entries[n-1].end
	}
	c.forgetTail(n)
	if f := p.flight; f != nil && f.end > to {
		c.recall(f, to)
	}
	c.end, c.uncut = to, true
	if err := c.cut(); err != nil {
		err = fmt.Errorf("cut volume %d: %w", c.v.id, diskError(err))
		c.diskFailed(err)
		return err
	}
	return nil
}

// Flush writes what the index file lacks of what is published. It is to be called now and then: it bounds what the
// start after a kill reads of the log.
func (l *Log) Flush() {
	l.c.flushIdx()
	l.c.idx.flushSums(true)
}

// Save keeps what the replicator must know after a restart, durably. elsewhere says that other servers hold all that
// was acknowledged, too, so that a log whose end a power cut has torn may lose that end: see FORMAT.md.
func (l *Log) Save(kept json.RawMessage, elsewhere bool) error {
	v := l.c.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	m := v.meta
	m.Replication, m.Elsewhere = kept, elsewhere
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		return fmt.Errorf("keep the state of volume %d's replication: %w", v.id, diskError(err))
	}
	v.meta = m
	return nil
}
