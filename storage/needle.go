package storage

import (
	"hash/crc32"
	"math"

	"weed/internal/blob"
)

const (
	needleAlignment  = 8  // needles start at multiples of this
	needleHeaderSize = 16 // cookie, key, size
	checksumSize     = 4
	timestampSize    = 8

	// MaxVolumeSizeBytes is what 4-byte offsets in units of 8 bytes can address.
	MaxVolumeSizeBytes = int64(1<<32) * needleAlignment
	// MaxDataSizeBytes bounds a needle's data so that its size field, an int32 in `.idx`, can't overflow.
	MaxDataSizeBytes = math.MaxInt32 - 1<<17

	maxNameLength  = math.MaxUint8
	maxMimeLength  = math.MaxUint8
	maxPairsLength = math.MaxUint16
)

// The flags byte of a version 2 or 3 needle.
const (
	flagGzip         = 0x01
	flagName         = 0x02
	flagMime         = 0x04
	flagLastModified = 0x08
	flagTTL          = 0x10
	flagPairs        = 0x20
	flagManifest     = 0x80
)

// Needle is a blob with what is known of it.
type Needle struct {
	Key    blob.Key
	Cookie blob.Cookie
	Data   []byte // as stored: compressed if Gzipped
	Name   []byte // file name, at most 255 bytes
	Mime   []byte // media type, at most 255 bytes
	Pairs  []byte // JSON object of header pairs, at most 65535 bytes

	LastModified int64 // unix seconds, 0 for unknown, 40 bits
	TTL          blob.TTL
	Gzipped      bool
	Manifest     bool // the data is a chunk manifest

	// Checksum is the CRC32-C of Data. Set by reads and by Put.
	Checksum uint32
	// AppendAtNs is the time of the append in unix nanoseconds; its low 12 bits number the needles of one
	// commit. Set by reads and by Put; 0 in volumes of versions 1 and 2.
	AppendAtNs uint64
}

// Size is the needle's size field: the length in bytes of its body.
type Size uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32-C of data, which is also a blob's ETag.
func Checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func updateChecksum(crc uint32, data []byte) uint32 { return crc32.Update(crc, castagnoli, data) }

// checksumMatches accepts both stored forms of a checksum: the CRC itself, and the masked form that older
// writers of this format used.
func checksumMatches(stored, crc uint32) bool {
	return stored == crc || stored == (crc>>15|crc<<17)+0xa282ead8
}

// recordLength returns how many bytes a needle of the given size field takes on disk, padding included:
// one to eight bytes of padding always follow the last field.
func recordLength(version Version, size Size) int64 {
	n := needleHeaderSize + int64(size) + checksumSize
	if version == Version3 {
		n += timestampSize
	}
	return n + needleAlignment - n%needleAlignment
}

// trailerLength is what follows the body without the padding.
func trailerLength(version Version) int64 {
	if version == Version3 {
		return checksumSize + timestampSize
	}
	return checksumSize
}
