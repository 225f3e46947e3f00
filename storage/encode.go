package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
)

// record is a needle ready to be appended, cut in three so that large data is never copied: prefix, the
// needle's data, suffix. The timestamp is filled in by the committer.
type record struct {
	version Version
	size    Size
	length  int64 // on disk, with padding
	prefix  [needleHeaderSize + 4]byte
	prefixN int
	data    []byte
	suffix  []byte // rest of the body, checksum, timestamp, padding
}

// encodePut lays out a put. It reuses r.suffix's memory and aliases n.Data.
func (r *record) encodePut(version Version, n *Needle) error {
	if err := checkLengths(n); err != nil {
		return err
	}
	r.version, r.data, r.suffix = version, n.Data, r.suffix[:0]
	binary.BigEndian.PutUint32(r.prefix[0:], uint32(n.Cookie))
	binary.BigEndian.PutUint64(r.prefix[4:], uint64(n.Key))
	if version == Version1 {
		r.size, r.prefixN = Size(len(n.Data)), needleHeaderSize
	} else {
		r.prefixN = needleHeaderSize + 4
		binary.BigEndian.PutUint32(r.prefix[16:], uint32(len(n.Data)))
		r.suffix = appendAttributes(r.suffix, n)
		r.size = Size(4 + len(n.Data) + len(r.suffix))
	}
	binary.BigEndian.PutUint32(r.prefix[12:], uint32(r.size))
	r.appendTrailer(n.Checksum)
	return nil
}

// encodeDelete lays out a tombstone. checksum is that of the needle that it deletes, so that the log says
// which content went away.
func (r *record) encodeDelete(version Version, n *Needle, checksum uint32) {
	r.version, r.size, r.data, r.suffix, r.prefixN = version, 0, nil, r.suffix[:0], needleHeaderSize
	binary.BigEndian.PutUint32(r.prefix[0:], uint32(n.Cookie))
	binary.BigEndian.PutUint64(r.prefix[4:], uint64(n.Key))
	binary.BigEndian.PutUint32(r.prefix[12:], 0)
	r.appendTrailer(checksum)
}

func (r *record) appendTrailer(checksum uint32) {
	r.suffix = binary.BigEndian.AppendUint32(r.suffix, checksum)
	if r.version == Version3 {
		r.suffix = binary.BigEndian.AppendUint64(r.suffix, 0)
	}
	r.length = recordLength(r.version, r.size)
	padding := int(r.length) - r.prefixN - len(r.data) - len(r.suffix)
	var zeros [needleAlignment]byte
	r.suffix = append(r.suffix, zeros[:padding]...)
}

// stamp fills in the time of the append.
func (r *record) stamp(appendAtNs uint64) {
	if r.version == Version3 {
		at := needleHeaderSize + int(r.size) + checksumSize - r.prefixN - len(r.data)
		binary.BigEndian.PutUint64(r.suffix[at:], appendAtNs)
	}
}

// appendTo appends the whole record to dst.
func (r *record) appendTo(dst []byte) []byte {
	dst = append(dst, r.prefix[:r.prefixN]...)
	dst = append(dst, r.data...)
	return append(dst, r.suffix...)
}

// appendAttributes appends the flags byte and the fields it announces.
func appendAttributes(dst []byte, n *Needle) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var flags byte
	if n.Gzipped {
		flags |= flagGzip
	}
	if n.Manifest {
		flags |= flagManifest
	}
	if len(n.Name) > 0 {
		flags |= flagName
		dst = append(append(dst, byte(len(n.Name))), n.Name...)
	}
	if len(n.Mime) > 0 {
		flags |= flagMime
		dst = append(append(dst, byte(len(n.Mime))), n.Mime...)
	}
	if n.LastModified > 0 {
		flags |= flagLastModified
		t := uint64(n.LastModified)
		dst = append(dst, byte(t>>32), byte(t>>24), byte(t>>16), byte(t>>8), byte(t))
	}
	if !n.TTL.IsZero() {
		flags |= flagTTL
		count, unit := n.TTL.Bytes()
		dst = append(dst, count, unit)
	}
	if len(n.Pairs) > 0 {
		flags |= flagPairs
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(n.Pairs))), n.Pairs...)
	}
	dst[at] = flags
	return dst
}

func checkLengths(n *Needle) error {
	for _, field := range []struct {
		name       string
		length, up int
	}{
		{"data", len(n.Data), MaxDataSizeBytes},
		{"file name", len(n.Name), maxNameLength},
		{"media type", len(n.Mime), maxMimeLength},
		{"header pairs", len(n.Pairs), maxPairsLength},
	} {
		if field.length > field.up {
			return fmt.Errorf("%s of %d bytes, at most %d: %w", field.name, field.length, field.up, ErrTooLarge)
		}
	}
	if bytes.IndexByte(n.Pairs, 0) >= 0 { // recovery takes a sector of zeros there for one that was never written
		return fmt.Errorf("header pairs hold a zero byte, so they are no JSON: %w", fs.ErrInvalid)
	}
	if n.LastModified < 0 || n.LastModified >= 1<<40 {
		return fmt.Errorf("last modified at %d unix seconds does not fit 40 bits: %w", n.LastModified, ErrTooLarge)
	}
	return nil
}
