package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// maxRedirects bounds the servers that pass one read on.
const maxRedirects = 5

// Meta is what is told about a blob along with its bytes.
type Meta struct {
	Size         int64 // bytes in this answer, -1 when the server does not tell
	Total        int64 // bytes of the whole blob: Size, or what Content-Range tells
	Offset       int64 // where in the blob this answer starts
	Mime         string
	Name         string // "" where there is none
	ETag         string // with its quotes
	LastModified time.Time
	Gzipped      bool // the bytes are a gzip stream of the content; only with DownloadOptions.AcceptGzip
	NotModified  bool // IfNoneMatch fits: there are no bytes
}

// DownloadOptions says which bytes of a blob are wanted. The zero value means all.
type DownloadOptions struct {
	// Range is a part of the blob as HTTP writes it: "bytes=0-99", "bytes=100-", "bytes=-10". Only one
	// range can be asked for. One that the blob does not have is ErrInvalid.
	Range string
	// IfNoneMatch is the ETag of a copy that the caller has.
	IfNoneMatch string
	// AcceptGzip lets a blob that is stored compressed come as it is.
	AcceptGzip bool
	// RawManifest lets a chunk manifest come as it is, as JSON, instead of the file that it describes.
	RawManifest bool
}

// Download is an answer that is being read. It holds a connection until it is closed.
type Download struct {
	Meta
	// Header holds every field of the answer's header under its canonical name ("Content-Type"). The pairs
	// that were uploaded with a blob are among them, under their names without a prefix.
	Header map[string]string

	ctx  context.Context
	c    *Client
	cn   *conn // nil when it has been given back
	host string
	fid  string
	left int64     // of a body with a length
	r    io.Reader // of one in chunks, else nil
	err  error     // what Read returns from now on
}

