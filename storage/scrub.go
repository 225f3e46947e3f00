package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// Damage is a part of a log in which bytes are not what was written: a record, or where the end of that can't be
// told, all up to the next needle that is live.
type Damage struct {
	Offset, Length int64 // in bytes
	Reason         string
	// InVain says that it has been mended just now, and the disk did not take it.
	InVain bool
}

// Pace holds a reader of a log back: it is called before n bytes are read, and ends the reading by an error.
type Pace func(n int) error

// Scrub re-reads the log below end, which is committed, and checks that each record in it is what was written as
// far as can be told: its checksum, and for a live needle that key and size are those of the index. It reads
// the disk rather than the page cache, and leaves nothing in that. Appends and reads go on meanwhile.
//
// found is called for each damage in order. It returns true if it has mended the record that begins there (see
// Mend), which is looked at again.
// rests, which may be nil, is called for each run of records of which the sum of what is no data is not known, or is
// not that of the bytes that are there (see RestBlock).
// reached is told how far the scrub has come. What it meets that has expired counts as deleted in Status from then on.
// Errors are those of pace, ErrCompacted when the log is replaced meanwhile, or ErrClosed; a read that fails is damage.
func (v *Volume) Scrub(end int64, pace Pace, found func(Damage) (mended bool), rests func(RestBlock), reached func(offset int64)) error {
	s := newScrub(v, end, pace)
	defer func() { s.stop() }()
	s.run.off = s.run.off || rests == nil
	for at := v.superblock.Length(); at < end; {
		next, damage, err := s.look(at)
		if err == nil && damage != nil && v.dat() != s.file.File {
			return fmt.Errorf("volume %d: %w", v.id, ErrCompacted)
		}
		if err == nil && damage != nil && found(*damage) {
			s.scanner.n = 0 // the window is from before
			s.follow(at)
			if next, damage, err = s.look(at); damage != nil {
				damage.InVain = true
				found(*damage)
			}
		}
		if err != nil {
			return v.closedError(err)
		}
		if b, over := s.run.pass(s, at, next, damage == nil); over && (b.Sum != b.Here || b.Doubted) {
			if v.dat() != s.file.File {
				return fmt.Errorf("volume %d: %w", v.id, ErrCompacted)
			}
			rests(b)
			s.scanner.n = 0
			s.follow(next)
		}
		at = next
		reached(at)
	}
	if v.dat() != s.file.File {
		return fmt.Errorf("volume %d: %w", v.id, ErrCompacted)
	}
	v.stats.expiredBytes.Store(s.expired)
	return nil
}

// restRun is the run of records that a scrub is in.
type restRun struct {
	RestBlock
	off    bool // it is not known any more where runs begin
	broken bool // a record in it is damaged
}

// pass takes in the record between two offsets. over says that the run ends with it, and is to be judged.
func (run *restRun) pass(s *scrub, at, next int64, good bool) (b RestBlock, over bool) {
	switch {
	case run.off:
		return b, false
	case !good && !s.lengthKnown:
		run.off = true
		return b, false
	}
	if run.Records == 0 {
		run.Offset, run.Here, run.broken = at, firstRest, false
	}
	run.Records++
	run.broken = run.broken || !good
	if good {
		run.Here = foldRest(run.Here, s.scanner.rest(at, next-at))
	}
	if run.Records < sumRecords && next < s.end {
		return b, false
	}
	run.Length = next - run.Offset
	b, over = run.RestBlock, !run.broken && run.Here != 0
	s.v.lookUpRest(&b)
	run.Number, run.Records = run.Number+1, 0
	return b, over
}

// scrub is one pass over a log.
type scrub struct {
	v       *Volume
	end     int64
	file    *coldFile
	index   *index.Map
	scanner *logScanner
	now     time.Time
	expired uint64 // bytes of live needles whose time is over
	run     restRun
	// lengthKnown says of a damage that it is of one record.
	lengthKnown bool

	// The live needles in the order of the log, and the first one that was not passed yet.
	next      func() (blob.Key, index.Location, bool)
	stop      func()
	key       blob.Key
	live      index.Location
	more      bool
	reindexed uint64 // that of the volume when this began
}

func newScrub(v *Volume, end int64, pace Pace) *scrub {
	c := v.content.Load()
	s := &scrub{v: v, end: end, now: v.cfg.Now(), index: c.index, file: &coldFile{File: c.dat, pace: pace}}
	s.scanner = newLogScanner(s.file, v.superblock.Version, end)
	s.run.off = v.foreign || v.sums.Load() == nil
	s.pull(0)
	return s
}

