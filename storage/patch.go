package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"weed/internal/vfs"
)

// ErrUnfit: what another copy holds can't be the record that belongs into this log, or is damaged itself.
var ErrUnfit = errors.New("the bytes of the other copy do not fit")

// Source reads bytes of another copy of a log, which has the same bytes at the same offsets: all of p, from offset on.
type Source func(p []byte, offset int64) error

// Mended is what Mend has done.
type Mended struct {
	Offset, Length int64 // of the record, in bytes
	Changed        int64 // bytes that were written
}

const (
	// patchBlock is the unit in which is written what differs: a whole page, which the system need not read first.
	patchBlock = 4096
	// pieceSize is how much of a record is fetched at once.
	pieceSize = 1 << 20
)

// Mend replaces the record at an offset, below end, which is committed, by that of another copy, durably. What
// the other copy says is not believed before its checksum was verified, and it fits what the index and the rest
// of the log say. Where the index alone disagrees, with a header that is the same in both copies, the index is corrected.
// A crash meanwhile leaves blocks of the old bytes and of the new ones, which the checksum tells again. It does not change what is found by a read but for the better, and needs no lock of its callers; two
// at once for one record do the same.
//
// Errors: ErrUnfit, ErrUnvouched, those of from, ErrClosed, ErrCompacting, ErrCompacted when the log is replaced, or cut, meanwhile, ErrCorrupt when the
// disk does not keep what was written, or the disk's.
func (v *Volume) Mend(offset, end int64, from Source) (Mended, error) {
	m := mending{v: v, content: v.content.Load(), offset: offset, end: end}
	if offset < v.superblock.Length() || offset%needleAlignment != 0 || offset+needleHeaderSize > end || end > v.stats.length.Load() {
		return Mended{}, fmt.Errorf("volume %d: no record begins at byte %d: %w", v.id, offset, ErrUnfit)
	}
	err := m.verify(from)
	if err == nil {
		err = m.replace()
	}
	if err == nil && m.wrongIndex {
		if err = v.correctIndex(m.content, offset, m.header); err == nil {
			m.changed += idxEntrySize
		}
	}
	if err != nil {
		return Mended{}, fmt.Errorf("mend volume %d at byte %d: %w", v.id, offset, v.closedError(err))
	}
	return Mended{Offset: offset, Length: m.length, Changed: m.changed}, nil
}

// mending is one call of Mend.
type mending struct {
	v           *Volume
	content     *content // that the offset is meant for
	offset, end int64
	header      header // that the other copy has
	length      int64
	other       *pieces
	changed     int64
	wrongIndex  bool // it does not know the header, which is right
}

// verify finds out whether the other copy's record is to be believed.
func (m *mending) verify(from Source) error {
	v := m.v
	var head [needleHeaderSize]byte
	if err := from(head[:], m.offset); err != nil {
		return err
	}
	h := parseHeader(head[:])
	m.header = h
	m.length = recordLength(v.superblock.Version, h.size)
	if h == (header{}) || h.size > math.MaxInt32 || m.length > m.end-m.offset {
		return ErrUnfit
	}
	m.other = newPieces(m.content.dat.Name(), from, m.offset, m.length)
	scanner := &logScanner{f: m.other, version: v.superblock.Version, end: m.offset + m.length,
		buf: make([]byte, min(m.length, scanWindowSize))}
	r, verdict, err := scanner.check(m.offset)
	if err != nil {
		return err
	}
	if verdict != recordGood || r.header != h {
		return ErrUnfit
	}
	if m.wrongIndex = !m.fitsIndex(h); m.wrongIndex {
		if err := m.vouched(); err != nil {
			return err
		}
	}
	return m.fitsNext(from)
}

// fitsIndex reports whether the index agrees that there is this record, if it knows of a live one.
func (m *mending) fitsIndex(h header) bool {
	first := uint64(m.offset / needleAlignment)
	for key, live := range m.content.index.ByOffset(first, first+uint64(m.length/needleAlignment)) {
		if uint64(live.Offset) != first || key != h.key || Size(live.Size) != h.size {
			return false
		}
	}
	return true
}

