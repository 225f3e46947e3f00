package volume

import (
	"bytes"
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
	// open makes length of the content's bytes from start on, for what is neither in memory nor in one needle.
	open func(start, length int64) (io.ReadCloser, error)
	// forward says that open has to work through all that lies before start.
	forward bool
	size    int64     // length in bytes as it is sent when no range is asked for
	variant string    // what tells the entity tag from that of the blob, if the content was made of it
	held    *heldData // the claim on needle.Data, if it has one
}

// Header names in the spelling that fasthttp looks for, so that it need not normalise them.
var (
	headerETag              = []byte(fasthttp.HeaderETag)
	headerLastModified      = []byte(fasthttp.HeaderLastModified)
	headerAcceptRanges      = []byte(fasthttp.HeaderAcceptRanges)
	headerAcceptEncoding    = []byte(fasthttp.HeaderAcceptEncoding)
	headerContentMD5        = []byte("Content-Md5")
	headerContentRange      = []byte(fasthttp.HeaderContentRange)
	headerDisposition       = []byte(fasthttp.HeaderContentDisposition)
	headerIfMatch           = []byte(fasthttp.HeaderIfMatch)
	headerIfNoneMatch       = []byte(fasthttp.HeaderIfNoneMatch)
	headerIfModifiedSince   = []byte(fasthttp.HeaderIfModifiedSince)
	headerIfUnmodifiedSince = []byte(fasthttp.HeaderIfUnmodifiedSince)
	headerIfRange           = []byte(fasthttp.HeaderIfRange)
	headerRange             = []byte(fasthttp.HeaderRange)
	headerVary              = []byte(fasthttp.HeaderVary)
	valueBytes              = []byte("bytes")
)

// send answers with the content: conditions first, then ranges, then the whole. Fields that describe the blob
// are set when nothing can fail any more, so that an error answer never carries them.
func (s *Server) send(ctx *fasthttp.RequestCtx, p *blob.Path, c *content, r *reader) {
	n, h := c.needle, &ctx.Response.Header
	r.text = c.appendTag(r.text[:0])
	etagBytes := len(r.text)
	modified := shownTime(n.LastModified)
	outcome := httprange.Full
	conditions, any := conditionsOf(&ctx.Request.Header)
	if any {
		outcome = httprange.Evaluate(string(ctx.Method()), conditions, string(r.text), modified)
	}
	if outcome == httprange.PreconditionFailed {
		s.fail(ctx, errPrecondition)
		return
	}
	if outcome != httprange.NotModified {
		if err := s.sendBody(ctx, p, c, outcome == httprange.Partial, &conditions); err != nil {
			s.fail(ctx, err)
			return
		}
		r.text = appendName(r.text[:etagBytes], ctx, p, n)
		if len(r.text) > etagBytes {
			h.SetCanonical(headerDisposition, r.text[etagBytes:])
		}
	} else {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
	}
	setPairs(h, n.Pairs)
	h.SetCanonical(headerETag, r.text[:etagBytes])
	if modified > 0 {
		r.text = httprange.AppendDate(r.text[:etagBytes], modified)
		h.SetCanonical(headerLastModified, r.text[etagBytes:])
	}
	h.SetCanonical(headerAcceptRanges, valueBytes)
	if n.Gzipped {
		h.SetCanonical(headerVary, headerAcceptEncoding)
	}
}

// appendTag appends the content's entity tag.
func (c *content) appendTag(dst []byte) []byte {
	dst = appendETag(dst, c.needle.Checksum)
	if c.variant != "" {
		dst = append(append(dst[:len(dst)-1], c.variant...), '"')
	}
	return dst
}

// conditionsOf gathers the conditional fields and Range; any is false when there are none, the common case.
func conditionsOf(h *fasthttp.RequestHeader) (c httprange.Conditions, any bool) {
	c = httprange.Conditions{
		IfMatch:           peekList(h, headerIfMatch),
		IfNoneMatch:       peekList(h, headerIfNoneMatch),
		IfModifiedSince:   h.PeekCanonical(headerIfModifiedSince),
		IfUnmodifiedSince: h.PeekCanonical(headerIfUnmodifiedSince),
		Range:             h.PeekCanonical(headerRange),
	}
	if len(c.IfMatch)+len(c.IfNoneMatch)+len(c.IfModifiedSince)+len(c.IfUnmodifiedSince)+len(c.Range) == 0 {
		return c, false
	}
	c.IfRange = h.PeekCanonical(headerIfRange)
	return c, true
}

