package volume

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5 is what RFC 1864 and the clients of this API use
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/upload"
	"weed/storage"
)

const (
	// formOverheadBytes is how much longer than the blob a multipart body may be.
	formOverheadBytes = 64 << 10
	// pairPrefix marks the request headers that are kept with a blob.
	pairPrefix = "Seaweed-"
	// maxPooledGzip bounds the compression buffers that are kept for reuse.
	maxPooledGzip = 256 << 10
)

var (
	errParameter = errors.New("malformed parameter")
	errDigest    = errors.New("Content-MD5 does not match the content: send it again")
	errGzip      = errors.New("Content-Encoding is gzip but the content is not a valid gzip stream")
	errTooLarge  = errors.New("the file is larger than this server takes")
)

// writer is the scratch memory of one PUT.
type writer struct {
	needle storage.Needle
	gzip   []byte
	text   []byte
}

var writers = sync.Pool{New: func() any { return new(writer) }}

func (w *writer) release() {
	w.needle = storage.Needle{}
	if cap(w.gzip) > maxPooledGzip {
		w.gzip = nil
	}
	writers.Put(w)
}

// put answers PUT and POST of a blob: the body, a form's file or the body itself, becomes a needle.
func (s *Server) put(ctx *fasthttp.RequestCtx, path []byte) {
	p, err := blob.ParsePath(path)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	v, ok := s.store.Volume(p.Volume)
	if !ok {
		s.fail(ctx, fmt.Errorf("volume %d: %w: ask a master for /dir/lookup?volumeId=%d", p.Volume, storage.ErrNoVolume, p.Volume))
		return
	}
	body, err := httpx.ReadBody(ctx, s.budget, s.cfg.FileSizeLimitBytes+formOverheadBytes)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	defer body.Release()
	w := writers.Get().(*writer)
	defer w.release()
	size, err := s.fill(ctx, w, &p, body.Bytes)
	if err == nil {
		if isTrue(ctx.QueryArgs().Peek("fsync")) {
			err = v.PutDurable(&w.needle)
		} else {
			err = v.Put(&w.needle)
		}
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	s.metrics.putBytes.Add(uint64(size))
	w.answer(ctx, size)
}

// fill makes w.needle of a request and returns the length in bytes of the content as the client sent it.
func (s *Server) fill(ctx *fasthttp.RequestCtx, w *writer, p *blob.Path, body []byte) (size int64, err error) {
	h := &ctx.Request.Header
	part, err := upload.Parse(h.ContentType(), h.Peek(fasthttp.HeaderContentDisposition), body)
	if err != nil {
		return 0, err
	}
	if int64(len(part.Data)) > s.cfg.FileSizeLimitBytes {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, len(part.Data), s.cfg.FileSizeLimitBytes)
	}
	if err := checkDigests(h.Peek("Content-MD5"), part.MD5, part.Data); err != nil {
		return 0, err
	}
	n := &w.needle
	*n = storage.Needle{Key: p.Key, Cookie: p.Cookie, Name: part.Name, Mime: part.Mime, Data: part.Data}
	if len(n.Name) == 0 {
		n.Name = []byte(p.Name)
	}
	n.LastModified = ctx.Time().Unix()
	if err := setParameters(n, ctx.QueryArgs()); err != nil {
		return 0, err
	}
	if n.Pairs, err = pairsOf(h); err != nil {
		return 0, err
	}
	size = int64(len(n.Data))
	switch {
	case n.Manifest:
		if _, err := parseManifest(n.Data); err != nil {
			return 0, err
		}
	case part.Gzipped || bytes.EqualFold(h.ContentEncoding(), []byte("gzip")):
		err = s.takeGzip(w)
	default:
		w.compress()
	}
	return size, err
}

// setParameters reads ts, ttl and cm.
func setParameters(n *storage.Needle, args *fasthttp.Args) error {
	if args.Len() == 0 {
		return nil
	}
	if ts := args.Peek("ts"); len(ts) > 0 {
		seconds, err := strconv.ParseInt(string(ts), 10, 64)
		if err != nil || seconds < 0 || seconds >= 1<<40 {
			return fmt.Errorf("%w ts %q: give unix seconds", errParameter, ts)
		}
		n.LastModified = seconds
	}
	ttl, err := blob.ParseTTL(string(args.Peek("ttl")))
	if err != nil {
		return err
	}
	n.TTL = ttl
	n.Manifest = isTrue(args.Peek("cm"))
	return nil
}

// checkDigests compares the content with the Content-MD5 of the request and of the part, where given.
func checkDigests(request, part, data []byte) error {
	if len(request) == 0 && len(part) == 0 {
		return nil
	}
	sum := md5.Sum(data) //nolint:gosec // see the import
	for _, want := range [][]byte{request, part} {
		if len(want) > 0 && base64.StdEncoding.EncodeToString(sum[:]) != string(want) {
			return errDigest
		}
	}
	return nil
}

// pairsOf gathers the Seaweed-* headers as a JSON object, without the prefix; nil if there are none.
func pairsOf(h *fasthttp.RequestHeader) ([]byte, error) {
	var pairs map[string]string
	for name, value := range h.All() {
		if len(name) > len(pairPrefix) && strings.EqualFold(string(name[:len(pairPrefix)]), pairPrefix) {
			if pairs == nil {
				pairs = map[string]string{}
			}
			pairs[string(name[len(pairPrefix):])] = string(value)
		}
	}
	if pairs == nil {
		return nil, nil
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("%w: the Seaweed-* headers can't be kept: %w", errParameter, err)
	}
	return text, nil
}

// takeGzip keeps content that the client has compressed as it is, provided that it can be read back: it is
// one gzip stream, intact, of a content within the size limit.
func (s *Server) takeGzip(w *writer) error {
	n := &w.needle
	size, err := inflatedLength(n.Data, s.cfg.FileSizeLimitBytes)
	if err != nil {
		return err
	}
	if size != storage.ContentSize(n.Data, true) {
		return fmt.Errorf("%w: it has more than one member; compress the content as a whole", errGzip)
	}
	n.Gzipped = true
	return nil
}

// compress replaces the content by its gzip form where its type promises and its bytes prove that this
// saves at least a tenth.
func (w *writer) compress() {
	n := &w.needle
	if !upload.Compressible(n.Mime, upload.Ext(n.Name)) {
		return
	}
	var ok bool
	if w.gzip, ok = upload.Gzip(w.gzip[:0], n.Data); ok {
		n.Data, n.Gzipped = w.gzip, true
	}
}

// answer tells the client what was stored.
func (w *writer) answer(ctx *fasthttp.RequestCtx, size int64) {
	n := &w.needle
	b := appendETag(w.text[:0], n.Checksum)
	etag := len(b)
	ctx.Response.Header.SetCanonical(headerETag, b)
	b = append(b, `{"name":`...)
	b = httpx.AppendString(b, string(n.Name))
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, size, 10)
	b = append(b, `,"eTag":`...)
	b = append(b, b[:etag]...)
	if len(n.Mime) > 0 {
		b = append(b, `,"mime":`...)
		b = httpx.AppendString(b, string(n.Mime))
	}
	b = append(b, '}')
	w.text = b
	answerJSON(ctx, fasthttp.StatusCreated, b[etag:])
}

// uploadTimeout bounds what a request does at other servers.
const uploadTimeout = 30 * time.Second
