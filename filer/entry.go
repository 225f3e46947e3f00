package filer

import (
	"crypto/md5" //nolint:gosec // an ETag, not a signature
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"weed/internal/blob"
)

// Entry is a file or a directory: its attributes and, of a file, where its bytes are.
type Entry struct {
	Mtime, Crtime time.Time
	Mode          fs.FileMode // permissions, and fs.ModeDir for a directory
	UID, GID      uint32
	Mime          string // "" is found out from the name
	Replication   string // as asked for, "" left it to the masters
	Collection    string
	TTL           blob.TTL
	Expires       int64 // unix seconds from which on it is not there any more, 0 for never
	MD5           []byte
	Extended      map[string]string // "Seaweed-…" tags
	Chunks        []Chunk           // one after the other, without gaps
}

// Chunk is a run of a file's bytes that is one blob.
type Chunk struct {
	FID   blob.FileID
	Size  int64
	Mtime int64  // unix nanoseconds
	ETag  string // of the blob, without quotes
}

// IsDir tells directories from files.
func (e *Entry) IsDir() bool { return e.Mode.IsDir() }

// Size returns the bytes of a file.
func (e *Entry) Size() int64 {
	var n int64
	for i := range e.Chunks {
		n += e.Chunks[i].Size
	}
	return n
}

// expired reports whether the entry is not to be seen any more.
func (e *Entry) expired(now time.Time) bool { return e.Expires != 0 && now.Unix() >= e.Expires }

// etag returns the entity tag of a file's content, quoted: its MD5, or for a content that was appended to what
// its chunks make, whose fids never come again with other bytes.
func (e *Entry) etag() string {
	if len(e.MD5) == md5.Size {
		var text [2 + 2*md5.Size]byte
		text[0], text[len(text)-1] = '"', '"'
		hex.Encode(text[1:], e.MD5)
		return string(text[:])
	}
	sum := md5.New() //nolint:gosec // see the import
	var b [24]byte
	for _, c := range e.Chunks {
		binary.BigEndian.PutUint32(b[0:], uint32(c.FID.Volume))
		binary.BigEndian.PutUint64(b[4:], uint64(c.FID.Key))
		binary.BigEndian.PutUint32(b[12:], uint32(c.FID.Cookie))
		binary.BigEndian.PutUint64(b[16:], uint64(c.Size))
		_, _ = sum.Write(b[:])
	}
	return fmt.Sprintf(`"%x-%d"`, sum.Sum(nil), len(e.Chunks))
}

// fids returns the chunks of an entry, as the store is to drop them.
func (e *Entry) fids() []string {
	if e == nil || len(e.Chunks) == 0 {
		return nil
	}
	list := make([]string, len(e.Chunks))
	for i := range e.Chunks {
		list[i] = e.Chunks[i].FID.String()
	}
	return list
}

// FIDs returns the chunks that a record's value refers to: what store.Options asks for.
func FIDs(value []byte) ([]string, error) {
	e, err := decodeEntry(value)
	if err != nil {
		return nil, err
	}
	return e.fids(), nil
}

// ttlSeconds is the time to live as JSON tells it.
func (e *Entry) ttlSeconds() int64 { return int64(e.TTL.Duration() / time.Second) }

// ttlOf is the inverse of ttlSeconds, in the largest unit that fits.
func ttlOf(seconds int64) (blob.TTL, error) {
	if seconds == 0 {
		return blob.TTL{}, nil
	}
	for unit := blob.TTLYear; unit >= blob.TTLMinute; unit-- {
		one := int64(blob.TTL{Count: 1, Unit: unit}.Duration() / time.Second)
		if seconds%one == 0 && seconds/one >= 1 && seconds/one <= 255 {
			return blob.TTL{Count: uint8(seconds / one), Unit: unit}, nil
		}
	}
	return blob.TTL{}, fmt.Errorf("%w: a ttl of %s seconds is no count of one unit", errParameter, strconv.FormatInt(seconds, 10))
}
