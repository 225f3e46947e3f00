package storage

import (
	"errors"
	"fmt"
	"io"
	"math"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// scanWindowSize is how much of a log is read at once while scanning.
const scanWindowSize = 1 << 20

// sectorSize is the unit in which a disk persists: after a power cut a sector is there or it is not.
const sectorSize = 512

// batchMask selects the bits of a needle's timestamp that number it within its commit.
const batchMask = 1<<12 - 1

// batchNumber is what the i-th needle of a commit, i < 2048, has in the bits of batchMask: odd, so that the last byte of a
// timestamp is never zero. Where it lies in a sector that was never written, that shows.
func batchNumber(i int) uint64 { return uint64(2*i + 1) }

// beginsBatch tells whether a needle may be the first of its commit.
func beginsBatch(appendAtNs uint64) bool { return appendAtNs&batchMask <= batchNumber(0) }

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
	work    int64 // bytes read, and bytes of bad data whose checksum was computed

	// batched says that the timestamps number the needles of a commit as ours do, from offset batchedFrom on.
	batched     bool
	batchedFrom int64
	// elsewhere says that other servers hold all that was acknowledged; unsynced, that what lies behind the clean
	// mark was written without syncs.
	elsewhere, unsynced bool
	// cookieOf returns the cookie of the needle that is live under key so far.
	cookieOf func(key blob.Key) (cookie blob.Cookie, live bool, err error)
}

func newLogScanner(f vfs.File, version Version, end int64) *logScanner {
	return &logScanner{f: f, version: version, end: end, buf: make([]byte, min(scanWindowSize, max(end, 1)))}
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
		s.work += int64(got)
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
	if r.size > math.MaxInt32 {
		return r, recordBad, nil
	}
	n, dataSize := Needle{}, int64(0)
	if r.length <= int64(len(s.buf)) {
		var b []byte
		if b, err = s.bytes(at, int(r.length)); err != nil {
			return r, recordBad, err
		}
		if err := decodeNeedle(&n, s.version, b); err != nil {
			if errors.Is(err, errChecksum) {
				s.work += r.length
			}
			return r, recordBad, nil
		}
		dataSize = int64(len(n.Data))
	} else {
		ok := false
		if dataSize, ok, err = s.checkLarge(&n, r); !ok || err != nil {
			return r, recordBad, err
		}
	}
	r.appendAtNs = n.AppendAtNs
	if s.version == Version3 && (r.appendAtNs == 0 || s.halfStamped(r)) {
		return r, recordBad, nil // its last sector never reached the disk
	}
	if lost, err := s.lostUnseen(r, dataSize); lost || err != nil {
		return r, recordBad, err
	}
	return r, recordGood, nil
}

// halfStamped tells whether a sector begins within a record's timestamp, and nothing of the timestamp is in it.
func (s *logScanner) halfStamped(r logRecord) bool {
	if !s.batched || r.offset < s.batchedFrom {
		return false
	}
	end := r.offset + needleHeaderSize + int64(r.size) + checksumSize + timestampSize
	behind := end % sectorSize // bytes of it in the sector in which it ends
	return behind > 0 && behind < timestampSize && r.appendAtNs<<(64-8*behind) == 0
}

// lostUnseen looks for sectors that were never written in the parts of a record that no checksum covers.
func (s *logScanner) lostUnseen(r logRecord, dataSize int64) (bool, error) {
	// The header's first half alone lies in the sector before: lost, it leaves the key whole (below 2^32)
	// and the cookie zero. Nobody could have changed a live needle with another cookie.
	if r.offset%sectorSize == sectorSize-needleAlignment && r.cookie == 0 && r.key>>32 == 0 && s.cookieOf != nil {
		if cookie, live, err := s.cookieOf(r.key); err != nil || live && cookie != 0 {
			return true, ignoreCorrupt(err)
		}
	}
	// Attributes hold no sector full of zeros: names and types are too short for that, pairs are JSON.
	from, to := r.offset+needleHeaderSize+4+dataSize, r.offset+needleHeaderSize+int64(r.size)
	if s.version == Version1 || to-from <= sectorSize {
		return false, nil
	}
	return s.hasUnwrittenSector(from, to)
}

// checkLarge verifies a record that is longer than the window, piece by piece.
func (s *logScanner) checkLarge(n *Needle, r logRecord) (dataSize int64, ok bool, err error) {
	layout, err := readLayout(s.f, s.version, r.offset, r.header)
	if err != nil {
		return 0, false, ignoreCorrupt(err)
	}
	crc, err := checksumRange(s.f, layout.dataOffset, layout.dataSize, s.buf)
	s.n = 0 // the window was used as scratch
	*n = layout.Needle
	if ok = err == nil && checksumMatches(n.Checksum, crc); !ok {
		s.work += layout.dataSize
	}
	return layout.dataSize, ok, err
}

// resume finds the first good record behind a bad one. Where the bad one's length is known, that is what
// comes next, or what resync finds from there on: what lies within is somebody's blob, which may hold what
// looks like needles, be it a copy of a volume, and is none of this log's.
func (s *logScanner) resume(r logRecord, lengthKnown bool) (logRecord, bool, error) {
	if !lengthKnown {
		return s.resync(r.offset + needleAlignment)
	}
	at := r.offset + r.length
	next, v, err := s.check(at)
	if err != nil || v == recordGood {
		return next, v == recordGood, err
	}
	return s.resync(at)
}

// lengthKnown tells whether the length of a record that is bad, or cut short by the end of the file, is
// beyond doubt: in versions 2 and 3 the body's size, the data's size and the attributes must agree.
func (s *logScanner) lengthKnown(r logRecord) (bool, error) {
	if s.version == Version1 || r.size == 0 || r.size > math.MaxInt32 {
		return false, nil
	}
	b, err := s.bytes(r.offset+needleHeaderSize, 4)
	if err != nil {
		return false, err
	}
	dataSize, err := splitBody(b, int64(r.size))
	if err != nil {
		return false, nil //nolint:nilerr // that is an answer
	}
	attributes := int64(r.size) - 4 - dataSize
	at := r.offset + needleHeaderSize + 4 + dataSize
	if attributes > maxAttributesLength {
		return false, nil
	}
	if b, err = s.bytes(at, int(attributes)); err != nil {
		return false, err
	}
	length, whole := attributesLength(b)
	return length == attributes && whole || length <= attributes && !whole && int64(len(b)) < attributes, nil
}

// errTooMuch ends a scan that would read the log many times over.
var errTooMuch = errors.New("the damage is too large to look through")

// workLimit bounds the work of a scan. Content that was made for it could be a candidate at every 8 bytes,
// each as long as the rest of the log.
func (s *logScanner) workLimit() int64 { return 64<<20 + 4*s.end }

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
		if s.work > s.workLimit() {
			return logRecord{}, false, errTooMuch
		}
	}
	return logRecord{}, false, nil
}
