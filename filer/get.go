package filer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"weed/client"
	"weed/filer/store"
	"weed/internal/httprange"
	"weed/internal/upload"
)

// smallReadBytes is the size up to which a file of one chunk is read into memory and sent at once.
const smallReadBytes = 64 << 10

// get answers GET and HEAD of a file or directory.
func (f *Filer) get(w http.ResponseWriter, r *http.Request, path store.Path, dir bool) {
	reading := f.reads.begin()
	defer f.reads.end(reading)
	err := f.tryGet(w, r, path, dir, reading)
	if errors.Is(err, client.ErrNotFound) {
		// Its chunks may have gone because the file was replaced meanwhile: then there is another one.
		err = f.tryGet(w, r, path, dir, reading)
		if errors.Is(err, client.ErrNotFound) {
			err = fmt.Errorf("%w: %s: %w", errChunk, path, err)
		}
	}
	if err != nil {
		f.fail(w, r, err)
	}
}

// tryGet answers, unless it returns an error: then nothing was sent.
func (f *Filer) tryGet(w http.ResponseWriter, r *http.Request, path store.Path, dir bool, reading *reading) error {
	ctx := r.Context()
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	e, version, err := f.find(ctx, path)
	if err != nil {
		if e != nil {
			f.purgeLater(path, version, e)
		}
		return err
	}
	if query != nil && query.Get("metadata") == "true" {
		answerJSON(w, r, http.StatusOK, e.appendJSON(nil, path))
		return nil
	}
	if e.IsDir() {
		return f.list(w, r, path, query)
	}
	if dir {
		return fmt.Errorf("%w: %s is a file", errNothing, path)
	}
	reading.hold(e.Chunks)
	return f.sendFile(w, r, path, e, query)
}

