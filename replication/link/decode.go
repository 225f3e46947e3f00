package link

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"weed/internal/blob"
	"weed/replication"
)

// frameSize returns how many bytes the frame that begins b has, and 0 if b is too short to tell.
func frameSize(b []byte) (int, error) {
	if len(b) < headBytes {
		return 0, nil
	}
	size := binary.LittleEndian.Uint32(b[4:])
	if size == 0 || size > MaxFrame-headBytes {
		return 0, fmt.Errorf("%w: body of %d bytes", ErrFrame, size)
	}
	return headBytes + int(size), nil
}

// decodeFrame reads a whole frame. The bytes of an append alias b.
func decodeFrame(b []byte, f *Frame) error {
	if got := crc32.Checksum(b[4:], castagnoli); got != binary.LittleEndian.Uint32(b) {
		return fmt.Errorf("%w: checksum", ErrFrame)
	}
	*f = Frame{}
	d := decoder{b: b[headBytes:]}
	switch tag := d.b[0]; tag {
	case tagMessage:
		d.message(f)
	case tagLease:
		f.Lease = d.lease()
	default:
		return fmt.Errorf("%w: tag %d", ErrFrame, tag)
	}
	if d.broken == "" && len(d.b) > 0 {
		d.broken = "more than there should be"
	}
	if d.broken != "" {
		return fmt.Errorf("%w: %s", ErrFrame, d.broken)
	}
	return nil
}

// A decoder takes fields off b. After the first that is broken all others are zero.
type decoder struct {
	b      []byte
	broken string
}

func (d *decoder) fail(why string) {
	if d.broken == "" {
		d.broken = why
	}
	d.b = nil
}

// take returns the next n bytes, or nil if there are fewer.
func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.fail("cut off")
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

// head takes the first four bytes of a body, of which the tag is known. What a kind means is not judged here: the
// protocol leaves alone what it does not know.
func (d *decoder) head(known byte) (kind, parts byte) {
	p := d.take(4)
	switch {
	case p == nil:
		return 0, 0
	case p[1] == 0:
		d.fail("no kind")
	case p[2]&^known != 0 || p[3] != 0:
		d.fail("unknown part")
	}
	return p[1], p[2]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("varint")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count takes the number of things that follow, each of at least so many bytes: what is made for them is in
// proportion to the frame.
func (d *decoder) count(each int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/each) {
		d.fail("count")
		return 0
	}
	return int(n)
}

func (d *decoder) server() replication.Server {
	return replication.Server(d.take(d.count(1)))
}

func (d *decoder) volume() blob.VolumeID {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail("volume")
	}
	return blob.VolumeID(v)
}

func (d *decoder) message(f *Frame) {
	m := &f.Message
	kind, parts := d.head(partConfig | partHistory | partOrigin)
	m.Kind = replication.Kind(kind)
	p := d.take(messageBytes - 4)
	if p == nil {
		return
	}
	le := binary.LittleEndian
	f.Volume = blob.VolumeID(le.Uint32(p))
	m.Epoch, m.Round = le.Uint64(p[4:]), le.Uint64(p[12:])
	m.Life, m.Complete = le.Uint64(p[20:]), le.Uint64(p[28:])
	m.Offset, m.Length, m.Committed = int64(le.Uint64(p[36:])), int64(le.Uint64(p[44:])), int64(le.Uint64(p[52:]))
	if parts&partConfig != 0 {
		m.Config = d.config()
	}
	if parts&partHistory != 0 {
		m.History = d.history()
	}
	if parts&partOrigin != 0 {
		m.Origin = d.origin()
	}
	if m.Kind == replication.MsgAppend && len(d.b) > 0 {
		m.Bytes, m.Size = d.b[:len(d.b):len(d.b)], int64(len(d.b))
		d.b = nil
	}
}

func (d *decoder) config() *replication.Config {
	c := &replication.Config{Epoch: d.uvarint()}
	copies := d.uvarint()
	if copies > math.MaxInt32 {
		d.fail("copies")
	}
	c.Copies = int(copies)
	c.Primary = d.server()
	if n := d.count(1); n > 0 {
		c.Members = make([]replication.Server, n)
		for i := range c.Members {
			c.Members[i] = d.server()
		}
	}
	return c
}

func (d *decoder) origin() *replication.Origin {
	revision := d.uvarint()
	o := &replication.Origin{Revision: uint16(revision), Floor: d.varint(), Skipped: d.varint(), AsOf: d.varint()}
	sum := d.uvarint()
	if o.Sum = uint32(sum); revision > math.MaxUint16 || sum > math.MaxUint32 {
		d.fail("origin")
	}
	return o
}

func (d *decoder) history() replication.History {
	n := d.count(2)
	if n == 0 {
		d.fail("empty history")
		return nil
	}
	h := make(replication.History, n)
	for i := range h {
		h[i] = replication.Era{Epoch: d.uvarint(), Start: d.varint()}
	}
	return h
}

func (d *decoder) lease() *replication.LeaseMessage {
	kind, parts := d.head(partListed | partGranted)
	l := &replication.LeaseMessage{
		Kind: replication.LeaseKind(kind), Listed: parts&partListed != 0, Granted: parts&partGranted != 0,
	}
	p := d.take(leaseBytes - 4)
	if p == nil {
		return l
	}
	le := binary.LittleEndian
	l.Life, l.Seq, l.Hash = le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:])
	if n := d.count(2); n > 0 {
		l.Claims = make([]replication.Claim, n)
		for i := range l.Claims {
			l.Claims[i] = replication.Claim{Volume: d.volume(), Epoch: d.uvarint()}
		}
	}
	if n := d.count(1); n > 0 {
		l.Except = make([]blob.VolumeID, n)
		for i := range l.Except {
			l.Except[i] = d.volume()
		}
	}
	return l
}
