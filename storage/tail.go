package storage

import "errors"

// tail is what recovery found behind the last indexed needle.
type tail struct {
	end    int64         // where the log ends: the rest is to be cut off
	lastNs uint64        // timestamp of the last good record, 0 if there was none
	cut    int64         // bytes behind end
	damage *CorruptError // the first damage that may not be cut
}

// scanTail walks the log from offset from, hands every good record to apply, and decides what a record that
// is not good means. A bad one that is not cut and of known length goes to apply, too: to say that a needle
// is damaged is better than to say that it does not exist, or to serve the one that it replaced.
//
// The log was written in commits, each begun only after the one before was durable. So a power cut or a
// kill can only have torn the last commit, of which nobody was told. What looks like that is cut off:
//   - a record that the end of the file cuts short, or a bad one that ends there, with nothing good behind;
//   - a stretch with sectors that were never written (zeros), with nothing good behind but records of the
//     same commit. The low bits of a timestamp number the needles of a commit (see committer): a first good record
//     that is not its commit's first tells that the commit began in the stretch.
//
// The log of a copy whose content is elsewhere, too, may have several commits that were never durable: it takes what
// it lacks as fast as it comes. There any stretch that was never written is cut, with what is behind it, and if
// nothing of the log was synced, any bad record: the other copies have it.
//
// Anything else, and anything below durable, the length that a clean shutdown vouches for, is damage. It
// is reported, the good records behind it are still found, and nothing is cut, there or further on.
func (s *logScanner) scanTail(from, durable int64, apply func(r logRecord, good bool)) (tail, error) {
	t := tail{end: s.end}
	s.batchedFrom = durable
	for at := from; at < s.end; {
		r, v, err := s.check(at)
		if err != nil {
			return t, err
		}
		if v == recordGood {
			apply(r, true)
			at, t.lastNs = at+r.length, r.appendAtNs
			continue
		}
		r.offset = at
		known, err := s.lengthKnown(r)
		if err != nil {
			return t, err
		}
		next, found, err := s.resume(r, known)
		if err == nil && t.damage == nil && at >= durable {
			torn := s.elsewhere && s.unsynced
			if !torn {
				torn, err = s.torn(r, v, next, found)
			}
			if torn && err == nil {
				t.end, t.cut = at, s.end-at
				return t, nil
			}
		}
		switch {
		case errors.Is(err, errTooMuch):
			t.damage, found = &CorruptError{s.f.Name(), at, err.Error()}, false
		case err != nil:
			return t, err
		case t.damage == nil:
			t.damage = &CorruptError{s.f.Name(), at, "no valid needle here"}
		}
		if known && r.offset+r.length <= s.end {
			apply(r, false)
		}
		if !found {
			return t, nil
		}
		at = next.offset
	}
	return t, nil
}

// torn decides whether the bytes from r on to next (or to the end of the file, if no good record was found)
// are what is left of a commit that was never acknowledged.
func (s *logScanner) torn(r logRecord, v verdict, next logRecord, found bool) (bool, error) {
	if !found && (v == recordIncomplete || r.offset+r.length == s.end) {
		return true, nil
	}
	if s.elsewhere && r.appendAtNs != 0 && s.halfStamped(r) {
		return true, nil // or it is another program's, copied from a server that has it
	}
	stop := s.end
	if found {
		stop = next.offset
	}
	holes, err := s.unwritten(r, stop)
	if err != nil || !holes || !found || s.elsewhere {
		return holes, err
	}
	if !s.batched || s.version != Version3 || beginsBatch(next.appendAtNs) {
		return false, nil
	}
	return s.oneBatchUntilEnd(next)
}

// unwritten tells whether a part of the bytes from r to offset to was never written: r's header, its trailer
// (a commit is several writes, and not all disks persist them by sector), or a sector.
func (s *logScanner) unwritten(r logRecord, to int64) (bool, error) {
	if r.header == (header{}) {
		return true, nil
	}
	if trailer := r.offset + needleHeaderSize + int64(r.size); s.version == Version3 && r.offset+r.length <= to {
		b, err := s.bytes(trailer, checksumSize+timestampSize)
		if err != nil || allZeros(b) {
			return err == nil, err
		}
	}
	return s.hasUnwrittenSector(r.offset, to)
}

func allZeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// hasUnwrittenSector looks for a sector in [from, to) of which nothing was written: all zeros, from its
// beginning (or from the beginning of the range) to its end (or to the end of the file).
func (s *logScanner) hasUnwrittenSector(from, to int64) (bool, error) {
	for at := from; at < to; {
		stop := at - at%sectorSize + sectorSize
		if stop > to && to != s.end {
			break
		}
		b, err := s.bytes(at, int(stop-at))
		if err != nil {
			return false, err
		}
		if len(b) >= needleAlignment && allZeros(b) {
			return true, nil
		}
		at = stop
	}
	return false, nil
}

// oneBatchUntilEnd tells whether all good records from first to the end of the file were committed together.
func (s *logScanner) oneBatchUntilEnd(first logRecord) (bool, error) {
	for r := first; ; {
		if r.appendAtNs&^batchMask != first.appendAtNs&^batchMask {
			return false, nil
		}
		at := r.offset + r.length
		next, v, err := s.check(at)
		if err == nil && v != recordGood {
			var found bool
			if next, found, err = s.resync(at); err == nil && !found {
				return true, nil
			}
		}
		if err != nil {
			return false, err
		}
		r = next
	}
}
