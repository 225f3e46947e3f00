package volume

import (
	"bytes"
	"errors"
	"io"

	"weed/internal/httprange"
)

// rangesReader streams a multipart/byteranges body. It opens each range only when its turn comes.
type rangesReader struct {
	content *content
	layout  *httprange.Multipart
	next    int       // the range to open next
	part    io.Reader // what is being read, nil between pieces
	closer  io.Closer // of part
	ended   bool      // the end marker has been opened
}

func (r *rangesReader) Read(b []byte) (int, error) {
	for {
		if r.part == nil {
			if r.ended {
				return 0, io.EOF
			}
			if err := r.advance(); err != nil {
				return 0, err
			}
		}
		n, err := r.part.Read(b)
		if err == io.EOF {
			err = r.closePart()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// advance opens the next range behind its part header, or the end marker.
func (r *rangesReader) advance() error {
	if r.next == len(r.layout.Ranges) {
		r.part, r.ended = bytes.NewReader(r.layout.AppendEnd(nil)), true
		return nil
	}
	header := bytes.NewReader(r.layout.AppendPartHeader(nil, r.next))
	at := r.layout.Ranges[r.next]
	r.next++
	c := r.content
	if c.blob == nil && c.open == nil {
		r.part = io.MultiReader(header, bytes.NewReader(c.needle.Data[at.Start:at.Start+at.Length]))
		return nil
	}
	body, err := c.reader(at.Start, at.Length)
	if err != nil {
		return err
	}
	r.part, r.closer = io.MultiReader(header, io.LimitReader(body, at.Length)), body
	return nil
}

func (r *rangesReader) closePart() error {
	r.part = nil
	if r.closer == nil {
		return nil
	}
	closer := r.closer
	r.closer = nil
	return closer.Close()
}

// Close ends the stream, also in the middle.
func (r *rangesReader) Close() error {
	r.ended = true
	return r.closePart()
}

// skip reads and forgets n bytes.
func skip(r io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, r, n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
