package imaging

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	maxSegments = 1000       // of a JPEG before its first scan
	gifHeader   = 6 + 2*2    // signature, width, height
	pngHeader   = 8 + 8 + 13 // signature, chunk header, IHDR
)

// Inspect reads the header of a picture. It is stricter than the decoders, so that what they allocate is what
// the header says. Anything but a picture is ErrNotPicture, also when it can't be read.
func Inspect(r io.Reader) (Info, error) {
	b := bufio.NewReaderSize(r, 4096)
	head, _ := b.Peek(pngHeader) // a shorter one fits no format below, or fails there
	var info Info
	var err error
	switch {
	case len(head) >= 2 && string(head[:2]) == "\xff\xd8":
		_, _ = b.Discard(2)
		info, err = inspectJPEG(b)
	case len(head) >= pngHeader && string(head[:8]) == "\x89PNG\r\n\x1a\n" && string(head[8:16]) == "\x00\x00\x00\x0dIHDR":
		info, err = inspectPNG(head[16:])
	case len(head) >= gifHeader && (string(head[:6]) == "GIF87a" || string(head[:6]) == "GIF89a"):
		info = Info{Format: GIF, Width: int(binary.LittleEndian.Uint16(head[6:])), Height: int(binary.LittleEndian.Uint16(head[8:]))}
		info.decodedBytes = 5 * info.pixels() // the frame, and the screen that it is put on
	default:
		return Info{}, ErrNotPicture
	}
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	if info.Width <= 0 || info.Height <= 0 {
		return Info{}, fmt.Errorf("%w: it has no pixels", ErrNotPicture)
	}
	if info.Orientation == 0 {
		info.Orientation = 1
	}
	return info, nil
}

func (i Info) pixels() int64 { return int64(i.Width) * int64(i.Height) }

func inspectPNG(ihdr []byte) (Info, error) {
	width, height := binary.BigEndian.Uint32(ihdr), binary.BigEndian.Uint32(ihdr[4:])
	if width > 1<<30 || height > 1<<30 {
		return Info{}, fmt.Errorf("%d by %d pixels", width, height)
	}
	info := Info{Format: PNG, Width: int(width), Height: int(height)}
	bytes := int64(4)
	if ihdr[8] == 16 { // bits of a sample
		bytes = 8
	}
	if ihdr[12] != 0 { // interlaced: a pass is decoded beside the whole
		bytes *= 2
	}
	info.decodedBytes = bytes * info.pixels()
	return info, nil
}

// inspectJPEG reads the segments up to the first scan. r stands behind the signature.
func inspectJPEG(r *bufio.Reader) (Info, error) {
	info := Info{Format: JPEG}
	var frame []byte
	var progressive, adobe bool
	for range maxSegments {
		marker, size, err := nextSegment(r)
		if err != nil {
			return info, err
		}
		segment := make([]byte, size) // at most 64 KiB
		if _, err := io.ReadFull(r, segment); err != nil {
			return info, err
		}
		switch {
		case marker == 0xda:
			return info, info.readFrame(frame, progressive, adobe)
		case marker >= 0xc0 && marker <= 0xc2:
			if frame != nil {
				return info, errors.New("a second frame")
			}
			frame, progressive = segment, marker == 0xc2
		case marker == 0xe1 && info.Orientation == 0:
			info.Orientation = exifOrientation(segment)
		case marker == 0xee:
			adobe = true
		case marker == 0xc4, marker == 0xdb, marker == 0xdd, marker >= 0xe0 && marker <= 0xef, marker == 0xfe:
		default:
			return info, fmt.Errorf("marker %x before the first scan", marker)
		}
	}
	return info, fmt.Errorf("more than %d segments before the first scan", maxSegments)
}

// nextSegment reads a marker and the length of what follows.
func nextSegment(r *bufio.Reader) (marker byte, size int, err error) {
	if marker, err = r.ReadByte(); err != nil {
		return 0, 0, err
	}
	if marker != 0xff {
		return 0, 0, fmt.Errorf("byte %x where a marker should be", marker)
	}
	for marker == 0xff { // any number of them
		if marker, err = r.ReadByte(); err != nil {
			return 0, 0, err
		}
	}
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return 0, 0, err
	}
	size = int(binary.BigEndian.Uint16(length[:])) - len(length)
	if size < 0 {
		return 0, 0, fmt.Errorf("segment %x of %d bytes", marker, size)
	}
	return marker, size, nil
}

// readFrame reads size and components of a JPEG. adobe says that the colours may be other than YCbCr.
func (i *Info) readFrame(frame []byte, progressive, adobe bool) error {
	if len(frame) < 6 {
		return io.ErrUnexpectedEOF
	}
	i.Height, i.Width = int(binary.BigEndian.Uint16(frame[1:])), int(binary.BigEndian.Uint16(frame[3:]))
	components := int(frame[5])
	if components < 1 || components > 4 || len(frame) != 6+3*components {
		return fmt.Errorf("%d components", components)
	}
	var samples, h, v int64 // per group of h by v pixels
	for c := range components {
		factors := frame[6+3*c+1]
		ch, cv := int64(factors>>4), int64(factors&15)
		if ch < 1 || cv < 1 || ch > 4 || cv > 4 {
			return fmt.Errorf("sampling factors %x", factors)
		}
		if c > 0 && factors != 0x11 {
			adobe = true // the decoder may keep all components in full
		}
		samples, h, v = samples+ch*cv, max(h, ch), max(v, cv)
	}
	blocks := roundUp(int64(i.Width), 8*h) * roundUp(int64(i.Height), 8*v) // pixels of whole groups of blocks
	i.decodedBytes = samples * blocks / (h * v)
	if progressive { // the coefficients of the whole picture are kept, four bytes each
		i.decodedBytes *= 5
	}
	if adobe || components == 4 || components == 3 && frame[6] == 'R' {
		i.decodedBytes += 4 * blocks // and are converted
	}
	return nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
