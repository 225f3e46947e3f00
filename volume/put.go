package volume

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5 is what RFC 1864 and the clients of this API use
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/upload"
	"weed/replication"
	"weed/storage"
)

// formOverheadBytes is how much longer than the blob a multipart body may be.
const formOverheadBytes = 64 << 10

var (
	errParameter = errors.New("malformed parameter")
	errDigest    = errors.New("Content-MD5 does not match the content: send it again")
	errCoding    = errors.New("Content-Encoding is not known: send the content plain or with gzip")
	errTooLarge  = errors.New("the file is larger than this server takes")
	errKey       = errors.New("no master has given out this key: ask one for a fid with /dir/assign")
)

// keySlack is how far above the last key that this server has heard of a new one may be. Masters may have leased more
// since. Without a bound a put of one high key uses up the sequence of keys, which rises above all that are in use.
const keySlack = 1 << 40

// writer is the scratch memory of one PUT.
type writer struct {
	needle storage.Needle
	gzip   []byte // the content's compressed form
	text   []byte
	claim  int64 // held of the server's deflating
	// upright gives back the memory of a picture that was turned, if one was.
	upright func()
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// release gives back what w holds.
func (s *Server) release(w *writer) {
	w.needle = storage.Needle{}
	s.dropGzip(w)
	if w.upright != nil {
		w.upright()
		w.upright = nil
	}
	writers.Put(w)
}

// put answers PUT and POST of a blob: the body, a form's file or the body itself, becomes a needle.
func (s *Server) put(ctx *fasthttp.RequestCtx, path []byte) {
	p, v, ok := s.find(ctx, path)
	if !ok {
		return
	}
	if last := s.beat.lastKey.Load(); last > 0 && uint64(p.Key) > last+keySlack {
		if _, there := v.SizeOf(p.Key); !there {
			s.fail(ctx, errKey)
			return
		}
	}
	if err := v.CheckPut(); err != nil && s.leads(p.Volume) { // before the body comes over the network for nothing
		s.failPut(ctx, v, err)
		return
	}
	body, err := httpx.ReadBody(ctx, s.budget, s.cfg.FileSizeLimitBytes+formOverheadBytes)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	defer body.Release()
	if s.passOn(ctx, p.Volume, body.Bytes) {
		return
	}
	w := writers.Get().(*writer)
	defer s.release(w)
	size, err := s.fill(ctx, w, &p, body.Bytes)
	if err == nil {
		err = checkTTL(v, w.needle.TTL)
	}
	if err == nil {
		err = s.write(ctx, v, &p, func() error {
			if isTrue(ctx.QueryArgs().Peek("fsync")) {
				return v.PutDurable(&w.needle)
			}
			return v.Put(&w.needle)
		})
	}
	if errors.Is(err, replication.ErrNotPrimary) && s.passOn(ctx, p.Volume, body.Bytes) {
		return
	}
	if err != nil {
		s.failPut(ctx, v, err)
		return
	}
	if v.ReadOnly() != 0 { // it has just grown to the size limit
		s.beat.tell(v.ID())
	}
	s.metrics.putBytes.Add(uint64(size))
	w.answer(ctx, size)
}

// find returns the blob that a path names, and its volume; ok is false when the request is answered.
func (s *Server) find(ctx *fasthttp.RequestCtx, path []byte) (p blob.Path, v *storage.Volume, ok bool) {
	p, err := blob.ParsePath(path)
	if err != nil {
		s.fail(ctx, err)
		return p, nil, false
	}
	if v, ok = s.store.Volume(p.Volume); !ok {
		s.fail(ctx, fmt.Errorf("volume %d: %w: ask a master for /dir/lookup?volumeId=%d", p.Volume, storage.ErrNoVolume, p.Volume))
	}
	return p, v, ok
}

// failPut answers a put that failed. If the volume takes none any more, nor others on a disk that is full, the
// master hears of it first.
func (s *Server) failPut(ctx *fasthttp.RequestCtx, v *storage.Volume, err error) {
	if errors.Is(err, storage.ErrNoSpace) {
		s.store.CheckSpace()
	}
	if v.ReadOnly() != 0 {
		s.beat.awaitKnown(v.ID())
	}
	s.fail(ctx, err)
}

// fill makes w.needle of a request and returns the length in bytes of the content as the client sent it.
func (s *Server) fill(ctx *fasthttp.RequestCtx, w *writer, p *blob.Path, body []byte) (size int64, err error) {
	h, limit := &ctx.Request.Header, s.cfg.FileSizeLimitBytes
	if len(h.PeekCanonical(headerContentRange)) > 0 {
		return 0, fmt.Errorf("%w: Content-Range: a blob is stored as a whole", errParameter) // RFC 9110 section 14.5
	}
	part, err := upload.Parse(h.ContentType(), h.PeekCanonical(headerDisposition), body)
	if err != nil {
		return 0, err
	}
	if int64(len(part.Data)) > limit {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, len(part.Data), limit)
	}
	gzipped := part.Gzipped
	if coding := h.ContentEncoding(); len(coding) > 0 && len(part.Data) == len(body) { // no form, so it is the content's
		if gzipped, err = isGzipCoding(coding); err != nil {
			ctx.Response.Header.Set(fasthttp.HeaderAcceptEncoding, "gzip")
			return 0, err
		}
	}
	if err := checkDigests(h.PeekCanonical(headerContentMD5), part.MD5, part.Data, gzipped, limit); err != nil {
		return 0, err
	}
	n := &w.needle
	*n = storage.Needle{Key: p.Key, Cookie: p.Cookie, Name: part.Name, Mime: part.Mime, Data: part.Data, Gzipped: gzipped}
	if len(n.Name) == 0 {
		n.Name = cleanName(p.Name)
	}
	n.LastModified = httpx.Date()
	if err := setParameters(n, ctx.QueryArgs()); err != nil {
		return 0, err
	}
	if n.Pairs, err = pairsOf(h); err != nil {
		return 0, err
	}
	size = int64(len(n.Data))
	switch {
	case n.Manifest:
		_, err = manifestOf(n)
	case gzipped:
		err = inflateTo(io.Discard, n.Data, limit) // what can't be read back is not kept
	case s.cfg.FixOrientation && len(h.PeekCanonical(headerContentMD5)) == 0 && len(part.MD5) == 0:
		err = s.fixOrientation(w)
		fallthrough
	default:
		s.compress(w)
	}
	return size, err
}

