package volume

import (
	"bytes"
	"io"

	"github.com/valyala/fasthttp"

	"weed/internal/httprange"
)

// writeRanges makes several ranges the answer's body, as multipart/byteranges. Content-Type must be set to
// that of the content.
func (c *content) writeRanges(ctx *fasthttp.RequestCtx, ranges []httprange.Range) {
	h := &ctx.Response.Header
	m := &httprange.Multipart{
		Boundary:    httprange.NewBoundary(),
		ContentType: string(h.ContentType()),
		Size:        c.size,
		Ranges:      ranges,
	}
	h.SetContentTypeBytes(m.AppendContentType(nil))
	ctx.Response.SetBodyStream(&rangesReader{content: c.detach(), layout: m}, int(m.Length()))
}

// ascending says whether each range lies behind the one before.
func ascending(ranges []httprange.Range) bool {
	for i := 1; i < len(ranges); i++ {
		if ranges[i].Start < ranges[i-1].Start+ranges[i-1].Length {
			return false
		}
	}
	return true
}

// rangesReader streams a multipart/byteranges body. It opens each range only when its turn comes; of a
// content that can only be read forward it opens one stream, which the ranges share.
type rangesReader struct {
	content *content
	layout  *httprange.Multipart
	next    int       // the range to open next
	part    io.Reader // what is being read, nil between pieces
	ended   bool      // the end marker has been opened
	source  io.ReadCloser
	at      int64 // where in the content source stands
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
			r.part, err = nil, nil
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
		return r.closeSource()
	}
	header := bytes.NewReader(r.layout.AppendPartHeader(nil, r.next))
	at := r.layout.Ranges[r.next]
	r.next++
	if c := r.content; c.blob == nil && c.open == nil {
		r.part = io.MultiReader(header, bytes.NewReader(c.needle.Data[at.Start:at.Start+at.Length]))
		return nil
	}
	if err := r.seek(at); err != nil {
		return err
	}
	r.part = io.MultiReader(header, io.LimitReader(r.source, at.Length))
	r.at = at.Start + at.Length
	return nil
}

// seek makes source stand at the beginning of a range.
func (r *rangesReader) seek(to httprange.Range) error {
	if r.source != nil && r.content.forward {
		return skip(r.source, to.Start-r.at)
	}
	if err := r.closeSource(); err != nil {
		return err
	}
	length := to.Length
	if r.content.forward {
		last := r.layout.Ranges[len(r.layout.Ranges)-1]
		length = last.Start + last.Length - to.Start
	}
	var err error
	r.source, err = r.content.reader(to.Start, length)
	return err
}

func (r *rangesReader) closeSource() error {
	if r.source == nil {
		return nil
	}
	source := r.source
	r.source = nil
	return source.Close()
}

// Close ends the stream, also in the middle.
func (r *rangesReader) Close() error {
	r.part, r.ended = nil, true
	return r.closeSource()
}
