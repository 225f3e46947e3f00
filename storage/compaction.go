package storage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"weed/internal/vfs"
	"weed/storage/index"
)

const (
	// restBytes is how much of the log is left for the cut-over, for which writes wait.
	restBytes = 1 << 20
	// pacedRounds is how often the copying catches up with the log at its pace, maxRounds how often in all.
	pacedRounds, maxRounds = 4, 32
	// copyBytes is how much is copied at once.
	copyBytes = 1 << 20
)

// compaction is one call of Volume.Compact.
type compaction struct {
	successor
	from    *content // of the log that is copied
	options CompactOptions
	done    Compacted
	entries *io.SectionReader // the index file as far as it tells of from below limit, and further

	limit int64  // file offset in from below which only what is live is copied
	buf   []byte // of dat, not written yet
	read  int64  // file offset in from up to which the copy has what counts
	rests restsCopied
}

// run compacts; already says that the log is of the Origin to be followed.
func (x *compaction) run() (already bool, err error) {
	if err := x.onCommitter(func() (err error) { already, err = x.begin(); return err }); err != nil || already {
		return already, err
	}
	defer func() {
		x.v.successorMu.Lock()
		defer x.v.successorMu.Unlock()
		err = errors.Join(err, x.cleanUp())
	}()
	if err := x.create(); err != nil {
		return false, err
	}
	if err := x.copyAll(); err != nil {
		return false, errors.Join(x.unmoved(), err)
	}
	// The names come before the decision that counts on them.
	if err := x.v.fs.SyncDir(path.Dir(x.v.base)); err != nil {
		return false, err
	}
	if err := x.onCommitter(x.cutOver); err != nil {
		return false, err
	}
	x.forgetDecision()
	return false, nil
}

func (x *compaction) onCommitter(do func() error) error {
	result := make(chan error, 1)
	if !x.v.committer.post(func() { result <- do() }) {
		return ErrClosed
	}
	return <-result
}

// begin decides what is compacted, and has the index file tell all of it. The committer runs it.
func (x *compaction) begin() (already bool, err error) {
	v, c := x.v, x.v.committer
	x.from = v.content.Load()
	published, old := v.stats.length.Load(), x.from.origin
	x.done.Before, x.done.After, x.done.Live = published, published, x.from.index.Len()
	if x.origin, err = x.target(published + old.Skipped); err != nil || x.origin == old {
		return err == nil, err
	}
	x.limit = x.origin.Floor - old.Skipped
	if r := c.replica.r; r != nil {
		if err := r.Compactable(x.origin.Floor); err != nil {
			return false, err
		}
	}
	if _, err := c.mendIdx(); err != nil {
		return false, err
	}
	x.entries = io.NewSectionReader(c.idx.f, 0, c.idx.at)
	if !v.foreign {
		x.rests.sums = v.sums.Load()
	}
	return false, nil
}

// target returns the Origin that the copy is to have, of a log that is committed up to a log offset. Of a new one Sum
// and Skipped are not known yet.
func (x *compaction) target(committed int64) (Origin, error) {
	old, f := x.from.origin, x.options.Follow
	switch {
	case f != nil && *f == old:
		return old, nil
	case old.Floor > committed: // after Log.Reset
		return old, ErrNotThere
	case f == nil:
		o := Origin{Revision: old.Revision + 1, Floor: committed, AsOf: old.AsOf}
		if asOf := x.options.AsOf; !asOf.IsZero() {
			o.AsOf = max(old.AsOf, asOf.UnixNano())
		}
		return o, nil
	case f.Floor < old.Floor || f.Floor == old.Floor && f.Revision == old.Revision:
		return old, ErrCompactedFurther
	case f.Floor > committed:
		return old, ErrNotThere
	}
	return *f, f.check(x.v.superblock.Length())
}

func (x *compaction) create() error {
	v := x.v
	v.successorMu.Lock()
	defer v.successorMu.Unlock()
	if err := x.successor.create(); err != nil {
		return err
	}
	head, err := x.head(x.from.dat)
	if err != nil {
		return err
	}
	return x.write(head)
}

