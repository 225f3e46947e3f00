package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/storage/index"
)

// Replicator decides, together with the servers that hold the other copies, what becomes of a volume's log. All
// its methods are called by the volume's committer, as are the tasks given to Volume.Post: one at a time. Only
// there the Log may be used.
type Replicator interface {
	// Accepts returns whether an operation, or a put, may be appended now. ErrWait: it stays queued; any other
	// error is the answer to it.
	Accepts(puts bool) error
	// Appended says that n bytes were written at the end of the log, with a put among them or not. They are
	// committed by Log.Commit, or cut by Log.Cut.
	Appended(n int64, puts bool)
	// Persisted says that everything that was written is as durable as the policy asks for.
	Persisted()
	// Failed says that bytes that were written, here or by Log.Write, can't be made durable.
	Failed(err error)
	// Idle says that nothing is about to be appended.
	Idle()
}

// replica is the part of a committer that a replicated volume needs.
type replica struct {
	r         Replicator
	noPuts    error // why puts are refused now
	unsettled bool  // the replicator has not been told that nothing follows
	unsynced  bool  // Log.Write has written
	parsed    int64 // offset up to which the uncommitted part of the log was read
	entries   []tailEntry // of the uncommitted part, in order
	scanner   *logScanner
	flight    *flight
	keys      tailKeys
}

// flight is a batch that was appended here as primary.
type flight struct {
	ops []*operation
	end int64
}

// tailEntry is an operation in the uncommitted part of the log.
type tailEntry struct {
	idxEntry
	end int64 // of its record
}

// tailKeys are the keys of the uncommitted part, for readers.
type tailKeys struct {
	n       atomic.Int64 // entries, so that readers need no lock while there are none
	mu      sync.Mutex   // guards count and changed
	count   map[blob.Key]int32
	changed chan struct{} // closed when entries go; nil while nobody waits
}

func (t *tailKeys) add(key blob.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = map[blob.Key]int32{}
	}
	t.count[key]++
	t.n.Add(1)
}