// peekList returns a field whose lines make one list together (RFC 9110 section 5.3).
func peekList(h *fasthttp.RequestHeader, name []byte) []byte {
	first := h.PeekCanonical(name)
	if len(first) == 0 {
		return nil
	}
	if lines := h.PeekAll(string(name)); len(lines) > 1 {
		return bytes.Join(lines, []byte(", "))
	}
	return first
}

// sendBody decides on coding and ranges, and makes the body. On an error it leaves nothing of it behind but
// the Content-Range of a 416.
func (s *Server) sendBody(ctx *fasthttp.RequestCtx, p *blob.Path, c *content, partial bool, conditions *httprange.Conditions) error {
	h := &ctx.Response.Header
	coded := c.needle.Gzipped && acceptsGzip(ctx.Request.Header.PeekCanonical(headerAcceptEncoding))
	if coded && partial && len(conditions.IfRange) > 0 {
		// The tag is that of both forms of the content, and ranges count bytes of the plain one. What the
		// client has may be the beginning of the other.
		partial = false
	}
	c.setType(h, p)
	if c.needle.Gzipped && (partial || !coded) {
		if err := c.inflate(); err != nil {
			return err
		}
		coded = false
	}
	var ranges []httprange.Range
	if partial {
		var err error
		if ranges, err = httprange.Parse(conditions.Range, c.size); err != nil {
			h.SetCanonical(headerContentRange, httprange.AppendUnsatisfied(nil, c.size))
			return err
		}
	}
	if c.forward && len(ranges) > 1 && !ascending(ranges) {
		ranges = nil // RFC 9110 section 14.2: a server may ignore Range
	}
	switch len(ranges) {
	case 0:
		if err := c.write(ctx, 0, c.size); err != nil {
			return err
		}
	case 1:
		if err := c.write(ctx, ranges[0].Start, ranges[0].Length); err != nil {
			return err
		}
		ctx.SetStatusCode(fasthttp.StatusPartialContent)
		h.SetCanonical(headerContentRange, httprange.AppendContentRange(nil, ranges[0], c.size))
	default:
		c.writeRanges(ctx, ranges)
		ctx.SetStatusCode(fasthttp.StatusPartialContent)
	}
	if coded {
		h.SetContentEncoding("gzip")
	}
	return nil
}

// setType sets Content-Type: the stored one, else what the name's extension means, else what the first bytes
// look like.
func (c *content) setType(h *fasthttp.ResponseHeader, p *blob.Path) {
	n := c.needle
	if safeMime(n.Mime) {
		h.SetContentTypeBytes(n.Mime)
		return
	}
	mime := ""
	if p.Name != "" {
		mime = upload.TypeByName(p.Name)
	} else if len(n.Name) > 0 {
		mime = upload.TypeByName(n.Name)
	}
	if mime == "" && p.Ext != "" {
		mime = upload.TypeByName(p.Ext)
	}
	if mime == "" {
		mime = c.sniff()
	}
	h.SetContentType(mime)
}

func (c *content) sniff() string {
	n := c.needle
	if n.Gzipped {
		return sniff(c.inflatedHead(sniffBytes))
	}
	if c.blob == nil {
		return sniff(n.Data)
	}
	b := make([]byte, min(c.blob.DataSize(), sniffBytes))
	if _, err := c.blob.ReadAt(b, 0); err != nil {
		return defaultMime
	}
	return sniff(b)
}

// appendName appends a Content-Disposition where the blob or the path has a name, or the client wants to
// download. A name in the path counts before the stored one.
func appendName(dst []byte, ctx *fasthttp.RequestCtx, p *blob.Path, n *storage.Needle) []byte {
	download := len(ctx.URI().QueryString()) > 0 && isTrue(ctx.QueryArgs().Peek("dl"))
	name := n.Name
	if p.Name != "" {
		name = cleanName(p.Name)
	}
	if len(name) == 0 && !download {
		return dst
	}
	return appendDisposition(dst, download, name)
}

// write makes length bytes from start on the answer's body.
func (c *content) write(ctx *fasthttp.RequestCtx, start, length int64) error {
	if ctx.IsHead() {
		ctx.Response.SkipBody = true
		ctx.Response.Header.SetContentLength(int(length))
		return nil
	}
	if c.held != nil {
		c.held.body(ctx, c.needle.Data[start:start+length])
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

// limited is reader for those who do not stop by themselves.
func (c *content) limited(start, length int64) (io.ReadCloser, error) {
	body, err := c.reader(start, length)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, length), body}, nil
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
