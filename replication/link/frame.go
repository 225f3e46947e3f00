package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"weed/internal/blob"
	"weed/replication"
)

const (
	// MaxFrame is the size in bytes of the largest frame, with its checksum.
	MaxFrame = 2 << 20

	headBytes    = 8                 // checksum and size
	messageBytes = 4 + 4 + 4*8 + 3*8 // of the fixed fields of a message
	leaseBytes   = 4 + 3*8
	varintBytes  = binary.MaxVarintLen64

	tagMessage = 1
	tagLease   = 2

	partConfig  = 1
	partHistory = 2
	partOrigin  = 4
	partListed  = 1
	partGranted = 2
)

// ErrFrame means that a frame breaks the format, or that what is to be sent can't be put in one.
var ErrFrame = errors.New("broken frame")

// errUnread means that the source does not have the bytes of an append any more, or not yet.
var errUnread = errors.New("the bytes of an append are not there")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Source has the logs whose bytes go out. It is called by several goroutines.
type Source interface {
	// ReadLog fills p with the bytes of the volume's log from offset on and returns how many there were. With
	// fewer than len(p), or an error, the message that they were for is dropped. Bytes below where the log was
	// compacted are those of a log of an origin; else it is nil.
	ReadLog(v blob.VolumeID, offset int64, p []byte, of *replication.Origin) (int, error)
}

// Frame is what one server tells another: a message of the group of Volume or, if Lease is there, that.
type Frame struct {
	Volume blob.VolumeID
	// Message, when it is sent, has no Bytes: those of an append are the log's from Offset on, Size.
	Message replication.Message
	Lease   *replication.LeaseMessage

	hold *buffer // in which the bytes of a received append lie
}

// Release gives back the memory of Message.Bytes, which must not be touched any more. It is to be called once for
// each frame that was received, and may be called by any goroutine.
func (f Frame) Release() {
	if f.hold != nil {
		f.hold.release()
	}
}

// bound returns a number of bytes in which the frame certainly finds room.
func (f *Frame) bound() int {
	if l := f.Lease; l != nil {
		return headBytes + leaseBytes + 2*varintBytes + 2*varintBytes*len(l.Claims) + varintBytes*len(l.Except)
	}
	n := headBytes + messageBytes
	if c := f.Message.Config; c != nil {
		n += 4*varintBytes + len(c.Primary)
		for _, m := range c.Members {
			n += varintBytes + len(m)
		}
	}
	if h := f.Message.History; h != nil {
		n += varintBytes + 2*varintBytes*len(h)
	}
	if f.Message.Origin != nil {
		n += 5 * varintBytes
	}
	return n + int(min(max(f.Message.Size, 0), MaxFrame))
}

// appendFrame appends the frame to dst, which must have room for f.bound() bytes, with the bytes of an append from
// the source. On an error what lies behind dst is undefined.
func appendFrame(dst []byte, f *Frame, source Source) ([]byte, error) {
	start := len(dst)
	var err error
	b := dst[:start+headBytes]
	if f.Lease != nil {
		b, err = appendLease(b, f.Lease)
	} else {
		b, err = appendMessage(b, f, source)
	}
	if err != nil {
		return nil, err
	}
	size := len(b) - start
	if size > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", ErrFrame, size)
	}
	binary.LittleEndian.PutUint32(b[start+4:], uint32(size-headBytes))
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b, nil
}

func appendMessage(b []byte, f *Frame, source Source) ([]byte, error) {
	m := &f.Message
	if m.Kind == 0 || m.Size < 0 || m.Size > MaxFrame || m.Size > 0 && m.Kind != replication.MsgAppend {
		return nil, fmt.Errorf("%w: message of kind %d with %d bytes", ErrFrame, m.Kind, m.Size)
	}
	parts := byte(0)
	if m.Config != nil {
		parts |= partConfig
	}
	if len(m.History) > 0 {
		parts |= partHistory
	}
	if m.Origin != nil {
		parts |= partOrigin
	}
	b = append(b, tagMessage, byte(m.Kind), parts, 0)
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(f.Volume))
	b = le.AppendUint64(b, m.Epoch)
	b = le.AppendUint64(b, m.Round)
	b = le.AppendUint64(b, m.Life)
	b = le.AppendUint64(b, m.Complete)
	b = le.AppendUint64(b, uint64(m.Offset))
	b = le.AppendUint64(b, uint64(m.Length))
	b = le.AppendUint64(b, uint64(m.Committed))
	if c := m.Config; c != nil {
		if c.Copies < 0 || c.Copies > math.MaxInt32 {
			return nil, fmt.Errorf("%w: %d copies", ErrFrame, c.Copies)
		}
		b = binary.AppendUvarint(b, c.Epoch)
		b = binary.AppendUvarint(b, uint64(c.Copies))
		b = appendServer(b, c.Primary)
		b = binary.AppendUvarint(b, uint64(len(c.Members)))
		for _, s := range c.Members {
			b = appendServer(b, s)
		}
	}
	if len(m.History) > 0 {
		b = binary.AppendUvarint(b, uint64(len(m.History)))
		for _, e := range m.History {
			b = binary.AppendUvarint(b, e.Epoch)
			b = binary.AppendVarint(b, e.Start)
		}
	}
	if o := m.Origin; o != nil {
		b = binary.AppendUvarint(b, uint64(o.Revision))
		b = binary.AppendVarint(b, o.Floor)
		b = binary.AppendVarint(b, o.Skipped)
		b = binary.AppendVarint(b, o.AsOf)
		b = binary.AppendUvarint(b, uint64(o.Sum))
	}
	if m.Size == 0 {
		return b, nil
	}
	end := len(b) + int(m.Size)
	n, err := source.ReadLog(f.Volume, m.Offset, b[len(b):end:end], m.Origin)
	if int64(n) < m.Size {
		return nil, fmt.Errorf("%w: %d of %d from %d on of volume %v: %v", errUnread, n, m.Size, m.Offset, f.Volume, err)
	}
	return b[:end], nil
}

func appendServer(b []byte, s replication.Server) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendLease(b []byte, l *replication.LeaseMessage) ([]byte, error) {
	if l.Kind == 0 {
		return nil, fmt.Errorf("%w: lease message without a kind", ErrFrame)
	}
	parts := byte(0)
	if l.Listed {
		parts |= partListed
	}
	if l.Granted {
		parts |= partGranted
	}
	b = append(b, tagLease, byte(l.Kind), parts, 0)
	b = binary.LittleEndian.AppendUint64(b, l.Life)
	b = binary.LittleEndian.AppendUint64(b, l.Seq)
	b = binary.LittleEndian.AppendUint64(b, l.Hash)
	b = binary.AppendUvarint(b, uint64(len(l.Claims)))
	for _, c := range l.Claims {
		b = binary.AppendUvarint(b, uint64(c.Volume))
		b = binary.AppendUvarint(b, c.Epoch)
	}
	b = binary.AppendUvarint(b, uint64(len(l.Except)))
	for _, v := range l.Except {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b, nil
}
