package storage

import (
	"fmt"
	"io"

	"weed/internal/vfs"
)

// scanWindowSize is how much of a log is read at once while scanning.
const scanWindowSize = 1 << 20

// sectorSize is the unit in which a disk persists: after a power cut a sector is there or it is not.
const sectorSize = 512

// batchMask selects the bits of a needle's timestamp that count within one commit.
const batchMask = 1<<12 - 1

// logRecord is one record met by a scan.
type logRecord struct {
	header
	offset     int64
	length     int64 // with padding
	appendAtNs uint64
}

// verdict is what a scan thinks of the bytes at an offset.
type verdict int

const (
	recordGood       verdict = iota
	recordIncomplete         // it would end behind the end of the file
	recordBad                // it is all there, but its checksum or its fields are wrong
)

// logScanner reads records from a log in order, through one window of memory.
type logScanner struct {
	f       vfs.File
	version Version
	end     int64 // of the file
	buf     []byte
	start   int64 // file offset of buf[0]
	n       int   // valid bytes in buf
}

func newLogScanner(f vfs.File, version Version, end int64) *logScanner {
	return &logScanner{f: f, version: version, end: end, buf: make([]byte, scanWindowSize)}
}

// bytes returns up to n <= scanWindowSize bytes at offset at; fewer only where the file ends. They are
// valid until the next call.
func (s *logScanner) bytes(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-at))
	if n <= 0 {
		return nil, nil
	}
	if at < s.start || at+int64(n) > s.start+int64(s.n) {
		got, err := s.f.ReadAt(s.buf[:min(int64(len(s.buf)), s.end-at)], at)
		s.start, s.n = at, got
		if got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read %s at byte %d: %w", s.f.Name(), at, err)
		}
	}
	i := int(at - s.start)
	return s.buf[i : i+n], nil
}

// check judges the record at offset at.
func (s *logScanner) check(at int64) (logRecord, verdict, error) {
	head, err := s.bytes(at, needleHeaderSize)
	if err != nil {
		return logRecord{}, recordBad, err
	}
	if len(head) < needleHeaderSize {
		return logRecord{}, recordIncomplete, nil
	}
	r := logRecord{header: parseHeader(head), offset: at}
	r.length = recordLength(s.version, r.size)
	if r.header == (header{}) {
		return r, recordBad, nil
	}
	if r.length > s.end-at {
		return r, recordIncomplete, nil
	}
	n := Needle{}
	if r.length <= scanWindowSize {
		var b []byte
		if b, err = s.bytes(at, int(r.length)); err != nil {
			return r, recordBad, err
		}
		if decodeNeedle(&n, s.version, b) != nil {
			return r, recordBad, nil
		}
	} else if ok, err := s.checkLarge(&n, r); !ok || err != nil {
		return r, recordBad, err
	}
	r.appendAtNs = n.AppendAtNs
	if s.version == Version3 && r.appendAtNs == 0 {
		return r, recordBad, nil // its last sector never reached the disk
	}
	return r, recordGood, nil
}

// checkLarge verifies a record that is longer than the window, piece by piece.
func (s *logScanner) checkLarge(n *Needle, r logRecord) (bool, error) {
	layout, err := readLayout(s.f, s.version, r.offset, r.header)
	if err != nil {
		return false, ignoreCorrupt(err)
	}
	crc, err := checksumRange(s.f, layout.dataOffset, layout.dataSize, s.buf)
	s.n = 0 // the window was used as scratch
	*n = layout.Needle
	return err == nil && checksumMatches(n.Checksum, crc), err
}

// resync finds the first record at or behind offset at whose checksum vouches for it. A record without
// data has no checksum worth the name and is passed over.
func (s *logScanner) resync(at int64) (logRecord, bool, error) {
	for ; at+needleHeaderSize <= s.end; at += needleAlignment {
		b, err := s.bytes(at, needleHeaderSize+4)
		if err != nil {
			return logRecord{}, false, err
		}
		h := parseHeader(b)
		if h.size == 0 || recordLength(s.version, h.size) > s.end-at {
			continue
		}
		if s.version != Version1 {
			if dataSize, err := splitBody(b[needleHeaderSize:], int64(h.size)); err != nil || dataSize == 0 {
				continue
			}
		}
		r, v, err := s.check(at)
		if err != nil {
			return logRecord{}, false, err
		}
		if v == recordGood {
			return r, true, nil
		}
	}
	return logRecord{}, false, nil
}

// tail is what recovery found behind the last indexed needle.
type tail struct {
	end    int64         // where the log ends: the rest is to be cut off
	lastNs uint64        // timestamp of the last good record, 0 if there was none
	cut    int64         // bytes behind end
	damage *CorruptError // the first damage that may not be cut
}

// scanTail walks the log from offset from, hands every good record to apply, and decides what a record that
// is not good means.
//
// The log was written in commits, each begun only after the one before was durable. So a power cut or a
// kill can only have torn the last commit, of which nobody was told. What looks like that is cut off:
//   - a record that the end of the file cuts short, or a bad one that ends there, with nothing good behind;
//   - a stretch with sectors that were never written (zeros), with nothing good behind but records of the
//     same commit. The low bits of a timestamp count within a commit (see committer): a first good record
//     with a count above zero tells that its commit began in the stretch.
//
// Anything else, and anything below durable, the length that a clean shutdown vouches for, is damage. It
// is reported, the good records behind it are still found, and nothing is cut.
func (s *logScanner) scanTail(from, durable int64, apply func(logRecord)) (tail, error) {
	t := tail{end: s.end}
	for at := from; at < s.end; {
		r, v, err := s.check(at)
		if err != nil {
			return t, err
		}
		if v == recordGood {
			apply(r)
			at, t.lastNs = at+r.length, r.appendAtNs
			continue
		}
		next, found, err := s.resync(at + needleAlignment)
		if err != nil {
			return t, err
		}
		if at >= durable {
			torn, err := s.torn(r, v, at, next, found)
			if err != nil {
				return t, err
			}
			if torn {
				t.end, t.cut = at, s.end-at
				return t, nil
			}
		}
		if t.damage == nil {
			t.damage = &CorruptError{s.f.Name(), at, "no valid needle here"}
		}
		if !found {
			return t, nil
		}
		at = next.offset
	}
	return t, nil
}

// torn decides whether the bytes from at to next (or to the end of the file, if no good record was found)
// are what is left of a commit that was never acknowledged.
func (s *logScanner) torn(r logRecord, v verdict, at int64, next logRecord, found bool) (bool, error) {
	if !found && (v == recordIncomplete || at+r.length == s.end) {
		return true, nil
	}
	stop := s.end
	if found {
		stop = next.offset
	}
	holes, err := s.hasUnwrittenSector(at, stop)
	if err != nil || !holes || !found {
		return holes, err
	}
	if s.version != Version3 || next.appendAtNs&batchMask == 0 {
		return false, nil
	}
	return s.oneBatchUntilEnd(next)
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
		zeros := true
		for _, c := range b {
			zeros = zeros && c == 0
		}
		if zeros && len(b) >= needleAlignment {
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
