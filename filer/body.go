package filer

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 (RFC 1864)
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"

	"weed/internal/upload"
)

const (
	smallBodyBytes = 64 << 10 // forms up to this size are read as a whole
	maxParts       = 1000
	maxFieldBytes  = 64 << 10 // a form's field that is not the file
	maxPartHead    = 64 << 10 // the head of a part, and what stands before the first one
)

// content is what a request's body holds: a file that is being read.
type content struct {
	name   string // base name, "" where none is told
	cut    bool   // the name was longer
	mime   string // as sent, "" where none or uninformative
	r      io.Reader
	size   int64 // -1 if it is not known
	close  func()
	digest []digest

	forms *formReader // what r is a part of, nil of a raw body
}

// heldBody is a content that is in memory as a whole, and no larger than a chunk.
type heldBody struct {
	io.Reader
	data []byte
}

// formReader reads a form part by part, with bounded memory: mime/multipart keeps ten megabytes of a part's head.
type formReader struct {
	parts *multipart.Reader
	body  io.Reader
	left  int // bytes that may be read before the next part's content, -1 for any number
}

func newFormReader(body io.Reader, boundary string) *formReader {
	f := &formReader{body: body}
	f.parts = multipart.NewReader(f, boundary)
	return f
}

// Read reads the form's bytes.
func (f *formReader) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, fmt.Errorf("the head of a part is longer than %d bytes", maxPartHead)
	}
	if f.left > 0 && len(p) > f.left {
		p = p[:f.left]
	}
	n, err := f.body.Read(p)
	if f.left > 0 {
		f.left -= n
	}
	return n, err
}

// next returns the next part. The one before has been read to its end.
func (f *formReader) next() (*multipart.Part, error) {
	f.left = maxPartHead
	p, err := f.parts.NextRawPart()
	f.left = -1
	return p, err
}

// digest is a Content-MD5 that the content must have, and the bytes that it may be of: the content, or its coded form.
type digest struct {
	want  string
	coded hash.Hash // nil where there is no coding
}

// open finds the file in a request's body. The caller closes it.
func (f *Filer) open(ctx context.Context, w http.ResponseWriter, r *http.Request) (*content, error) {
	body := io.Reader(f.newBodyReader(w, r))
	kind := r.Header.Get("Content-Type")
	if r.Header.Get("Content-Range") != "" {
		return nil, fmt.Errorf("%w: Content-Range: a file is stored as a whole", errParameter) // RFC 9110 section 14.5
	}
	if !strings.HasPrefix(strings.ToLower(kind), "multipart/form-data") {
		part, err := upload.Parse([]byte(kind), []byte(r.Header.Get("Content-Disposition")), nil)
		if err != nil {
			return nil, err
		}
		c := &content{name: string(part.Name), cut: part.Cut, mime: string(part.Mime), r: body, size: r.ContentLength, close: func() {}}
		return c, c.decode(r.Header.Get("Content-Encoding"), r.Header.Get("Content-Md5"))
	}
	var c *content
	var err error
	if r.ContentLength >= 0 && r.ContentLength <= smallBodyBytes {
		c, err = f.openSmallForm(ctx, r, body)
	} else {
		c, err = openForm(body, kind)
	}
	if err == nil {
		err = c.decode("", r.Header.Get("Content-Md5"))
	}
	return c, err
}

// openSmallForm reads a whole form into memory.
func (f *Filer) openSmallForm(ctx context.Context, r *http.Request, body io.Reader) (*content, error) {
	buf, err := f.buffers.get(ctx, classOf(r.ContentLength))
	if err != nil {
		return nil, err
	}
	release := func() { f.buffers.put(buf) }
	n, err := io.ReadFull(body, buf[:r.ContentLength])
	if err != nil {
		release()
		return nil, fmt.Errorf("%w: %w", errSource, err)
	}
	_, _ = body.Read(make([]byte, 1)) // the end, which clears the deadline
	part, err := upload.Parse([]byte(r.Header.Get("Content-Type")), nil, buf[:n])
	if err != nil {
		release()
		return nil, err
	}
	coding := ""
	if part.Gzipped || int64(len(part.Data)) > f.cfg.ChunkBytes { // it takes other buffers: this one must not wait for them
		part.Data = bytes.Clone(part.Data)
		release()
		release = func() {}
	}
	c := &content{name: string(part.Name), cut: part.Cut, mime: string(part.Mime), r: bytes.NewReader(part.Data),
		size: int64(len(part.Data)), close: release}
	if part.Gzipped {
		coding = "gzip"
	} else if c.size <= f.cfg.ChunkBytes {
		c.r = &heldBody{c.r, part.Data}
	}
	if err = c.decode(coding, string(part.MD5)); err != nil {
		release()
	}
	return c, err
}