// isGzipCoding reads a Content-Encoding; one that this server can't undo is errCoding.
func isGzipCoding(coding []byte) (bool, error) {
	switch string(bytes.ToLower(coding)) {
	case "identity":
		return false, nil
	case "gzip", "x-gzip":
		return true, nil
	}
	return false, errCoding
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

// checkDigests compares the content with the Content-MD5 of the request and of the part, where given. Of
// compressed content a client may mean the bytes that it sends (RFC 1864) or those that they stand for.
func checkDigests(request, part, data []byte, gzipped bool, limit int64) error {
	for _, want := range [][]byte{request, part} {
		if len(want) == 0 {
			continue
		}
		sum := md5.New() //nolint:gosec // see the import
		_, _ = sum.Write(data)
		if isDigest(want, sum) {
			continue
		}
		if !gzipped {
			return errDigest
		}
		sum.Reset()
		if err := inflateTo(sum, data, limit); err != nil {
			return err
		}
		if !isDigest(want, sum) {
			return errDigest
		}
	}
	return nil
}

func isDigest(want []byte, sum hash.Hash) bool {
	return base64.StdEncoding.EncodeToString(sum.Sum(nil)) == string(bytes.TrimSpace(want))
}

// answer tells the client what was stored.
func (w *writer) answer(ctx *fasthttp.RequestCtx, size int64) {
	n := &w.needle
	b := appendETag(w.text[:0], n.Checksum)
	etag := len(b)
	ctx.Response.Header.SetCanonical(headerETag, b)
	b = append(b, `{"name":`...)
	b = appendText(b, n.Name)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, size, 10)
	b = append(b, `,"eTag":`...)
	b = append(b, b[:etag]...)
	if len(n.Mime) > 0 {
		b = append(b, `,"mime":`...)
		b = appendText(b, n.Mime)
	}
	b = append(b, '}')
	w.text = b
	answerJSON(ctx, fasthttp.StatusCreated, b[etag:])
}

// appendText appends text as a JSON string.
func appendText(dst, text []byte) []byte {
	for _, c := range text {
		if isControl(c) || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return httpx.AppendString(dst, string(text))
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}