// Download opens a blob for reading. ctx covers the reading too. A failure before the first byte moves on to
// the next replica; one in the middle is an error of Read: io.ErrUnexpectedEOF or ErrUnavailable, never a
// short success. Errors: ErrNotFound, ErrInvalid, ErrUnavailable.
func (c *Client) Download(ctx context.Context, fid string, opts DownloadOptions) (*Download, error) {
	if strings.Contains(opts.Range, ",") {
		return nil, fmt.Errorf("download %s: %w", fid, invalid("more than one range: %.100q", opts.Range))
	}
	var d *Download
	header, query := opts.header(), ""
	if opts.RawManifest {
		query = "?cm=false"
	}
	err := c.onReplicas(ctx, fid, true, func(host string) error {
		cn, o, err := c.get(ctx, host, fid, query, header)
		if err == nil {
			d, err = c.newDownload(ctx, cn, o, fid)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", fid, err)
	}
	return d, nil
}

// Get reads a whole blob into buf[:0], which grows as needed, at most Config.MaxGetBytes (else ErrTooLarge).
// It is the fast way for small blobs. Errors are those of Download.
func (c *Client) Get(ctx context.Context, fid string, buf []byte) ([]byte, Meta, error) {
	var m Meta
	body := buf[:0]
	err := c.onReplicas(ctx, fid, true, func(host string) error {
		cn, o, err := c.get(ctx, host, fid, "", nil)
		if err != nil {
			return err
		}
		m = metaOf(cn)
		body, err = c.finishBody(ctx, cn, o, buf[:0], c.cfg.MaxGetBytes)
		return err
	})
	if err != nil {
		return buf[:0], Meta{}, fmt.Errorf("get %s: %w", fid, err)
	}
	m.Size = int64(len(body))
	m.Total = m.Size
	return body, m, nil
}

func (o *DownloadOptions) header() []Field {
	var h []Field
	if o.Range != "" {
		h = append(h, Field{fasthttp.HeaderRange, o.Range})
	}
	if o.IfNoneMatch != "" {
		h = append(h, Field{fasthttp.HeaderIfNoneMatch, o.IfNoneMatch})
	}
	if o.AcceptGzip {
		h = append(h, Field{fasthttp.HeaderAcceptEncoding, "gzip"})
	}
	return h
}

// get asks host for a fid, with a query or "", and follows redirects. On success the head of the answer is
// read and the status is 200, 206 or 304.
func (c *Client) get(ctx context.Context, host, fid, query string, header []Field) (*conn, *outgoing, error) {
	if strings.ContainsAny(fid, "?#% ") {
		return nil, nil, invalid("fid %.100q", fid)
	}
	o := &outgoing{method: fasthttp.MethodGet, host: host, path: "/" + fid + query, header: header, idempotent: true}
	for range maxRedirects + 1 {
		cn, err := c.start(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		switch cn.head.StatusCode() {
		case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
			return cn, o, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			to := string(cn.head.Peek(fasthttp.HeaderLocation))
			_, err := cn.appendBody(nil, o.method, 64<<10)
			cn.finish(err == nil)
			if o.host, o.path, err = target(o, to); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, c.finishError(ctx, cn, o)
		}
	}
	return nil, nil, fmt.Errorf("%w: more than %d redirects", ErrUnavailable, maxRedirects)
}

// target resolves the Location of a redirect.
func target(o *outgoing, location string) (host, path string, err error) {
	base := url.URL{Scheme: "http", Host: o.host, Path: "/"}
	u, err := base.Parse(location)
	if err != nil || location == "" || u.Scheme != "http" || u.Host == "" {
		return "", "", fmt.Errorf("%w: %s redirects to %.200q", ErrUnavailable, o.host, location)
	}
	host = u.Host
	if u.Port() == "" {
		host += ":80"
	}
	return host, u.RequestURI(), nil
}

func (c *Client) newDownload(ctx context.Context, cn *conn, o *outgoing, fid string) (*Download, error) {
	d := &Download{Meta: metaOf(cn), ctx: ctx, c: c, cn: cn, host: o.host, fid: fid}
	n, err := cn.length(o.method)
	if err == nil && len(cn.head.Peek(fasthttp.HeaderContentRange)) == 0 &&
		cn.head.StatusCode() == http.StatusPartialContent {
		err = errors.New("a partial answer tells no range")
	}
	if err != nil {
		cn.finish(false)
		return nil, c.cause(ctx, o.host, err)
	}
	d.Header = make(map[string]string)
	for name, value := range cn.head.All() {
		d.Header[string(name)] = string(value)
	}
	d.left = n
	switch {
	case n == 0:
		d.end(io.EOF, true)
	case n < 0:
		d.r = &chunked{cn: cn, r: httputil.NewChunkedReader(cn.br)}
	}
	return d, nil
}

// Read reads the next bytes. io.EOF comes only after the last one of them.
func (d *Download) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	var n int
	var err error
	if d.r != nil {
		n, err = d.r.Read(p)
		if err == io.EOF {
			d.end(io.EOF, true)
			return n, io.EOF
		}
	} else {
		if err = d.cn.touch(); err == nil {
			n, err = d.cn.br.Read(p[:min(int64(len(p)), d.left)])
		}
		d.left -= int64(n)
		if d.left == 0 {
			d.end(io.EOF, true)
			return n, nil
		}
	}
	if err != nil {
		return n, d.fail(err)
	}
	return n, nil
}

// end gives the connection back and sets what Read returns from now on.
func (d *Download) end(err error, complete bool) {
	if d.cn != nil {
		d.cn.finish(complete)
		d.cn, d.r = nil, nil
	}
	d.err = err
}

// Close ends the download; what was not read is given up. It returns nil. Read and Close belong to one
// goroutine; to interrupt a Read, cancel the context.
func (d *Download) Close() error {
	if d.cn != nil {
		d.end(errDownloadClosed, false)
	}
	return nil
}

var errDownloadClosed = errors.New("download is closed")

// metaOf reads the header of an answer.
func metaOf(cn *conn) Meta {
	h := &cn.head
	m := Meta{
		Size:        int64(h.ContentLength()),
		Mime:        string(h.ContentType()),
		ETag:        string(h.Peek(fasthttp.HeaderETag)),
		Gzipped:     strings.EqualFold(string(h.ContentEncoding()), "gzip"),
		NotModified: h.StatusCode() == http.StatusNotModified,
	}
	if m.NotModified {
		m.Size = 0
	}
	m.Size = max(m.Size, -1)
	m.Total = m.Size
	if v := h.Peek(fasthttp.HeaderContentRange); len(v) > 0 {
		var last int64
		if _, err := fmt.Sscanf(string(v), "bytes %d-%d/%d", &m.Offset, &last, &m.Total); err != nil {
			m.Total = -1
		}
	}
	if v := h.Peek(fasthttp.HeaderLastModified); len(v) > 0 {
		m.LastModified, _ = fasthttp.ParseHTTPDate(v) // a date that is none stays zero
	}
	if v := h.Peek(fasthttp.HeaderContentDisposition); len(v) > 0 {
		if _, params, err := mime.ParseMediaType(string(v)); err == nil {
			m.Name = params["filename"]
		}
	}
	return m
}
