package upload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
)

var (
	// ErrTooLarge: the content is longer than the limit given to Gunzip.
	ErrTooLarge = errors.New("decompressed content is larger than allowed")
	// ErrNotGzip: the bytes are not a complete gzip stream.
	ErrNotGzip = errors.New("not a valid gzip stream")
)

const (
	minGzip    = 128      // below it headers eat what is gained
	gzipSample = 8 << 10  // decides whether the rest is worth the time
	gzipChunk  = 64 << 10 // between two looks at whether it still pays
)

// Gzip appends the gzip form of src to dst when that saves at least a tenth of src; else it returns dst
// unchanged and false. Content that does not compress costs about the time of its first 8 KiB. At most
// GOMAXPROCS calls work at a time, the others wait: the work is bound to the processor, and each encoder
// holds about a megabyte.
func Gzip(dst, src []byte) ([]byte, bool) {
	if len(src) < minGzip {
		return dst, false
	}
	e := <-encoders()
	if e == nil {
		e = newEncoder()
	}
	out, ok := e.encode(dst, src)
	encoders() <- e
	if !ok {
		return dst, false
	}
	return out, true
}

// encoders is the bounded pool: it holds one slot per processor, nil until first used.
var encoders = sync.OnceValue(func() chan *encoder {
	slots := make(chan *encoder, runtime.GOMAXPROCS(0))
	for range cap(slots) {
		slots <- nil
	}
	return slots
})

// encoder writes gzip to its own out, up to room more bytes.
type encoder struct {
	gz   *gzip.Writer
	out  []byte
	room int
}

func newEncoder() *encoder {
	gz, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant of the same package
	}
	return &encoder{gz: gz}
}

func (e *encoder) encode(dst, src []byte) (out []byte, ok bool) {
	e.out, e.room = dst, len(src)-(len(src)+9)/10
	e.gz.Reset(e)
	defer func() { e.out = nil }()
	if len(src) > 2*gzipSample {
		before := len(e.out)
		if _, err := e.gz.Write(src[:gzipSample]); err != nil || e.gz.Flush() != nil {
			return nil, false
		}
		// A sample alone does a little worse than the whole, so it may miss the goal by half.
		if len(e.out)-before > gzipSample-gzipSample/20 {
			return nil, false
		}
		src = src[gzipSample:]
	}
	for len(src) > 0 {
		n := min(len(src), gzipChunk)
		if _, err := e.gz.Write(src[:n]); err != nil {
			return nil, false
		}
		src = src[n:]
	}
	if err := e.gz.Close(); err != nil {
		return nil, false
	}
	return e.out, true
}

var errNoGain = errors.New("compression gains too little")

// Write takes compressed bytes, and refuses them once they outweigh the gain.
func (e *encoder) Write(p []byte) (int, error) {
	if len(p) > e.room {
		return 0, errNoGain
	}
	e.room -= len(p)
	e.out = append(e.out, p...)
	return len(p), nil
}

// maxRatio is about the best that deflate can do: 258 bytes for two bits.
const maxRatio = 1032

// Gunzip appends the content of a gzip stream, all its members, to dst. It returns ErrTooLarge when the
// content is longer than limit bytes, ErrNotGzip when the stream is damaged, cut short or followed by
// anything else; dst is then as it was. Memory stays within dst, limit and about 64 KiB per running call.
func Gunzip(dst, src []byte, limit int) ([]byte, error) {
	limit = max(0, min(limit, math.MaxInt/4))
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	defer d.src.Reset(nil) // the pool must not keep the caller's bytes
	d.src.Reset(src)
	if !d.nextMember() {
		return dst, ErrNotGzip
	}
	out := dst
	if cap(out)-len(out) < sizeHint(src, limit) {
		out = append(make([]byte, 0, len(dst)+sizeHint(src, limit)), dst...)
	}
	end := len(dst) + limit
	for {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		// One byte of room beyond the limit is enough to see that there is more.
		n, err := d.gz.Read(out[len(out):min(cap(out), end+1)])
		out = out[:len(out)+n]
		switch {
		case len(out) > end:
			return dst, ErrTooLarge
		case err == io.EOF && d.src.Len() == 0:
			return out, nil
		case err != nil && (err != io.EOF || !d.nextMember()):
			return dst, ErrNotGzip
		}
	}
}

// sizeHint trusts the length at the end of the stream as far as the stream could possibly expand.
func sizeHint(src []byte, limit int) int {
	if len(src) < 18 {
		return 0
	}
	size := int64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	return int(min(size+1, int64(limit)+1, int64(len(src))*maxRatio))
}

// decoder keeps a reader's window and tables from one call to the next.
type decoder struct {
	gz  gzip.Reader
	src bytes.Reader
}

// nextMember reads the header of a member. Members are taken one by one because the reader, left to itself,
// takes a stream that ends inside the header of a further one for complete.
func (d *decoder) nextMember() bool {
	if d.gz.Reset(&d.src) != nil {
		return false
	}
	d.gz.Multistream(false)
	return true
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}