func (t *tailKeys) remove(entries []tailEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range entries {
		if key := entries[i].key; t.count[key] > 1 {
			t.count[key]--
		} else {
			delete(t.count, key)
		}
	}
	t.n.Add(-int64(len(entries)))
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait returns a channel that is closed when entries have gone, nil if key is not among them.
func (t *tailKeys) wait(key blob.Key) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[key] == 0 {
		return nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// Settled waits until it is known what becomes of the appends for a key that are under way. ErrWait: that took
// longer than within.
func (v *Volume) Settled(key blob.Key, within time.Duration) error {
	keys := &v.committer.replica.keys
	if keys.n.Load() == 0 {
		return nil
	}
	changed := keys.wait(key)
	if changed == nil {
		return nil
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	for ; changed != nil; changed = keys.wait(key) {
		select {
		case <-changed:
		case <-timer.C:
			return ErrWait
		}
	}
	return nil
}

// Replicate hands the volume to a replicator, which start makes. It comes before the first operation.
func (v *Volume) Replicate(start func(*Log) Replicator) {
	done := make(chan struct{})
	v.committer.post(func() {
		defer close(done)
		c := v.committer
		c.replica.parsed = c.end
		c.replica.r = start(&Log{c})
	})
	<-done
}

// Post has the committer run a task, after those posted before; not any more once the volume is closed.
func (v *Volume) Post(task func()) { v.committer.post(task) }

// ReadLog reads bytes of the log, committed or not, into all of p.
func (v *Volume) ReadLog(offset int64, p []byte) (int, error) {
	if err := readFull(v.dat, p, offset); err != nil {
		return 0, v.closedError(err)
	}
	return len(p), nil
}

// Kept returns what a replicator has kept by Log.Save, nil for nothing.
func (v *Volume) Kept() json.RawMessage {
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	return v.meta.Replication
}

// SuperblockLength returns where the log begins, in bytes.
func (v *Volume) SuperblockLength() int64 { return v.superblock.Length() }

// Log is what a Replicator does with a volume's log.
type Log struct{ c *committer }

// Length returns the length of the log in bytes, uncommitted ones included.
func (l *Log) Length() int64 { return l.c.end }

// Whole returns the end of the last whole record.
func (l *Log) Whole() int64 { return l.c.replica.parsed }

// Wake lets operations that were told to wait ask again.
func (l *Log) Wake() { l.c.wakeUp() }

// Write appends bytes of another copy's log at offset, which must be the length of this one. Durable they are
// after the next Persisted. The records in them are checked; after an error the bytes are not part of the log.
func (l *Log) Write(offset int64, b []byte) error {
	c := l.c
	if err := c.cut(); err != nil {
		return err
	}
	if offset != c.end {
		return fmt.Errorf("append to volume %d at byte %d, which is %d long", c.v.id, offset, c.end)
	}
	_, err := c.v.dat.WriteAt(b, offset)
	c.dirty.Store(true)
	before, entries := c.replica.parsed, len(c.replica.entries)
	if err == nil {
		c.end += int64(len(b))
		err = c.parse(b, offset)
	}
	if err != nil {
		c.end, c.replica.parsed = offset, before
		c.forgetTail(entries)
		if !errors.Is(err, ErrCorrupt) {
			err = diskError(err)
			cause := CauseDamaged
			if errors.Is(err, ErrNoSpace) {
				cause = CauseNoSpace
			}
			c.v.turnReadOnly(cause, err)
		}
		c.uncut = true
		return fmt.Errorf("append to volume %d: %w", c.v.id, err)
	}
	c.replica.unsynced = true
	return nil
}

// parse notes the whole records between c.replica.parsed and the end of the log; b are the log's bytes from at on.
func (c *committer) parse(b []byte, at int64) error {
	p := &c.replica
	version := c.v.superblock.Version
	for p.parsed < c.end {
		var r logRecord
		if rest := c.end - p.parsed; rest < needleHeaderSize {
			return nil
		}
		inside := p.parsed >= at
		if inside {
			r.header = parseHeader(b[p.parsed-at:])
		} else {
			var head [needleHeaderSize]byte
			if err := readFull(c.v.dat, head[:], p.parsed); err != nil {
				return err
			}
			r.header = parseHeader(head[:])
		}
		r.length = recordLength(version, r.size)
		if p.parsed+r.length > c.end {
			return nil
		}
		if inside {
			var n Needle
			record := b[p.parsed-at:][:r.length]
			if err := decodeNeedle(&n, version, record); err != nil {
				return &CorruptError{c.v.dat.Name(), p.parsed, err.Error()}
			}
			r.appendAtNs = n.AppendAtNs
		} else if err := c.checkAcross(&r); err != nil {
			return err
		}
		e := idxEntry{key: r.key, offset: uint32(p.parsed / needleAlignment), size: int32(r.size)}
		if r.size == 0 {
			e.size = tombstoneSize
		}
		c.lastNs = max(c.lastNs, r.appendAtNs)
		p.parsed += r.length
		c.addTail(e, p.parsed)
	}
	return nil
}

// checkAcross checks a record that came in more than one piece.
func (c *committer) checkAcross(r *logRecord) error {
	p := &c.replica
	if p.scanner == nil {
		p.scanner = newLogScanner(c.v.dat, c.v.superblock.Version, scanWindowSize)
	}
	p.scanner.end, p.scanner.n, p.scanner.work = c.end, 0, 0
	got, verdict, err := p.scanner.check(p.parsed)
	if err != nil {
		return err
	}
	if verdict != recordGood {
		return &CorruptError{c.v.dat.Name(), p.parsed, errChecksum.Error()}
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

// Commit publishes what lies below an offset, and answers those whose operations that settles.
func (l *Log) Commit(to int64) {
	c := l.c
	p := &c.replica
	n := 0
	for n < len(p.entries) && p.entries[n].end <= to {
		c.v.apply(p.entries[n].idxEntry)
		c.idx.add(p.entries[n].idxEntry)
		n++
	}
	if n > 0 {
		c.v.stats.modifiedAtUnix.Store(c.v.cfg.Now().Unix())
		c.v.stats.length.Store(p.entries[n-1].end)
		c.v.readOnly.noteFilled(c.v.cfg.Now)
		p.keys.remove(p.entries[:n])
		p.entries = p.entries[:copy(p.entries, p.entries[n:])]
	}
	if f := p.flight; f != nil && f.end <= to {
		p.flight = nil
		for _, op := range f.ops {
			op.answer(nil)
		}
	}
}

// Cut cuts the log, durably. Operations of this server that go with that wait to be decided anew.
func (l *Log) Cut(to int64) error {
	c := l.c
	p := &c.replica
	published := c.v.stats.length.Load()
	n := len(p.entries)
	for n > 0 && p.entries[n-1].end > to {
		n--
	}
	c.forgetTail(n)
	if f := p.flight; f != nil && f.end > to {
		p.flight = nil
		for _, op := range f.ops {
			op.sent = true
		}
		c.queue = append(f.ops, c.queue...)
	}
	c.end, c.uncut = to, true
	var err error
	if to < published {
		err = c.rewind(to)
		published = c.v.stats.length.Load()
	}
	p.parsed = published
	if n > 0 {
		p.parsed = p.entries[n-1].end
	}
	if err == nil {
		err = c.cut()
	}
	if err != nil {
		c.v.turnReadOnly(CauseDamaged, err)
	}
	return err
}

// rewind takes back what was published from an offset on.
func (c *committer) rewind(to int64) error {
	v := c.v
	if err := c.idx.flush(); err != nil {
		return err
	}
	at, err := c.idxLengthAt(to)
	if err != nil {
		return err
	}
	v.metaMu.Lock()
	if v.meta.Clean != nil && v.meta.Clean.DatBytes > to {
		err = v.markClean(to, min(at, v.meta.Clean.IdxBytes))
	}
	v.metaMu.Unlock()
	if err == nil {
		err = c.idx.truncate(at)
	}
	if err != nil {
		return err
	}
	loader, err := c.loadIdxAgain()
	if err != nil {
		return err
	}
	v.publishIndex(loader)
	v.stats.length.Store(to)
	return nil
}

// idxLengthAt returns how long the index file was when the log was so long.
func (c *committer) idxLengthAt(to int64) (int64, error) {
	loose := int64(0)
	if c.v.foreign && c.v.meta.Clean != nil {
		loose = c.v.meta.Clean.IdxBytes
	}
	at := c.idx.at
	var b [idxEntrySize]byte
	for at > 0 {
		if err := readFull(c.idx.f, b[:], at-idxEntrySize); err != nil {
			return 0, err
		}
		if e := parseIdxEntry(b[:]); int64(e.offset)*needleAlignment < to {
			break
		}
		if at <= loose {
			return 0, &CorruptError{c.v.dat.Name(), to, "it would have to be cut where another program wrote it"}
		}
		at -= idxEntrySize
	}
	return at, nil
}

// loadIdxAgain reads the whole index file.
func (c *committer) loadIdxAgain() (*index.Loader, error) {
	loader := index.NewLoader()
	section := io.NewSectionReader(c.idx.f, 0, c.idx.at)
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(section, buf)
		for i := 0; i+idxEntrySize <= n; i += idxEntrySize {
			parseIdxEntry(buf[i:]).loadInto(loader)
		}
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return loader, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", c.idx.f.Name(), err)
		}
	}
}

// Save keeps what the replicator must know after a restart, durably.
func (l *Log) Save(kept json.RawMessage) error {
	v := l.c.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	m := v.meta
	m.Replication = kept
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		return err
	}
	v.meta = m
	return nil
}

// Expire answers those who have waited for so many calls of it that they should not wait longer.
func (l *Log) Expire(calls int) {
	c := l.c
	n := 0
	for _, op := range c.queue {
		if op.age++; op.age <= calls {
			c.queue[n] = op
			n++
			continue
		}
		op.answer(op.outcome())
	}
	clear(c.queue[n:])
	c.queue = c.queue[:n]
	if f := c.replica.flight; f != nil && len(f.ops) > 0 {
		if f.ops[0].age++; f.ops[0].age > calls {
			for _, op := range f.ops {
				op.answer(ErrOutcomeUnknown)
			}
			f.ops = nil
		}
	}
}

// outcome is what is known of an operation that was given up while it was queued.
func (op *operation) outcome() error {
	if op.sent {
		return ErrOutcomeUnknown
	}
	return ErrUnsettled
}

// propose appends the next operations, if the replicator lets it; false says that nothing was done.
func (c *committer) propose() bool {
	p := &c.replica
	if p.flight != nil || len(c.queue) == 0 {
		return false
	}
	if err := p.r.Accepts(false); errors.Is(err, ErrWait) {
		return false
	} else if err != nil {
		for _, op := range c.queue {
			op.answer(err)
		}
		c.drop(len(c.queue))
		return true
	}
	p.noPuts = p.r.Accepts(true)
	batch := c.queue[:batchLength(c.queue)]
	err := c.cut()
	end := c.end
	if err == nil {
		end = c.accept(batch)
		err = c.append()
	}
	if err != nil { // no other server has seen any of it
		c.fail(batch, err)
		for _, op := range batch {
			op.done <- struct{}{}
		}
		c.forgetAccepted()
		c.drop(len(batch))
		return true
	}
	c.launch(batch, end)
	return true
}

// launch makes the accepted operations of a batch the flight, and answers the others.
func (c *committer) launch(batch []*operation, end int64) {
	p := &c.replica
	f := &flight{ops: make([]*operation, 0, len(c.accepted)), end: end}
	puts, n := false, end-c.end
	for _, op := range batch {
		if op.err != nil {
			op.done <- struct{}{}
		}
	}
	for _, op := range c.accepted {
		f.ops = append(f.ops, op)
		c.addTail(op.entry, int64(op.entry.offset)*needleAlignment+op.rec.length)
		puts = puts || !op.delete
	}
	c.forgetAccepted()
	c.drop(len(batch))
	if len(f.ops) == 0 {
		return
	}
	c.end, p.parsed, p.flight, p.unsettled = end, end, f, true
	p.r.Appended(n, puts)
	p.unsynced = true
	c.persistReplica()
}

// persistReplica makes durable what was written, if anything was.
func (c *committer) persistReplica() {
	p := &c.replica
	if !p.unsynced {
		return
	}
	p.unsynced, p.unsettled = false, true
	if c.v.cfg.Sync == SyncAlways || p.flight != nil && len(p.flight.ops) > 0 && p.flight.wantsSync() {
		if err := c.sync(); err != nil {
			p.r.Failed(err)
			return
		}
	}
	p.r.Persisted()
}

func (f *flight) wantsSync() bool {
	for _, op := range f.ops {
		if op.sync {
			return true
		}
	}
	return false
}

// idleReplica tells the replicator once that nothing follows; it reports whether that is new.
func (c *committer) idleReplica() bool {
	p := &c.replica
	if !p.unsettled {
		return false
	}
	p.unsettled = false
	p.r.Idle()
	return true
}

// giveUp answers all that are left when the volume is closed.
func (c *committer) giveUp() {
	p := &c.replica
	if p.flight != nil {
		for _, op := range p.flight.ops {
			op.answer(ErrOutcomeUnknown)
		}
		p.flight = nil
	}
	for _, op := range c.queue {
		err := fmt.Errorf("volume %d: %w", c.v.id, ErrClosed)
		if op.sent {
			err = ErrOutcomeUnknown
		}
		op.answer(err)
	}
	c.drop(len(c.queue))
}