// pull begins to pass over the needles that are live from an offset on.
func (s *scrub) pull(from int64) {
	s.reindexed = s.v.reindexed.Load()
	s.next, s.stop = iter.Pull2(s.index.ByOffset(uint64(from/needleAlignment), uint64(s.end/needleAlignment)))
	s.key, s.live, s.more = s.next()
}

// follow goes on from an offset with the index as it is now, if that was corrected.
func (s *scrub) follow(from int64) {
	if s.v.reindexed.Load() != s.reindexed {
		s.stop()
		s.pull(from)
	}
}

// liveAt passes over the needles that are live below an offset, and returns where the next one begins, or the end.
func (s *scrub) liveAt(offset int64) int64 {
	for s.more {
		if at := int64(s.live.Offset) * needleAlignment; at >= offset {
			return at
		}
		s.key, s.live, s.more = s.next()
	}
	return s.end
}

// look judges the record at an offset, and returns where to go on.
func (s *scrub) look(at int64) (next int64, damage *Damage, err error) {
	r, verdict, err := s.scanner.check(at)
	if s.file.stopped != nil {
		return at, nil, s.file.stopped
	}
	if errors.Is(err, fs.ErrClosed) {
		return at, nil, err
	}
	live := s.liveAt(at)
	s.lengthKnown = false
	switch {
	case err != nil:
		return s.damagedUntilLive(at, err.Error())
	case verdict == recordIncomplete:
		return s.damagedUntilLive(at, errShortRecord.Error())
	case verdict == recordBad:
		r.offset = at
		known, err := s.scanner.lengthKnown(r)
		switch {
		case s.file.stopped != nil:
			return at, nil, s.file.stopped
		case err != nil || !known || r.length > s.end-at:
			return s.damagedUntilLive(at, "no valid needle here")
		}
		s.lengthKnown = true
		return at + r.length, &Damage{Offset: at, Length: r.length, Reason: "no valid needle here"}, nil
	case live == at && s.more && (r.key != s.key || r.size != Size(s.live.Size)):
		return s.damagedUntilLive(at, errOther.Error())
	}
	if inside := s.liveAt(at + needleAlignment); inside < at+r.length {
		return inside, &Damage{Offset: at, Length: inside - at, Reason: "the needle would reach into the next one"}, nil
	}
	if live == at {
		if over, err := s.v.recordExpired(s.scanner, r, s.now); err == nil && over {
			s.expired += uint64(r.size)
		}
	}
	return at + r.length, nil, nil
}

// damagedUntilLive is the verdict on a record of which not even the length can be believed.
func (s *scrub) damagedUntilLive(at int64, reason string) (int64, *Damage, error) {
	next := s.liveAt(at + needleAlignment)
	return next, &Damage{Offset: at, Length: next - at, Reason: reason}, nil
}

// coldFile reads what is on the disk. A page that is in the cache would hide that the disk has lost it, so it is
// dropped first; and again behind, so that a scrub does not push out what readers use.
type coldFile struct {
	vfs.File
	pace    Pace  // may be nil
	stopped error // what pace has returned
}

func (f *coldFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.pace != nil {
		if err := f.pace(len(p)); err != nil {
			f.stopped = err
			return 0, err
		}
	}
	if cached, ok := f.File.(vfs.Uncacher); ok {
		// It is advice: where it is not taken, the bytes are still checked.
		_ = cached.Uncache(offset, int64(len(p)))
		defer func() { _ = cached.Uncache(offset, int64(len(p))) }()
	}
	return f.File.ReadAt(p, offset)
}

// ChecksumLog goes on with the CRC32-C of the log, which is crc below offset or where the caller began, over the
// next length bytes, which are committed. It reads as Scrub does, and returns also how many of the bytes it got
// to before pace ended it, which is no error. ErrCompacted: the log was replaced meanwhile.
func (v *Volume) ChecksumLog(offset, length int64, crc uint32, pace Pace) (sum uint32, n int64, err error) {
	file := &coldFile{File: v.dat(), pace: pace}
	scratch := checksumScratch.Get().(*[]byte)
	defer checksumScratch.Put(scratch)
	for sum = crc; n < length; {
		b := (*scratch)[:min(int64(len(*scratch)), length-n)]
		if err := readFull(file, b, offset+n); err != nil {
			if file.stopped == nil {
				return sum, n, v.closedError(err)
			}
			break
		}
		sum = updateChecksum(sum, b)
		n += int64(len(b))
	}
	if v.dat() != file.File {
		return sum, n, fmt.Errorf("volume %d: %w", v.id, ErrCompacted)
	}
	return sum, n, nil
}

// OffsetOf returns where in the log the live needle under key begins, in bytes.
func (v *Volume) OffsetOf(key blob.Key) (int64, bool) {
	loc, ok := v.index().Get(key)
	return int64(loc.Offset) * needleAlignment, ok
}