// sendFile answers with a file's content: conditions first, then ranges, then the whole.
func (f *Filer) sendFile(w http.ResponseWriter, r *http.Request, path store.Path, e *Entry, query url.Values) error {
	etag, modified, size := e.etag(), unixSeconds(e.Mtime, f.now()), e.Size()
	outcome := httprange.Full
	conditions, any := readConditions(r.Header)
	if any {
		outcome = httprange.Evaluate(r.Method, conditions, etag, modified)
	}
	h := w.Header()
	switch outcome {
	case httprange.PreconditionFailed:
		return errPrecondition
	case httprange.NotModified:
		setValidators(h, etag, modified)
		w.WriteHeader(http.StatusNotModified)
		return nil
	case httprange.Partial:
		ranges, err := httprange.Parse(conditions.Range, size)
		if err != nil {
			h.Set("Content-Range", string(httprange.AppendUnsatisfied(nil, size)))
			return err
		}
		if len(ranges) > 0 {
			return f.sendRanges(w, r, path, e, query, ranges)
		}
	}
	if f.cfg.RedirectOnRead && len(e.Chunks) == 1 && r.Method == http.MethodGet {
		return f.redirect(w, r, e)
	}
	if r.Method == http.MethodHead || size == 0 {
		f.describe(h, path, e, query, etag, modified)
		h["Content-Length"] = []string{strconv.FormatInt(size, 10)}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if len(e.Chunks) == 1 && size <= smallReadBytes {
		return f.sendSmall(w, r, path, e, query, etag, modified)
	}
	body, err := f.openContent(r.Context(), e.Chunks, 0, size)
	if err != nil {
		return err
	}
	defer body.Close()
	f.describe(h, path, e, query, etag, modified)
	h["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	w.WriteHeader(http.StatusOK)
	f.copy(w, r, path, body, size)
	return nil
}

// sendSmall answers with a file that is one small blob.
func (f *Filer) sendSmall(w http.ResponseWriter, r *http.Request, path store.Path, e *Entry, query url.Values, etag string, modified int64) error {
	buf, err := f.small.get(r.Context(), classOf(e.Chunks[0].Size))
	if err != nil {
		return err
	}
	defer f.small.put(buf)
	body, _, err := f.client.Get(r.Context(), e.Chunks[0].FID.String(), buf)
	if err != nil {
		return err
	}
	if int64(len(body)) != e.Chunks[0].Size {
		return fmt.Errorf("%w: %s: %s has %d bytes instead of %d", errChunk, path, e.Chunks[0].FID, len(body), e.Chunks[0].Size)
	}
	f.describe(w.Header(), path, e, query, etag, modified)
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusOK)
	n, _ := w.Write(body) // a client that is gone reads nothing
	f.metrics.getBytes.Add(uint64(n))
	return nil
}

// sendRanges answers with parts of a file.
func (f *Filer) sendRanges(w http.ResponseWriter, r *http.Request, path store.Path, e *Entry, query url.Values, ranges []httprange.Range) error {
	etag, modified, size := e.etag(), unixSeconds(e.Mtime, f.now()), e.Size()
	h := w.Header()
	if len(ranges) == 1 {
		at := ranges[0]
		body, err := f.openContent(r.Context(), e.Chunks, at.Start, at.Length)
		if err != nil {
			return err
		}
		defer body.Close()
		f.describe(h, path, e, query, etag, modified)
		h.Set("Content-Range", string(httprange.AppendContentRange(nil, at, size)))
		h.Set("Content-Length", strconv.FormatInt(at.Length, 10))
		w.WriteHeader(http.StatusPartialContent)
		f.copy(w, r, path, body, at.Length)
		return nil
	}
	m := httprange.Multipart{Boundary: httprange.NewBoundary(), ContentType: typeOf(path, e), Size: size, Ranges: ranges}
	body, err := f.openContent(r.Context(), e.Chunks, ranges[0].Start, ranges[0].Length)
	if err != nil {
		return err
	}
	defer func() { body.Close() }()
	f.describe(h, path, e, query, etag, modified)
	h.Set("Content-Type", string(m.AppendContentType(nil)))
	h.Set("Content-Length", strconv.FormatInt(m.Length(), 10))
	w.WriteHeader(http.StatusPartialContent)
	for i, at := range ranges {
		if i > 0 {
			body.Close()
			next, err := f.openContent(r.Context(), e.Chunks, at.Start, at.Length)
			if err != nil {
				f.breakOff(path, err)
			}
			body = next
		}
		_, _ = w.Write(m.AppendPartHeader(nil, i))
		f.copy(w, r, path, body, at.Length)
	}
	_, _ = w.Write(m.AppendEnd(nil))
	return nil
}

// redirect sends the client to a volume server that holds the file's only chunk.
func (f *Filer) redirect(w http.ResponseWriter, r *http.Request, e *Entry) error {
	fid := e.Chunks[0].FID
	at, err := f.client.Lookup(r.Context(), uint32(fid.Volume))
	if err != nil {
		return err
	}
	one := at[rand.IntN(len(at))]
	host := one.PublicURL
	if host == "" {
		host = one.URL
	}
	w.Header().Set("Location", "http://"+host+"/"+fid.String())
	answerJSON(w, r, http.StatusFound, []byte("{}"))
	return nil
}

// readConditions gathers the conditional fields and Range; any is false when there are none, the common case.
func readConditions(h http.Header) (c httprange.Conditions, any bool) {
	c = writeConditions(h)
	c.IfModifiedSince, c.Range, c.IfRange = listField(h, "If-Modified-Since"), listField(h, "Range"), listField(h, "If-Range")
	return c, len(c.IfMatch)+len(c.IfNoneMatch)+len(c.IfModifiedSince)+len(c.IfUnmodifiedSince)+len(c.Range) > 0
}

func setValidators(h http.Header, etag string, modified int64) {
	h["ETag"] = []string{etag}
	var date [32]byte
	h["Last-Modified"] = []string{string(httprange.AppendDate(date[:0], modified))}
}

var acceptBytes = []string{"bytes"}

// describe sets the fields that tell about a file.
func (f *Filer) describe(h http.Header, path store.Path, e *Entry, query url.Values, etag string, modified int64) {
	for k, v := range e.Extended {
		if safeTag(k, v) {
			h[k] = []string{v}
		}
	}
	setValidators(h, etag, modified)
	h["Content-Type"] = []string{typeOf(path, e)}
	h["Accept-Ranges"] = acceptBytes
	h["Content-Disposition"] = []string{disposition(baseName(path), query != nil && isTrue(query.Get("dl")))}
}

// typeOf returns a file's type: as it was sent, or by its name. It does not look into the content.
func typeOf(path store.Path, e *Entry) string {
	if e.Mime != "" {
		return e.Mime
	}
	if kind := upload.TypeByName(baseName(path)); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

func isTrue(text string) bool {
	ok, err := strconv.ParseBool(text)
	return ok && err == nil
}

// safeTag says whether a tag may become a header field: a loaded entry may hold anything.
func safeTag(name, value string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(name) > len(tagPrefix) && name[:len(tagPrefix)] == tagPrefix
}

// disposition returns a Content-Disposition (RFC 6266). A name that is not plain ASCII is given twice: with the odd
// bytes replaced, for old clients, and in the notation of RFC 8187.
func disposition(name string, download bool) string {
	b := make([]byte, 0, 32+len(name))
	if download {
		b = append(b, `attachment; filename="`...)
	} else {
		b = append(b, `inline; filename="`...)
	}
	plain := true
	for i := range len(name) {
		switch c := name[i]; {
		case c < ' ' || c == 0x7f || c >= utf8.RuneSelf:
			plain = false
			b = append(b, '_')
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	b = append(b, '"')
	if !plain {
		b = append(b, `; filename*=UTF-8''`...)
		b = append(b, url.PathEscape(name)...)
	}
	return string(b)
}

// copy sends n bytes of body. A failure in the middle breaks the connection off, so that no client takes the part
// for the whole.
func (f *Filer) copy(w http.ResponseWriter, r *http.Request, path store.Path, body *contentReader, n int64) {
	sent, err := f.relay(w, body, n)
	n -= sent
	f.metrics.getBytes.Add(uint64(sent))
	if err != nil {
		f.endCopy(r, path, err)
	}
	if n == 0 {
		return
	}
	buf, release := f.copies.get(n)
	defer release()
	for n > 0 {
		m, err := body.Read(buf[:min(n, int64(len(buf)))])
		if m > 0 {
			if _, err := w.Write(buf[:m]); err != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
			n -= int64(m)
			f.metrics.getBytes.Add(uint64(m))
		}
		if err != nil && n > 0 {
			f.endCopy(r, path, err)
		}
	}
}

// endCopy ends an answer in the middle, quietly if it was the client who went.
func (f *Filer) endCopy(r *http.Request, path store.Path, err error) {
	var gone *client.ReceiverError
	if r.Context().Err() != nil || errors.As(err, &gone) {
		panic(http.ErrAbortHandler)
	}
	f.breakOff(path, err)
}

// breakOff ends an answer that cannot be completed, so that the client sees it.
func (f *Filer) breakOff(path store.Path, err error) {
	f.log.Error("an answer was broken off", "path", string(path), "error", err)
	panic(http.ErrAbortHandler)
}
