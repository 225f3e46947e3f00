package storage

import (
	"fmt"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// The rest of a record is all of it but its data, which has a checksum of its own: header, data size, flags, fields,
// the checksum, the time and the padding. Of a tombstone it is all.

// restEnds returns where in a record the data begins and ends, of which b are the first needleHeaderSize + 4 bytes, or
// all. It is false if the sizes contradict each other.
func restEnds(version Version, b []byte) (from, to int64, ok bool) {
	size := int64(parseHeader(b).size)
	if size == 0 {
		return needleHeaderSize, needleHeaderSize, true
	}
	if version == Version1 {
		return needleHeaderSize, needleHeaderSize + size, true
	}
	dataSize, err := splitBody(b[needleHeaderSize:], size)
	return needleHeaderSize + 4, needleHeaderSize + 4 + dataSize, err == nil
}

// restSum returns the checksum of the rest of a record, all of which is b, 0 if that can't be told.
func restSum(version Version, b []byte) uint32 {
	from, to, ok := restEnds(version, b)
	if !ok || to > int64(len(b)) {
		return 0
	}
	return known(updateChecksum(Checksum(b[:from]), b[to:]))
}

// restSum returns the checksum of the rest of a record that is laid out and stamped.
func (r *record) restSum() uint32 {
	return known(updateChecksum(Checksum(r.prefix[:r.prefixN]), r.suffix))
}

// rest returns the checksum of the rest of a good record, 0 if it can't be read.
func (s *logScanner) rest(at, length int64) uint32 {
	if length <= int64(len(s.buf)) {
		b, err := s.bytes(at, int(length))
		if err != nil {
			return 0
		}
		return restSum(s.version, b)
	}
	rest, _, err := readRest(s.f, s.version, at, nil)
	if err != nil {
		return 0
	}
	return known(Checksum(rest))
}

// readRest appends the rest of the record at an offset to dst.
func readRest(f vfs.File, version Version, at int64, dst []byte) (rest []byte, length int64, err error) {
	var head [needleHeaderSize + 4]byte
	if err := readFull(f, head[:], at); err != nil {
		return dst, 0, err
	}
	from, to, ok := restEnds(version, head[:])
	if !ok {
		return dst, 0, &CorruptError{f.Name(), at, errBody.Error()}
	}
	length = recordLength(version, parseHeader(head[:]).size)
	if length-to > maxRestBytes {
		return dst, 0, &CorruptError{f.Name(), at, errBody.Error()}
	}
	begin := len(dst)
	dst = append(dst, head[:from]...)
	dst = append(dst, make([]byte, length-to)...)
	return dst, length, readFull(f, dst[begin+int(from):], at+to)
}

// maxRestBytes bounds what follows the data of a record.
const maxRestBytes = maxAttributesLength + checksumSize + timestampSize + needleAlignment

// RestBlock is a run of records in a log, with the checksum of what is no data in them.
type RestBlock struct {
	Number         int   // of the run, from the beginning of the log on
	Records        int   // in it
	Offset, Length int64 // of the run in the log's file, in bytes
	Sum            uint32
	Doubted        bool   // Sum was made of what was found after a crash
	Here           uint32 // what Sum would have to be for the bytes that are there

	of *sums // of the log that it is about
}

// RestSum returns what is known of the sum of a run: Sum, 0 for nothing, Doubted, and Here for the bytes that are there from
// the offset on.
func (v *Volume) RestSum(b *RestBlock) error {
	v.lookUpRest(b)
	b.Here = firstRest
	var rest []byte
	for at, i := b.Offset, 0; i < b.Records; i++ {
		var length int64
		var err error
		if rest, length, err = readRest(v.dat(), v.superblock.Version, at, rest[:0]); err != nil {
			return v.closedError(err)
		}
		b.Here = foldRest(b.Here, known(Checksum(rest)))
		at += length
	}
	return nil
}

// lookUpRest notes what is known of a run.
func (v *Volume) lookUpRest(b *RestBlock) {
	b.Sum, b.Doubted, b.of = 0, false, v.sums.Load()
	if b.of != nil {
		b.Sum, b.Doubted = b.of.rests(b.Number, b.Records)
	}
}

// KeepRestSum takes down what the sum of a run is, because all copies agree on it. It does nothing if the log is another
// one by now.
func (v *Volume) KeepRestSum(b RestBlock) {
	if s := v.sums.Load(); s != nil && s == b.of {
		s.learn(b.Number, b.Records, b.Sum)
	}
}

// MendRest replaces what is no data in a run of records by what another copy has there, durably, if that has the sum
// of the run, and corrects the index where that had believed a damaged header. It returns the number of records that were
// changed. Errors: ErrUnfit, those of from, ErrCompacting, ErrCompacted when the log is replaced, or cut, meanwhile,
// ErrClosed, or the disk's.
func (v *Volume) MendRest(b RestBlock, from Source) (changed int, err error) {
	m := mending{v: v, content: v.content.Load(), offset: b.Offset, end: b.Offset + b.Length}
	dat := m.content.dat
	other := newPieces(dat.Name(), from, b.Offset, b.Length)
	type part struct {
		at    int64
		bytes []byte
	}
	type record struct {
		at     int64
		header header
	}
	var parts []part
	var headers []record // that change
	sum, at := uint32(firstRest), b.Offset
	var here, there []byte
	for range b.Records {
		var length, same int64
		if here, length, err = readRest(dat, v.superblock.Version, at, here[:0]); err != nil {
			return 0, v.closedError(err)
		}
		if at+length > m.end {
			return 0, ErrUnfit
		}
		if there, same, err = readRest(other, v.superblock.Version, at, nil); err != nil {
			return 0, err
		}
		if same != length || len(here) != len(there) {
			return 0, ErrUnfit
		}
		if string(here) != string(there) {
			head, _, _ := restEnds(v.superblock.Version, there[:min(len(there), needleHeaderSize+4)])
			tail := int64(len(there)) - head
			parts = append(parts, part{at, there[:head]}, part{at + length - tail, there[head:]})
			if h := parseHeader(there); h != parseHeader(here) {
				headers = append(headers, record{at, h})
			}
			changed++
		}
		sum = foldRest(sum, known(Checksum(there)))
		at += length
	}
	if sum != b.Sum {
		return 0, ErrUnfit
	}
	// First: what a crash leaves then still has another sum, and is mended again.
	for _, r := range headers {
		if err := v.correctIndex(m.content, r.at, r.header); err != nil {
			return 0, fmt.Errorf("correct the index at byte %d: %w", r.at, err)
		}
	}
	for _, p := range parts {
		if err := m.write(p.bytes, p.at); err != nil {
			return 0, v.closedError(err)
		}
	}
	if changed == 0 {
		return 0, nil
	}
	return changed, v.committer.sync()
}

// CookieDiffers reports whether there is a needle under key, with another cookie, and where in the log's file.
func (v *Volume) CookieDiffers(key blob.Key, cookie blob.Cookie) (offset int64, differs bool) {
	c := v.content.Load()
	loc, ok := c.index.Get(key)
	if !ok {
		return 0, false
	}
	offset = int64(loc.Offset) * needleAlignment
	var b [needleHeaderSize]byte
	if err := readFull(c.dat, b[:], offset); err != nil {
		return 0, false
	}
	h := parseHeader(b[:])
	return offset, h.key == key && h.cookie != cookie
}

// HasCookie reports whether another copy has a needle of a key and a cookie at an offset of its file.
func HasCookie(from Source, offset int64, key blob.Key, cookie blob.Cookie) (bool, error) {
	var b [needleHeaderSize]byte
	if err := from(b[:], offset); err != nil {
		return false, err
	}
	h := parseHeader(b[:])
	return h.key == key && h.cookie == cookie, nil
}
