package storage

import (
	"encoding/binary"
	"fmt"
	"time"

	"weed/internal/blob"
)

// Put appends a needle and waits until it is durable as the policy says. It sets n.Checksum and, in volumes
// of version 3, n.AppendAtNs; n and what it points to must not change until Put returns. There is no
// context: an append that has begun can't be called back.
//
// Errors: ErrCookie, ErrReadOnly (with the cause), ErrFull, ErrNoSpace, ErrTooLarge, ErrClosed, or the
// disk's. After any error the needle is not readable, neither now nor after a restart, and a needle that
// it would have replaced still is.
func (v *Volume) Put(n *Needle) error { return v.put(n, false) }

// PutDurable is Put with a sync, whatever the policy.
func (v *Volume) PutDurable(n *Needle) error { return v.put(n, true) }

func (v *Volume) put(n *Needle, sync bool) error {
	if err := v.denies(false); err != nil {
		return err
	}
	n.Checksum = Checksum(n.Data)
	op := operations.Get().(*operation)
	defer op.release()
	if err := op.rec.encodePut(v.superblock.Version, n); err != nil {
		return fmt.Errorf("put into volume %d: %w", v.id, err)
	}
	op.needle, op.sync = n, sync
	err := v.committer.do(op)
	v.readOnly.noteFilled(v.cfg.Now)
	return err
}

// Delete appends a tombstone and waits until it is durable as the policy says. It returns the length in
// bytes of the blob's content, uncompressed.
//
// Errors: ErrNotFound (also for a wrong cookie), ErrReadOnly, ErrClosed, or the disk's. After any error the
// needle is still readable.
func (v *Volume) Delete(key blob.Key, cookie blob.Cookie) (size int64, err error) {
	if _, ok := v.index().Get(key); !ok && !v.committer.replica.on.Load() {
		return 0, ErrNotFound
	}
	op := operations.Get().(*operation)
	defer op.release()
	op.needle, op.delete = &Needle{Key: key, Cookie: cookie}, true
	op.rec.length = recordLength(v.superblock.Version, 0)
	err = v.committer.do(op)
	return op.size, err
}

// Get reads a needle and verifies its checksum. The needle's slices lie in the returned buffer, which is
// scratch if that is large enough; hand it in again to save an allocation.
//
// Errors: ErrNotFound (absent, deleted, expired, or a wrong cookie), *CorruptError, ErrClosed, or the disk's.
func (v *Volume) Get(key blob.Key, cookie blob.Cookie, scratch []byte) (n Needle, buf []byte, err error) {
	c := v.content.Load()
	loc, ok := c.index.Get(key)
	if !ok {
		return n, scratch, ErrNotFound
	}
	offset := int64(loc.Offset) * needleAlignment
	length := needleHeaderSize + int64(loc.Size) + trailerLength(v.superblock.Version)
	buf = scratch[:cap(scratch)]
	if int64(len(buf)) < length {
		buf = make([]byte, length)
	}
	b := buf[:length]
	if err := readFull(c.dat, b, offset); err != nil {
		return n, buf, v.closedError(err)
	}
	switch h := parseHeader(b); {
	case h.key != key || h.size != Size(loc.Size):
		return n, buf, &CorruptError{c.dat.Name(), offset, errOther.Error()}
	case h.cookie != cookie: // before the checksum, so that damage tells a stranger nothing
		return n, buf, ErrNotFound
	}
	if err := decodeNeedle(&n, v.superblock.Version, b); err != nil {
		return n, buf, &CorruptError{c.dat.Name(), offset, err.Error()}
	}
	if v.expired(&n) {
		return Needle{}, buf, ErrNotFound
	}
	return n, buf, nil
}

// SizeOf returns the size field of the needle under key: the length in bytes of its data and attributes as
// stored. It costs no disk access, so that a reader can choose between Get and Open.
func (v *Volume) SizeOf(key blob.Key) (Size, bool) {
	loc, ok := v.index().Get(key)
	return Size(loc.Size), ok
}

// expired says whether a needle's time to live is over. It counts from the append, or in volumes that do
// not know that, from the last modification.
func (v *Volume) expired(n *Needle) bool { return v.expiredAt(n, v.cfg.Now()) }

func (v *Volume) expiredAt(n *Needle, now time.Time) bool {
	ttl := n.TTL
	if ttl.IsZero() {
		if ttl = v.superblock.TTL; ttl.IsZero() {
			return false
		}
	}
	born := time.Unix(n.LastModified, 0)
	if n.AppendAtNs != 0 {
		born = time.Unix(0, int64(n.AppendAtNs))
	} else if n.LastModified == 0 {
		return false
	}
	return now.Sub(born) >= ttl.Duration()
}

// ContentSize returns the length in bytes of a blob's content as its owner knows it: of compressed data,
// what the last four bytes of the gzip stream say (RFC 1952, ISIZE).
func ContentSize(data []byte, gzipped bool) int64 {
	if !gzipped || len(data) < minGzipBytes {
		return int64(len(data))
	}
	return int64(binary.LittleEndian.Uint32(data[len(data)-4:]))
}

// minGzipBytes is the length of the shortest gzip stream: a header of ten bytes and a trailer of eight.
const minGzipBytes = 18
