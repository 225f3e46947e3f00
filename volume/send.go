package volume

import (
	"io"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/upload"
	"weed/storage"
)

// content is what a GET answers with: a needle whose data is in memory, or on disk behind blob, or made by
// open.
type content struct {
	needle *storage.Needle
	blob   *storage.Blob
	// open makes the content's bytes from start on, for what is neither in memory nor in one needle.
	open func(start, length int64) (io.ReadCloser, error)
	size int64 // length in bytes as it is sent when no range is asked for
}

var (
	headerETag           = []byte(fasthttp.HeaderETag)
	headerLastModified   = []byte(fasthttp.HeaderLastModified)
	headerAcceptRanges   = []byte(fasthttp.HeaderAcceptRanges)
	headerContentType    = []byte(fasthttp.HeaderContentType)
	headerContentRange   = []byte(fasthttp.HeaderContentRange)
	headerDisposition    = []byte(fasthttp.HeaderContentDisposition)
	valueBytes           = []byte("bytes")
	defaultMime          = "application/octet-stream"
	sniffBytes           = 512
	maxMemoryInflateSize = int64(1 << 20)
)

// send answers with the content: conditions first, then ranges, then the whole.
func (s *Server) send(ctx *fasthttp.RequestCtx, p *blob.Path, c *content, r *reader) {
	n, h := c.needle, &ctx.Response.Header
	setPairs(h, n.Pairs)
	r.text = appendETag(r.text[:0], n.Checksum)
	etag := len(r.text)
	h.SetCanonical(headerETag, r.text)
	if n.LastModified > 0 {
		r.text = httprange.AppendDate(r.text, n.LastModified)
		h.SetCanonical(headerLastModified, r.text[etag:])
	}
	h.SetCanonical(headerAcceptRanges, valueBytes)

	outcome := httprange.Full
	if conditions, any := conditionsOf(&ctx.Request.Header); any {
		outcome = httprange.Evaluate(string(ctx.Method()), conditions, string(r.text[:etag]), n.LastModified)
	}
	if n.Gzipped {
		h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	}
	switch outcome {
	case httprange.NotModified:
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	case httprange.PreconditionFailed:
		ctx.SetStatusCode(fasthttp.StatusPreconditionFailed)
		return
	}
	if n.Gzipped {
		if outcome == httprange.Full && acceptsGzip(ctx.Request.Header.Peek(fasthttp.HeaderAcceptEncoding)) {
			h.Set(fasthttp.HeaderContentEncoding, "gzip")
		} else if err := c.inflate(); err != nil {
			s.fail(ctx, err)
			return
		}
	}
	r.text = c.describe(ctx, p, r.text[:0])
	if outcome == httprange.Partial {
		ranges, err := httprange.Parse(ctx.Request.Header.Peek(fasthttp.HeaderRange), c.size)
		if err != nil {
			h.SetCanonical(headerContentRange, httprange.AppendUnsatisfied(nil, c.size))
			h.Del(fasthttp.HeaderContentDisposition)
			s.fail(ctx, err)
			return
		}
		if len(ranges) > 0 {
			s.sendRanges(ctx, c, ranges)
			return
		}
	}
	if err := c.write(ctx, 0, c.size); err != nil {
		s.fail(ctx, err)
	}
}

// conditionsOf gathers the conditional fields; any is false when there are none, the common case.
func conditionsOf(h *fasthttp.RequestHeader) (c httprange.Conditions, any bool) {
	c = httprange.Conditions{
		IfMatch:           h.Peek(fasthttp.HeaderIfMatch),
		IfNoneMatch:       h.Peek(fasthttp.HeaderIfNoneMatch),
		IfModifiedSince:   h.Peek(fasthttp.HeaderIfModifiedSince),
		IfUnmodifiedSince: h.Peek(fasthttp.HeaderIfUnmodifiedSince),
		IfRange:           h.Peek(fasthttp.HeaderIfRange),
		Range:             h.Peek(fasthttp.HeaderRange),
	}
	any = len(c.IfMatch)+len(c.IfNoneMatch)+len(c.IfModifiedSince)+len(c.IfUnmodifiedSince)+len(c.Range) > 0
	return c, any
}