// fitsNext checks that the next record begins where this one ends: here, or where that is damaged, too, there.
func (m *mending) fitsNext(from Source) error {
	at := m.offset + m.length
	if at == m.end {
		return nil
	}
	if at+needleHeaderSize+4 > m.end {
		return ErrUnfit
	}
	var b [needleHeaderSize + 4]byte
	if err := readFull(m.content.dat, b[:], at); err == nil && m.beginsRecord(b[:], at) {
		return nil
	}
	if err := from(b[:], at); err != nil {
		return err
	}
	if !m.beginsRecord(b[:], at) {
		return ErrUnfit
	}
	return nil
}

// beginsRecord reports whether b may be the beginning of the record at an offset.
func (m *mending) beginsRecord(b []byte, at int64) bool {
	h := parseHeader(b)
	if h == (header{}) || h.size > math.MaxInt32 || recordLength(m.v.superblock.Version, h.size) > m.end-at {
		return false
	}
	if h.size == 0 || m.v.superblock.Version == Version1 {
		return true
	}
	_, err := splitBody(b[needleHeaderSize:], int64(h.size))
	return err == nil
}

// replace writes the blocks that differ, and looks whether they have arrived.
func (m *mending) replace() error {
	here := make([]byte, pieceSize)
	for i := range m.other.sums {
		there, err := m.other.piece(i)
		if err != nil {
			return err
		}
		at := m.offset + int64(i)*pieceSize
		b := here[:len(there)]
		known := readFull(m.content.dat, b, at) == nil
		for from := 0; from < len(there); {
			to := min(from+patchBlock-int((at+int64(from))%patchBlock), len(there))
			if !known || !bytes.Equal(b[from:to], there[from:to]) {
				if err := m.write(there[from:to], at+int64(from)); err != nil {
					return err
				}
			}
			from = to
		}
	}
	if m.changed == 0 {
		return nil
	}
	if err := m.v.committer.sync(); err != nil {
		return err
	}
	scanner := newLogScanner(m.content.dat, m.v.superblock.Version, m.offset+m.length)
	if _, verdict, err := scanner.check(m.offset); err != nil {
		return err
	} else if verdict != recordGood {
		return &CorruptError{m.content.dat.Name(), m.offset, "the disk does not keep what is written"}
	}
	return nil
}

// write has the committer write, so that it can't happen to a log that was replaced or cut meanwhile.
func (m *mending) write(b []byte, at int64) error {
	c := m.v.committer
	result := make(chan error, 1)
	taken := c.post(func() {
		if m.v.content.Load() != m.content {
			result <- ErrCompacted
			return
		}
		_, err := m.content.dat.WriteAt(b, at)
		c.dirty.Store(true)
		result <- err
	})
	if !taken {
		return fmt.Errorf("volume %d: %w", m.v.id, ErrClosed)
	}
	m.changed += int64(len(b))
	return <-result
}

// pieces is a record of another copy, fetched piece by piece, as the file that a logScanner reads. A piece that is
// fetched again must be what it was: what is written then is what was verified.
type pieces struct {
	vfs.File // none
	name     string
	from     Source
	offset   int64 // of the record
	length   int64
	sums     []uint32
	seen     []bool
	buf      []byte
	at       int // the piece in buf, -1 for none
}

func newPieces(name string, from Source, offset, length int64) *pieces {
	n := (length + pieceSize - 1) / pieceSize
	return &pieces{name: name, from: from, offset: offset, length: length, at: -1,
		sums: make([]uint32, n), seen: make([]bool, n), buf: make([]byte, min(length, pieceSize))}
}

func (p *pieces) Name() string { return p.name }

// ReadAt reads within the record.
func (p *pieces) ReadAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		at := offset + int64(n) - p.offset
		piece, err := p.piece(int(at / pieceSize))
		if err != nil {
			return n, err
		}
		n += copy(b[n:], piece[at%pieceSize:])
	}
	return n, nil
}

// piece returns a piece, valid until the next call.
func (p *pieces) piece(i int) ([]byte, error) {
	start := int64(i) * pieceSize
	if start < 0 || start >= p.length {
		return nil, ErrUnfit
	}
	b := p.buf[:min(pieceSize, p.length-start)]
	if p.at == i {
		return b, nil
	}
	p.at = -1
	if err := p.from(b, p.offset+start); err != nil {
		return nil, err
	}
	sum := Checksum(b)
	if p.seen[i] && p.sums[i] != sum {
		return nil, fmt.Errorf("%w: they change", ErrUnfit)
	}
	p.at, p.sums[i], p.seen[i] = i, sum, true
	return b, nil
}