// copyAll copies what is live, and then what comes meanwhile, until little is left.
func (x *compaction) copyAll() error {
	live, err := x.liveAtLimit()
	if err != nil {
		return err
	}
	if err := x.copyLive(live); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if err := x.sync(); err != nil {
			return err
		}
		end := x.v.stats.length.Load()
		if end-x.read <= restBytes {
			return nil
		}
		if round == maxRounds {
			return errors.New("more is written than can be copied: it is tried again when there is less to do")
		}
		if round == pacedRounds {
			x.options.Pace = nil
		}
		if err := x.copyRest(end); err != nil {
			return err
		}
	}
}

// write appends to the copy.
func (x *compaction) write(b []byte) error {
	x.buf = append(x.buf, b...)
	x.end += int64(len(b))
	if len(x.buf) < copyBytes {
		return nil
	}
	return x.flush()
}

func (x *compaction) flush() error {
	if len(x.buf) == 0 {
		return nil
	}
	_, err := x.dat.WriteAt(x.buf, x.end-int64(len(x.buf)))
	x.buf = x.buf[:0]
	return err
}

// sync makes the copy durable as far as it is.
func (x *compaction) sync() error {
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.dat.Sync(); err != nil {
		return err
	}
	return x.idx.sync()
}

// liveAtLimit returns the index as it was when the log ended at the limit, so that what is copied depends on nothing
// that came later.
func (x *compaction) liveAtLimit() (*index.Map, error) {
	loader := index.NewLoader()
	end := int64(0) // of the record that ends last
	records, run := 0, make([]idxEntry, 0, sumRecords)
	err := readIdx(x.entries, func(e idxEntry) {
		at := int64(e.offset) * needleAlignment
		if at >= x.limit {
			return
		}
		e.loadInto(loader)
		end = max(end, at+recordLength(x.v.superblock.Version, e.bodySize()))
		if records, run = records+1, append(run, e); len(run) == sumRecords {
			run = run[:0]
		}
	})
	if x.rests.sums != nil && err == nil {
		x.rests.begin(newLogScanner(x.from.dat, x.v.superblock.Version, x.limit), records/sumRecords, run)
	}
	if err == nil && end > x.limit && x.options.Follow != nil {
		err = fmt.Errorf("%w: no record ends at byte %d of the log here", ErrCopiesDiffer, x.origin.Floor)
	}
	m, _ := loader.Map()
	return m, err
}

// copyLive copies the needles that are live at the limit.
func (x *compaction) copyLive(live *index.Map) error {
	loader := index.NewLoader()
	sum := uint32(0)
	err := x.eachLive(live, func(scanner *logScanner, r logRecord) error {
		e := idxEntry{key: r.key, offset: uint32(x.end / needleAlignment), size: int32(r.size), rest: scanner.rest(r.offset, r.length)}
		if err := x.copyRecord(scanner, r, &sum); err != nil {
			return err
		}
		if x.options.Follow == nil {
			x.idx.sums.doubt() // else the sum of all is compared with that of another copy
		}
		x.idx.add(e)
		e.loadInto(loader)
		return nil
	})
	if err != nil {
		return err
	}
	x.index, _ = loader.Map()
	x.read, x.rests.from = x.limit, x.idx.sums.records()
	x.origin.Sum, x.origin.Skipped = sum, x.origin.Floor-x.end
	return x.compare()
}