// describe sets Content-Type and Content-Disposition. The type is the stored one, else what the name's
// extension means, else what the first bytes look like. It returns scratch, grown.
func (c *content) describe(ctx *fasthttp.RequestCtx, p *blob.Path, scratch []byte) []byte {
	h, n := &ctx.Response.Header, c.needle
	name := n.Name
	if p.Name != "" {
		name = []byte(p.Name)
	}
	switch {
	case len(n.Mime) > 0:
		h.SetContentTypeBytes(n.Mime)
	default:
		mime := upload.TypeByName(name)
		if mime == "" && p.Ext != "" {
			mime = upload.TypeByName(p.Ext)
		}
		if mime == "" {
			mime = c.sniff()
		}
		h.SetContentType(mime)
	}
	download := isTrue(ctx.QueryArgs().Peek("dl"))
	if len(name) > 0 || download {
		scratch = appendDisposition(scratch[:0], download, name)
		h.SetCanonical(headerDisposition, scratch)
	}
	return scratch
}

func (c *content) sniff() string {
	n := c.needle
	if n.Gzipped {
		return defaultMime // the bytes at hand may be compressed
	}
	if c.blob == nil {
		return upload.Sniff(n.Data[:min(len(n.Data), sniffBytes)])
	}
	b := make([]byte, min(c.blob.DataSize(), int64(sniffBytes)))
	if _, err := c.blob.ReadAt(b, 0); err != nil {
		return defaultMime
	}
	return upload.Sniff(b)
}

// write makes length bytes from start on the answer's body.
func (c *content) write(ctx *fasthttp.RequestCtx, start, length int64) error {
	if ctx.IsHead() {
		ctx.Response.SkipBody = true
		ctx.Response.Header.SetContentLength(int(length))
		return nil
	}
	if c.open == nil && c.blob == nil {
		ctx.Response.SetBody(c.needle.Data[start : start+length])
		return nil
	}
	body, err := c.reader(start, length)
	if err != nil {
		return err
	}
	ctx.Response.SetBodyStream(body, int(length))
	return nil
}

// reader returns length bytes from start on as a stream. For a needle on disk that is an *os.File of its
// own at the right place, which fasthttp hands to sendfile, where the file system has one; such a file
// goes on behind the length, and its reader must stop by itself.
func (c *content) reader(start, length int64) (io.ReadCloser, error) {
	if c.open != nil {
		return c.open(start, length)
	}
	f, ok, err := c.blob.File(start)
	if err != nil {
		return nil, err
	}
	if ok {
		return f, nil
	}
	return io.NopCloser(io.NewSectionReader(c.blob, start, length)), nil
}

// sendRanges answers 206: one range as it is, several as multipart/byteranges.
func (s *Server) sendRanges(ctx *fasthttp.RequestCtx, c *content, ranges []httprange.Range) {
	h := &ctx.Response.Header
	ctx.SetStatusCode(fasthttp.StatusPartialContent)
	if len(ranges) == 1 {
		h.SetCanonical(headerContentRange, httprange.AppendContentRange(nil, ranges[0], c.size))
		if err := c.write(ctx, ranges[0].Start, ranges[0].Length); err != nil {
			s.fail(ctx, err)
		}
		return
	}
	m := &httprange.Multipart{
		Boundary:    httprange.NewBoundary(),
		ContentType: string(h.ContentType()),
		Size:        c.size,
		Ranges:      ranges,
	}
	h.SetContentTypeBytes(m.AppendContentType(nil))
	ctx.Response.SetBodyStream(&rangesReader{content: c.detach(), layout: m}, int(m.Length()))
}

// detach returns a content whose bytes outlive the request's scratch memory.
func (c *content) detach() *content {
	d := *c
	if d.blob == nil && d.open == nil {
		n := *c.needle
		n.Data = append([]byte(nil), n.Data...)
		d.needle = &n
	}
	return &d
}
