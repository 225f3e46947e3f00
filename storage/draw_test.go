package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// drawing writes a file byte by byte, without the engine's encoder, and says in words what each is.
type drawing struct {
	data []byte
	text strings.Builder
}

func (d *drawing) title(format string, args ...any) { fmt.Fprintf(&d.text, "\n"+format+"\n", args...) }

// raw adds bytes that are shown in rows of 16 at most.
func (d *drawing) raw(b []byte, what string) {
	for i := 0; i < len(b) || i == 0 && len(b) == 0; i += 16 {
		row := b[i:min(i+16, len(b))]
		fmt.Fprintf(&d.text, "%06x  %-33s %s\n", len(d.data)+i, fmt.Sprintf("%x", row), what)
		what = "..."
	}
	d.data = append(d.data, b...)
}

func (d *drawing) u8(v uint8, what string)   { d.raw([]byte{v}, what) }
func (d *drawing) u16(v uint16, what string) { d.raw(binary.BigEndian.AppendUint16(nil, v), what) }
func (d *drawing) u32(v uint32, what string) { d.raw(binary.BigEndian.AppendUint32(nil, v), what) }
func (d *drawing) u64(v uint64, what string) { d.raw(binary.BigEndian.AppendUint64(nil, v), what) }

// drawnNeedle is what a drawing needs to know of one record.
type drawnNeedle struct {
	cookie     uint32
	key        uint64
	data       []byte
	bare       bool // size 0: a tombstone, or in foreign volumes an empty blob
	flags      byte // gzip and manifest; the others follow from the fields
	name, mime string
	mtime      uint64
	ttl        string // count and unit
	pairs      string
	crc        uint32 // of what a tombstone deletes
	masked     bool   // the older form of the checksum
	appendAtNs uint64
}

func (d *drawing) superblock(version, placement byte, ttl string, revision uint16, extra []byte) {
	d.title("superblock")
	d.u8(version, "version")
	d.u8(placement, "placement, decimal xyz")
	d.raw([]byte(ttl), "ttl: count, unit")
	d.u16(revision, "compaction revision")
	d.u16(uint16(len(extra)), "length of the extra part")
	if len(extra) > 0 {
		d.raw(extra, "extra part, not understood")
	}
}

// needle draws a record and returns its offset and size field.
func (d *drawing) needle(version byte, title string, n drawnNeedle) (offset, size uint32) {
	d.title("needle at %#x: %s", len(d.data), title)
	start := len(d.data)
	attributes, describe := n.attributes()
	switch {
	case n.bare:
	case version == 1:
		size = uint32(len(n.data))
	default:
		size = uint32(4 + len(n.data) + len(attributes))
	}
	d.u32(n.cookie, "cookie")
	d.u64(n.key, "key")
	d.u32(size, "size")
	if version > 1 && size > 0 {
		d.u32(uint32(len(n.data)), "data size")
	}
	if len(n.data) > 0 {
		d.raw(n.data, fmt.Sprintf("data %.40q", n.data))
	}
	if version > 1 && size > 0 {
		for _, a := range describe {
			d.raw(a.bytes, a.what)
		}
	}
	crc := n.crc
	if crc == 0 {
		crc = crc32.Checksum(n.data, crc32.MakeTable(crc32.Castagnoli))
	}
	if n.masked {
		d.u32((crc>>15|crc<<17)+0xa282ead8, fmt.Sprintf("checksum, older form of crc32c %08x", crc))
	} else {
		d.u32(crc, "checksum, crc32c")
	}
	if version == 3 {
		d.u64(n.appendAtNs, "append time in unix ns")
	}
	d.raw(make([]byte, 8-len(d.data)%8), "padding")
	return uint32(start / 8), size
}

type drawnField struct {
	bytes []byte
	what  string
}

func (n *drawnNeedle) attributes() (all []byte, describe []drawnField) {
	flags := n.flags
	field := func(flag byte, b []byte, what string) {
		flags |= flag
		describe = append(describe, drawnField{b, what})
	}
	describe = append(describe, drawnField{}) // the flags
	if n.name != "" {
		field(0x02, append([]byte{byte(len(n.name))}, n.name...), fmt.Sprintf("name %q", n.name))
	}
	if n.mime != "" {
		field(0x04, append([]byte{byte(len(n.mime))}, n.mime...), fmt.Sprintf("mime %q", n.mime))
	}
	if n.mtime != 0 {
		field(0x08, binary.BigEndian.AppendUint64(nil, n.mtime)[3:], "last modified, unix seconds")
	}
	if n.ttl != "" {
		field(0x10, []byte(n.ttl), "ttl: count, unit")
	}
	if n.pairs != "" {
		field(0x20, append(binary.BigEndian.AppendUint16(nil, uint16(len(n.pairs))), n.pairs...), "pairs "+n.pairs)
	}
	describe[0] = drawnField{[]byte{flags}, "flags"}
	for _, f := range describe {
		all = append(all, f.bytes...)
	}
	return all, describe
}

// entry draws one `.idx` entry.
func (d *drawing) entry(key uint64, offset uint32, size int32, what string) {
	d.raw(idxBytes(key, offset, size), what)
}

func idxBytes(key uint64, offset uint32, size int32) []byte {
	b := binary.BigEndian.AppendUint64(nil, key)
	b = binary.BigEndian.AppendUint32(b, offset)
	return binary.BigEndian.AppendUint32(b, uint32(size))
}
