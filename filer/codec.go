package filer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"weed/internal/blob"
)

// codecVersion begins every value (FORMAT.md).
const codecVersion = 1

// errValue says that a record's value is none that this program writes.
var errValue = errors.New("damaged entry")

// encode returns the value of an entry, as FORMAT.md describes it.
func (e *Entry) encode() []byte {
	b := make([]byte, 0, 96+len(e.Mime)+40*len(e.Chunks))
	b = append(b, codecVersion)
	b = binary.AppendVarint(b, e.Mtime.UnixNano())
	b = binary.AppendVarint(b, e.Crtime.UnixNano())
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = appendText(b, e.Mime)
	b = appendText(b, e.Replication)
	b = appendText(b, e.Collection)
	count, unit := e.TTL.Bytes()
	b = append(b, count, unit)
	b = binary.AppendVarint(b, e.Expires)
	b = appendText(b, string(e.MD5))
	b = binary.AppendUvarint(b, uint64(len(e.Extended)))
	for _, k := range slices.Sorted(maps.Keys(e.Extended)) {
		b = appendText(b, k)
		b = appendText(b, e.Extended[k])
	}
	b = binary.AppendUvarint(b, uint64(len(e.Chunks)))
	for i := range e.Chunks {
		c := &e.Chunks[i]
		b = binary.AppendUvarint(b, uint64(c.FID.Volume))
		b = binary.AppendUvarint(b, uint64(c.FID.Key))
		b = binary.BigEndian.AppendUint32(b, uint32(c.FID.Cookie))
		b = binary.AppendUvarint(b, uint64(c.Size))
		b = binary.AppendVarint(b, c.Mtime)
		b = appendText(b, c.ETag)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// minChunkBytes is the least that a chunk takes in a value: it bounds what a damaged count can make us allocate.
const minChunkBytes = 9

// decodeEntry reads a value. Anything that encode does not write is errValue.
func decodeEntry(value []byte) (*Entry, error) {
	if len(value) == 0 || value[0] != codecVersion {
		return nil, fmt.Errorf("%w: unknown version", errValue)
	}
	d := decoder{b: value[1:]}
	e := &Entry{}
	e.Mtime = time.Unix(0, d.varint())
	e.Crtime = time.Unix(0, d.varint())
	e.Mode = fs.FileMode(d.uint32())
	e.UID, e.GID = d.uint32(), d.uint32()
	e.Mime = d.text()
	e.Replication = d.text()
	e.Collection = d.text()
	if ttl := d.take(2); ttl != nil {
		e.TTL = blob.TTLFromBytes(ttl[0], ttl[1])
	}
	e.Expires = d.varint()
	if sum := d.bytes(); len(sum) > 0 {
		e.MD5 = slices.Clone(sum)
	}
	if n := d.count(2); n > 0 {
		e.Extended = make(map[string]string, n)
		for range n {
			k := d.text()
			e.Extended[k] = d.text()
		}
	}
	if n := d.count(minChunkBytes); n > 0 {
		e.Chunks = make([]Chunk, n)
		for i := range e.Chunks {
			c := &e.Chunks[i]
			c.FID.Volume = blob.VolumeID(d.uint32())
			c.FID.Key = blob.Key(d.uvarint())
			if cookie := d.take(4); cookie != nil {
				c.FID.Cookie = blob.Cookie(binary.BigEndian.Uint32(cookie))
			}
			c.Size = int64(d.uvarint())
			c.Mtime = d.varint()
			c.ETag = d.text()
			d.bad = d.bad || c.Size < 0 || c.FID.Volume == 0
		}
	}
	if d.bad || len(d.b) > 0 {
		return nil, errValue
	}
	return e, nil
}

// decoder takes fields off a value. Once one does not fit, it is bad and yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.fail()
		return 0
	}
	return uint32(v)
}

// count reads the number of things that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.count(1)) }
func (d *decoder) text() string  { return string(d.bytes()) }
