package volume

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/storage"
)

// copyLimitBytes is the size up to which a blob is read into memory and copied into the answer. Larger ones
// go from the page cache to the socket without passing through this process.
const copyLimitBytes = 64 << 10

// reader is the scratch memory of one GET.
type reader struct {
	needle storage.Needle
	buf    []byte
	text   []byte
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// get answers GET and HEAD of a blob.
func (s *Server) get(ctx *fasthttp.RequestCtx, path []byte) {
	p, err := blob.ParsePath(path)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	v, ok := s.store.Volume(p.Volume)
	if !ok {
		s.redirect(ctx, p.Volume)
		return
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	size, ok := v.SizeOf(p.Key)
	if !ok {
		s.fail(ctx, storage.ErrNotFound)
		return
	}
	var c content
	if size <= copyLimitBytes {
		r.needle, r.buf, err = v.Get(p.Key, p.Cookie, r.buf)
		c = content{needle: &r.needle, size: int64(len(r.needle.Data))}
	} else {
		var b *storage.Blob
		if b, err = v.Open(p.Key, p.Cookie); err == nil {
			c = content{needle: &b.Needle, blob: b, size: b.DataSize()}
		}
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	if c.needle.Manifest && !isFalse(ctx.QueryArgs().Peek("cm")) {
		s.getManifest(ctx, &p, &c)
		return
	}
	s.send(ctx, &p, &c, r)
}

// redirect sends a reader to a server that holds the volume.
func (s *Server) redirect(ctx *fasthttp.RequestCtx, id blob.VolumeID) {
	if !s.cfg.ReadRedirect {
		s.fail(ctx, storage.ErrNotFound)
		return
	}
	lookup, cancel := context.WithTimeout(context.Background(), redirectLookupTimeout)
	defer cancel()
	locations, err := s.client.Lookup(lookup, uint32(id))
	holders := make([]string, 0, len(locations))
	for _, l := range locations {
		if l.URL != s.cfg.URL {
			holders = append(holders, l.PublicURL)
		}
	}
	if len(holders) == 0 {
		if err != nil && !isNotFound(err) {
			s.cfg.Logger.Warn("no master tells where a volume is", "volume", id, "error", err)
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
			httpx.Error(ctx, fasthttp.StatusServiceUnavailable, "the volume is not here and no master says where it is: try again")
			return
		}
		s.fail(ctx, storage.ErrNotFound)
		return
	}
	u := ctx.URI()
	location := "http://" + holders[rand.IntN(len(holders))] + string(u.PathOriginal())
	if query := u.QueryString(); len(query) > 0 {
		location += "?" + string(query)
	}
	ctx.Response.Header.Set(fasthttp.HeaderLocation, location)
	ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
}

// redirectLookupTimeout bounds how long a reader waits for a master that does not answer.
const redirectLookupTimeout = 5 * time.Second

// setPairs returns what the uploader's Seaweed-* headers have become. Names that frame or secure the answer
// are not the uploader's to set.
func setPairs(h *fasthttp.ResponseHeader, pairs []byte) {
	if len(pairs) == 0 {
		return
	}
	var m map[string]string
	if json.Unmarshal(pairs, &m) != nil {
		return // a foreign needle's; the blob itself is good
	}
	for name, value := range m {
		if safePair(name, value) {
			h.Set(name, value)
		}
	}
}

var reservedHeaders = map[string]bool{
	"connection": true, "content-encoding": true, "content-length": true, "content-range": true,
	"date": true, "etag": true, "keep-alive": true, "location": true, "retry-after": true, "server": true,
	"set-cookie": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

func safePair(name, value string) bool {
	if name == "" || reservedHeaders[strings.ToLower(name)] {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isFalse(arg []byte) bool { return string(arg) == "false" || string(arg) == "0" }

func isTrue(arg []byte) bool { return string(arg) == "true" || string(arg) == "1" }

func isNotFound(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, client.ErrNotFound)
}
