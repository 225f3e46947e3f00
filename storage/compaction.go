package storage

import (
	"errors"
	"os"
	"path"

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
	v       *Volume
	from    *content // of the log that is copied
	options CompactOptions
	done    Compacted

	dat  vfs.File // `.cpd`
	at   int64    // its length with buf
	buf  []byte   // not written yet
	idx  *idxWriter
	next *index.Map // of the copy

	read         int64 // offset in the old log up to which the copy has what counts
	deletedCount uint64
	deletedBytes uint64
	decided      bool // `.meta` says that the copy is the log
}

func (x *compaction) run() (err error) {
	defer func() { err = errors.Join(err, x.cleanUp()) }()
	if err := x.create(); err != nil {
		return err
	}
	if err := x.copyLive(x.v.stats.length.Load()); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if err := x.sync(); err != nil {
			return err
		}
		end := x.v.stats.length.Load()
		if end-x.read <= restBytes {
			break
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
	// The names come before the decision that counts on them.
	if err := x.v.fs.SyncDir(path.Dir(x.v.base)); err != nil {
		return err
	}
	result := make(chan error, 1)
	if !x.v.committer.post(func() { result <- x.cutOver() }) {
		return ErrClosed
	}
	if err := <-result; err != nil {
		return err
	}
	x.forgetDecision()
	return nil
}

// create makes the files of the copy, with the superblock of the log but for the revision.
func (x *compaction) create() error {
	v := x.v
	dat, err := v.fs.OpenFile(v.base+".cpd", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	x.dat = dat
	idx, err := v.fs.OpenFile(v.base+".cpx", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	x.idx = &idxWriter{f: idx, dirty: true}
	head := make([]byte, v.superblock.Length())
	if err := readFull(x.from.dat, head, 0); err != nil {
		return err
	}
	super := v.superblock
	super.Revision = v.Revision() + 1
	x.done.Revision = super.Revision
	return x.write(append(super.AppendBinary(nil), head[SuperblockSize:]...))
}

// write appends to the copy.
func (x *compaction) write(b []byte) error {
	x.buf = append(x.buf, b...)
	x.at += int64(len(b))
	if len(x.buf) < copyBytes {
		return nil
	}
	return x.flush()
}

func (x *compaction) flush() error {
	if len(x.buf) == 0 {
		return nil
	}
	_, err := x.dat.WriteAt(x.buf, x.at-int64(len(x.buf)))
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

// copyLive copies the needles below an offset of which the index says that they are live. One that is deleted or
// replaced meanwhile may be left out: what has done that follows.
func (x *compaction) copyLive(end int64) error {
	version := x.v.superblock.Version
	loader := index.NewLoader()
	scanner := newLogScanner(x.from.dat, version, end)
	for key, live := range x.from.index.ByOffset(0, uint64(end/needleAlignment)) {
		at := int64(live.Offset) * needleAlignment
		r, verdict, err := scanner.check(at)
		if err != nil {
			return err
		}
		if verdict != recordGood || r.key != key || r.size != Size(live.Size) {
			return &CorruptError{x.from.dat.Name(), at, "the needle is not what the index says"}
		}
		expired, err := x.expired(scanner, r)
		if err != nil {
			return err
		}
		if expired {
			continue
		}
		e := idxEntry{key: key, offset: uint32(x.at / needleAlignment), size: int32(r.size)}
		if err := x.copyRecord(scanner, r); err != nil {
			return err
		}
		x.idx.add(e)
		e.loadInto(loader)
	}
	x.next, _ = loader.Map()
	x.read = end
	return nil
}

// expired reports whether a record is to be left out for its age.
func (x *compaction) expired(scanner *logScanner, r logRecord) (bool, error) {
	if x.options.AsOf.IsZero() || r.size == 0 {
		return false, nil
	}
	l, err := readLayout(&windowFile{scanner: scanner}, scanner.version, r.offset, r.header)
	return err == nil && x.v.expiredAt(&l.Needle, x.options.AsOf), err
}

// copyRecord appends a record to the copy.
func (x *compaction) copyRecord(scanner *logScanner, r logRecord) error {
	for offset, end := r.offset, r.offset+r.length; offset < end; {
		b, err := scanner.bytes(offset, int(min(end-offset, int64(len(scanner.buf)))))
		if err == nil && x.options.Pace != nil {
			err = x.options.Pace(len(b))
		}
		if err == nil {
			err = x.write(b)
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
	for x.read < end {
		r, verdict, err := scanner.check(x.read)
		if err != nil {
			return err
		}
		if verdict != recordGood {
			return &CorruptError{x.from.dat.Name(), x.read, "what was written just now is no needle"}
		}
		e := idxEntry{key: r.key, offset: uint32(x.at / needleAlignment), size: int32(r.size)}
		if r.size == 0 {
			e.size = tombstoneSize
		}
		if err := x.copyRecord(scanner, r); err != nil {
			return err
		}
		x.idx.add(e)
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
		old, replaced = x.next.Delete(e.key)
	} else {
		old, replaced = x.next.Put(e.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
	if replaced {
		x.deletedCount++
		x.deletedBytes += uint64(old.Size)
	}
}

// cleanUp removes a copy of which nothing came.
func (x *compaction) cleanUp() error {
	if x.decided && x.v.content.Load().dat == x.dat {
		return nil
	}
	var err error
	if x.dat != nil {
		err = x.dat.Close()
	}
	if x.idx != nil {
		err = errors.Join(err, x.idx.f.Close())
	}
	if x.decided {
		return err
	}
	return errors.Join(err, x.v.removeIfThere(".cpd"), x.v.removeIfThere(".cpx"))
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