// eachLive hands those records of an index, in order, to do that have not expired.
func (x *compaction) eachLive(live *index.Map, do func(*logScanner, logRecord) error) error {
	scanner := newLogScanner(x.from.dat, x.v.superblock.Version, x.limit)
	for key, live := range live.ByOffset(0, uint64(x.limit/needleAlignment)) {
		at := int64(live.Offset) * needleAlignment
		r, verdict, err := scanner.check(at)
		if err != nil {
			return err
		}
		if verdict != recordGood || r.key != key || r.size != Size(live.Size) {
			return &CorruptError{x.from.dat.Name(), at, "the needle is not what the index says"}
		}
		expired, err := x.expired(scanner, r)
		if err == nil && !expired {
			err = do(scanner, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compare returns an error if the part of the copy that is compacted is not that of the one to be followed.
func (x *compaction) compare() error {
	o, f := x.origin, x.options.Follow
	switch {
	case f == nil || o == *f:
		return nil
	case f.AsOf < x.from.origin.AsOf: // so more may be missing here already than is left out there
		return ErrCompactedFurther
	}
	return fmt.Errorf("%w: %d bytes with the sum %08x, not %d with %08x", ErrCopiesDiffer, o.Floor-o.Skipped, o.Sum,
		f.Floor-f.Skipped, f.Sum)
}

// expired reports whether a record is to be left out for its age.
func (x *compaction) expired(scanner *logScanner, r logRecord) (bool, error) {
	if x.origin.AsOf == 0 {
		return false, nil
	}
	return x.v.recordExpired(scanner, r, time.Unix(0, x.origin.AsOf))
}

// recordExpired reports whether the time of a record in a scanner's window is over.
func (v *Volume) recordExpired(scanner *logScanner, r logRecord, now time.Time) (bool, error) {
	if r.size == 0 {
		return false, nil
	}
	l, err := readLayout(&windowFile{scanner: scanner}, scanner.version, r.offset, r.header)
	return err == nil && v.expiredAt(&l.Needle, now), err
}

// copyRecord appends a record to the copy, and to a sum.
func (x *compaction) copyRecord(scanner *logScanner, r logRecord, sum *uint32) error {
	return x.readRecord(scanner, r, func(b []byte) error {
		*sum = updateChecksum(*sum, b)
		return x.write(b)
	})
}

// readRecord hands the bytes of a record to do, at the pace that is asked for.
func (x *compaction) readRecord(scanner *logScanner, r logRecord, do func([]byte) error) error {
	for offset, end := r.offset, r.offset+r.length; offset < end; {
		b, err := scanner.bytes(offset, int(min(end-offset, int64(len(scanner.buf)))))
		if err == nil && x.options.Pace != nil {
			err = x.options.Pace(len(b))
		}
		if err == nil {
			err = do(b)
		}
		if err != nil {
			return err
		}
		offset += int64(len(b))
	}
	return nil
}

// copyRest copies all records from where the copying has come to up to an offset, tombstones too.
func (x *compaction) copyRest(end int64) error {
	scanner := newLogScanner(x.from.dat, x.v.superblock.Version, end)
	sum := uint32(0) // of what changes no more; nobody asks for it
	for x.read < end {
		r, verdict, err := scanner.check(x.read)
		if err != nil {
			return err
		}
		if verdict != recordGood {
			return &CorruptError{x.from.dat.Name(), x.read, "what was written just now is no needle"}
		}
		e := entryOf(r.header, x.end)
		e.rest = scanner.rest(r.offset, r.length)
		if err := x.copyRecord(scanner, r, &sum); err != nil {
			return err
		}
		x.passRest(e)
		x.apply(e)
		x.read += r.length
	}
	return nil
}

// apply is Volume.apply for the copy.
func (x *compaction) apply(e idxEntry) {
	var old index.Location
	var replaced bool
	if e.deleted() {
		old, replaced = x.index.Delete(e.key)
	} else {
		old, replaced = x.index.Put(e.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
	if replaced {
		x.deletedCount++
		x.deletedBytes += uint64(old.Size)
	}
}

// windowFile reads through the window of a scanner.
type windowFile struct {
	vfs.File // none
	scanner  *logScanner
}

func (f *windowFile) Name() string { return f.scanner.f.Name() }

// ReadAt is short only where the scanner's part of the log ends.

func (f *windowFile) ReadAt(p []byte, at int64) (int, error) {
	b, err := f.scanner.bytes(at, len(p))
	return copy(p, b), err
}
