package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// Blob is an open needle whose data stays in the file, for blobs too large to be copied through memory.
// Its Data is nil.
type Blob struct {
	layout
	v       *Volume
	content *content // that the offsets belong to
}

// DataSize returns the length in bytes of the data as stored.
func (b *Blob) DataSize() int64 { return b.dataSize }

// ContentSize returns the length in bytes of the content, uncompressed.
func (b *Blob) ContentSize() (int64, error) {
	n, err := b.contentSize(b.content.dat)
	return n, b.v.closedError(err)
}

// ReadAt reads the data as stored; offset 0 is its first byte.
func (b *Blob) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset > b.dataSize-int64(len(p)) {
		return 0, fmt.Errorf("read %d bytes at %d of a blob of %d: %w", len(p), offset, b.dataSize, fs.ErrInvalid)
	}
	if err := readFull(b.content.dat, p, b.dataOffset+offset); err != nil {
		return 0, b.v.closedError(err)
	}
	return len(p), nil
}

// File returns a descriptor of its own for the volume's file, positioned at the given offset of the data,
// for sendfile. The caller closes it. ok is false where the file system has no descriptors.
func (b *Blob) File(offset int64) (f *os.File, ok bool, err error) {
	d, ok := b.content.dat.(vfs.Descriptor)
	if !ok {
		return nil, false, nil
	}
	if f, err = d.Reopen(); err != nil {
		return nil, true, b.v.closedError(err)
	}
	if _, err = f.Seek(b.dataOffset+offset, 0); err != nil {
		return nil, true, errors.Join(err, f.Close())
	}
	return f, true, nil
}

// Open finds a needle and leaves its data where it is. Before it returns, the data's checksum has been
// verified: by this call, or by one less than verifiedFor ago since when nobody has written to the file.
// Reading a large blob costs as much as sending it, so a blob that is asked for again and again, and comes
// from the page cache, is read for its checksum only now and then.
//
// Errors are those of Get.
func (v *Volume) Open(key blob.Key, cookie blob.Cookie) (*Blob, error) {
	b, place, err := v.stat(key, cookie)
	if err == nil {
		err = v.verify(b, place)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Stat is Open without the look at the data: Checksum is the stored one. Errors are those of Get.
func (v *Volume) Stat(key blob.Key, cookie blob.Cookie) (*Blob, error) {
	b, _, err := v.stat(key, cookie)
	return b, err
}

// stat also returns the record's place in the log, in units of needleAlignment.
func (v *Volume) stat(key blob.Key, cookie blob.Cookie) (b *Blob, place uint32, err error) {
	c := v.content.Load()
	loc, ok := c.index.Get(key)
	if !ok {
		return nil, 0, ErrNotFound
	}
	offset := int64(loc.Offset) * needleAlignment
	var head [needleHeaderSize]byte
	if err := readFull(c.dat, head[:], offset); err != nil {
		return nil, 0, v.closedError(err)
	}
	h := parseHeader(head[:])
	if h.key != key || h.size != Size(loc.Size) {
		return nil, 0, &CorruptError{c.dat.Name(), offset, errOther.Error()}
	}
	if h.cookie != cookie {
		return nil, 0, ErrNotFound
	}
	l, err := readLayout(c.dat, v.superblock.Version, offset, h)
	if err != nil {
		return nil, 0, v.closedError(err)
	}
	if v.expired(&l.Needle) {
		return nil, 0, ErrNotFound
	}
	return &Blob{layout: l, v: v, content: c}, loc.Offset, nil
}

// verify checks the data's checksum unless that was done lately, and leaves the plain form in b.
func (v *Volume) verify(b *Blob, place uint32) error {
	now := v.cfg.Now()
	info, err := v.fs.Stat(v.base + ".dat")
	if err != nil {
		return fmt.Errorf("look at volume %d: %w", v.id, err)
	}
	written := info.ModTime()
	if crc, ok := b.content.verified.lookup(place, written, now); ok && checksumMatches(b.Checksum, crc) {
		b.Checksum = crc
		return nil
	}
	scratch := checksumScratch.Get().(*[]byte)
	defer checksumScratch.Put(scratch)
	crc, err := checksumRange(b.content.dat, b.dataOffset, b.dataSize, *scratch)
	if err != nil {
		return v.closedError(err)
	}
	if !checksumMatches(b.Checksum, crc) {
		return &CorruptError{b.content.dat.Name(), int64(place) * needleAlignment, errChecksum.Error()}
	}
	b.Checksum = crc
	b.content.verified.add(place, verifiedEntry{crc, written, now})
	return nil
}

// closedError gives reads that meet a closed volume their kind.
func (v *Volume) closedError(err error) error {
	if err != nil && errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	return err
}

const (
	verifiedFor   = time.Minute
	verifiedLimit = 1024 // blobs remembered per volume
)

// verifiedSet remembers which large blobs were verified lately. An entry counts while the file is as it was
// then: a log's bytes never change by our hand, but a write by anybody else, or a restored file, shows in the
// time of its last write. And it counts not for long, since a page that leaves the cache may come back
// from the disk damaged. The zero value is ready.
type verifiedSet struct {
	mu      sync.Mutex // guards entries
	entries map[uint32]verifiedEntry
}

type verifiedEntry struct {
	crc     uint32
	written time.Time // the file's last write, looked up before the check
	at      time.Time // of the check
}

func (s *verifiedSet) lookup(place uint32, written, now time.Time) (crc uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[place]
	return e.crc, ok && e.written.Equal(written) && now.Sub(e.at) < verifiedFor
}

func (s *verifiedSet) add(place uint32, e verifiedEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[uint32]verifiedEntry{}
	}
	if len(s.entries) >= verifiedLimit {
		for place := range s.entries { // any will do
			delete(s.entries, place)
			break
		}
	}
	s.entries[place] = e
}