// openForm finds the first part with a file name in a form that is read as it comes, or else takes the first part.
func openForm(body io.Reader, kind string) (*content, error) {
	_, params, err := mime.ParseMediaType(kind)
	if err != nil || params["boundary"] == "" {
		return nil, upload.ErrMalformed
	}
	forms := newFormReader(body, params["boundary"])
	var spare *content // the first part, if it is short
	for parts := 0; ; parts++ {
		p, err := forms.next()
		switch {
		case err == io.EOF && spare != nil:
			return spare, nil
		case err == io.EOF:
			return nil, upload.ErrNoPart
		case err != nil:
			return nil, formError(err)
		case parts == maxParts:
			return nil, fmt.Errorf("%w: more than %d parts", upload.ErrMalformed, maxParts)
		}
		c, err := partContent(p, forms)
		if err != nil || c.name != "" {
			return c, err
		}
		head, err := io.ReadAll(io.LimitReader(p, maxFieldBytes+1))
		switch {
		case err != nil:
			return nil, formError(err)
		case len(head) > maxFieldBytes && parts == 0: // too long for a field: it is the file
			c.r = io.MultiReader(bytes.NewReader(head), c.r)
			return c, nil
		case len(head) > maxFieldBytes:
			return nil, fmt.Errorf("%w: a field before the file is longer than %d bytes", upload.ErrMalformed, maxFieldBytes)
		case parts == 0:
			c.r, c.forms, c.size = bytes.NewReader(head), nil, int64(len(head))
			spare = c
		}
	}
}

// partContent reads a part's header.
func partContent(p *multipart.Part, forms *formReader) (*content, error) {
	part, err := upload.Parse([]byte(p.Header.Get("Content-Type")), []byte(p.Header.Get("Content-Disposition")), nil)
	if err != nil {
		return nil, err
	}
	c := &content{name: string(part.Name), cut: part.Cut, mime: string(part.Mime), r: p, size: -1, close: func() {}, forms: forms}
	return c, c.decode(p.Header.Get("Content-Encoding"), p.Header.Get("Content-Md5"))
}

// decode undoes a coding and notes a digest.
func (c *content) decode(coding, want string) error {
	d := digest{want: strings.TrimSpace(want)}
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", "identity":
	case "gzip", "x-gzip":
		if d.want != "" {
			d.coded = md5.New() //nolint:gosec // see the import
			c.r = io.TeeReader(c.r, d.coded)
		}
		z, err := gzip.NewReader(c.r)
		if err != nil {
			return fmt.Errorf("%w: not a gzip stream", errBody)
		}
		c.r, c.size = gunzipper{z}, -1
	default:
		return errCoding
	}
	if d.want != "" {
		c.digest = append(c.digest, d)
	}
	return nil
}

// gunzipper tells damage of a gzip stream from a body that broke off.
type gunzipper struct{ z *gzip.Reader }

func (g gunzipper) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	if errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) {
		err = fmt.Errorf("%w: damaged gzip stream", errBody)
	}
	return n, err
}

// finish checks, once all of the content was read, that the body is whole and what its digests say.
func (c *content) finish(sum [md5.Size]byte) error {
	if c.forms != nil {
		for parts := 0; ; parts++ {
			p, err := c.forms.next()
			if err == io.EOF {
				break
			}
			if err == nil && parts == maxParts {
				return fmt.Errorf("%w: more than %d parts", upload.ErrMalformed, maxParts)
			}
			if err == nil {
				_, err = io.Copy(io.Discard, p)
			}
			if err != nil {
				return formError(err)
			}
		}
	}
	for _, d := range c.digest {
		if d.want != base64.StdEncoding.EncodeToString(sum[:]) &&
			(d.coded == nil || d.want != base64.StdEncoding.EncodeToString(d.coded.Sum(nil))) {
			return errDigest
		}
	}
	return nil
}

func formError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return upload.ErrTruncated
	}
	return fmt.Errorf("%w: %w", upload.ErrMalformed, err)
}
