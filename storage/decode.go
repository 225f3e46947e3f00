package storage

import (
	"encoding/binary"
	"errors"

	"weed/internal/blob"
)

// header is the fixed head of a needle on disk.
type header struct {
	cookie blob.Cookie
	key    blob.Key
	size   Size
}

// parseHeader reads the first needleHeaderSize bytes of b.
func parseHeader(b []byte) header {
	_ = b[needleHeaderSize-1]
	return header{
		cookie: blob.Cookie(binary.BigEndian.Uint32(b[0:])),
		key:    blob.Key(binary.BigEndian.Uint64(b[4:])),
		size:   Size(binary.BigEndian.Uint32(b[12:])),
	}
}

var (
	errShortRecord = errors.New("the needle is cut short")
	errBody        = errors.New("the needle's fields do not fit its size")
	errOther       = errors.New("another needle than the index says")
	errChecksum    = errors.New("the data does not match its checksum")
)

// decodeNeedle reads a whole record (padding may be missing) into n, whose slices alias b, and verifies
// the checksum. A record of size 0 is a needle without data; whether it is a tombstone is not its business.
func decodeNeedle(n *Needle, version Version, b []byte) error {
	if len(b) < needleHeaderSize {
		return errShortRecord
	}
	h := parseHeader(b)
	end := needleHeaderSize + int64(h.size)
	if int64(len(b)) < end+trailerLength(version) {
		return errShortRecord
	}
	*n = Needle{Key: h.key, Cookie: h.cookie}
	body := b[needleHeaderSize:end]
	n.Checksum = binary.BigEndian.Uint32(b[end:])
	if version == Version3 {
		n.AppendAtNs = binary.BigEndian.Uint64(b[end+checksumSize:])
	}
	switch {
	case h.size == 0:
		return nil
	case version == Version1:
		n.Data = body
	default:
		dataSize, err := splitBody(body, int64(h.size))
		if err != nil {
			return err
		}
		n.Data = body[4 : 4+dataSize : 4+dataSize]
		if err := decodeAttributes(n, body[4+dataSize:]); err != nil {
			return err
		}
	}
	crc := Checksum(n.Data)
	if !checksumMatches(n.Checksum, crc) {
		return errChecksum
	}
	n.Checksum = crc
	return nil
}

// splitBody returns the length of the data in a version 2 or 3 body, of which b holds at least 4 bytes.
func splitBody(b []byte, size int64) (dataSize int64, err error) {
	if size < 5 || len(b) < 4 {
		return 0, errBody
	}
	dataSize = int64(binary.BigEndian.Uint32(b))
	if dataSize > size-5 {
		return 0, errBody
	}
	return dataSize, nil
}

// decodeAttributes reads what follows the data in a body: the flags and the fields they announce. All of b
// must be consumed.
func decodeAttributes(n *Needle, b []byte) error {
	if len(b) < 1 {
		return errBody
	}
	flags := b[0]
	b = b[1:]
	ok := true
	take := func(length int) (field []byte) {
		if ok = ok && length <= len(b); ok {
			field, b = b[:length:length], b[length:]
		}
		return field
	}
	counted := func() []byte {
		if length := take(1); ok {
			return take(int(length[0]))
		}
		return nil
	}
	n.Gzipped, n.Manifest = flags&flagGzip != 0, flags&flagManifest != 0
	if flags&flagName != 0 {
		n.Name = counted()
	}
	if flags&flagMime != 0 {
		n.Mime = counted()
	}
	if flags&flagLastModified != 0 {
		if t := take(5); ok {
			n.LastModified = int64(t[0])<<32 | int64(binary.BigEndian.Uint32(t[1:]))
		}
	}
	if flags&flagTTL != 0 {
		if t := take(2); ok {
			n.TTL = blob.TTLFromBytes(t[0], t[1])
		}
	}
	if flags&flagPairs != 0 {
		if length := take(2); ok {
			n.Pairs = take(int(binary.BigEndian.Uint16(length)))
		}
	}
	if !ok || len(b) != 0 {
		return errBody
	}
	return nil
}

// maxAttributesLength is the length in bytes of flags and fields that are all there and as long as can be.
const maxAttributesLength = 1 + 1 + maxNameLength + 1 + maxMimeLength + 5 + 2 + 2 + maxPairsLength

// attributesLength returns how long the attributes are that begin in b, as far as b tells; whole is false if
// b ends before the last field's length is known.
func attributesLength(b []byte) (length int64, whole bool) {
	if len(b) == 0 {
		return 0, false
	}
	flags, n := b[0], 1
	for _, field := range [...]struct {
		flag         byte
		count, fixed int // bytes of the length in front of the field, or of the field
	}{
		{flagName, 1, 0}, {flagMime, 1, 0}, {flagLastModified, 0, 5}, {flagTTL, 0, 2}, {flagPairs, 2, 0},
	} {
		if flags&field.flag == 0 {
			continue
		}
		if n+field.count > len(b) {
			return int64(n), false
		}
		content := field.fixed
		for _, c := range b[n : n+field.count] {
			content = content<<8 | int(c)
		}
		n += field.count + content
	}
	return int64(n), true
}
