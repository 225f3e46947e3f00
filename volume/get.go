package volume

import (
	"errors"
	"sync"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/replication/live"
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

func (r *reader) release() {
	r.needle = storage.Needle{}
	if cap(r.buf) > 2*copyLimitBytes { // the blob was replaced by a large one in the middle
		r.buf = nil
	}
	readers.Put(r)
}

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
	defer r.release()
	copied := s.node.Replica(p.Volume)
	c, ok, err := s.lookUp(r, copied, v, &p)
	if ok && copied != nil && err != nil {
		if s.healAfter(v, &p, err) {
			c, ok, err = s.lookUp(r, copied, v, &p)
		}
		if ok && isDamage(err) && s.answerFromOther(ctx, copied) {
			return
		}
	}
	if !ok {
		s.redirectUnsure(ctx, copied)
		return
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	if c.needle.Manifest && !isFalse(ctx.QueryArgs().Peek("cm")) {
		s.getManifest(ctx, &p, &c, r)
		return
	}
	if len(ctx.URI().QueryString()) > 0 && s.sendResized(ctx, &p, &c, r) {
		return
	}
	s.send(ctx, &p, &c, r)
}

// lookUp finds a blob for a read. It returns false if this copy can't tell whether that is the last word.
func (s *Server) lookUp(r *reader, copied *live.Replica, v *storage.Volume, p *blob.Path) (c content, ok bool, err error) {
	resets := v.Resets()
	if err := s.current(copied, v, p.Key); err != nil {
		return c, false, err
	}
	c, err = r.find(v, p)
	return c, v.Resets() == resets, err // else the log has begun anew meanwhile, and may lack anything
}

// find looks a blob up in a volume.
func (r *reader) find(v *storage.Volume, p *blob.Path) (c content, err error) {
	size, ok := v.SizeOf(p.Key)
	if !ok {
		return c, storage.ErrNotFound
	}
	if size <= copyLimitBytes {
		r.needle, r.buf, err = v.Get(p.Key, p.Cookie, r.buf)
		return content{needle: &r.needle, size: int64(len(r.needle.Data))}, err
	}
	b, err := v.Open(p.Key, p.Cookie)
	if err != nil {
		return c, err
	}
	return content{needle: &b.Needle, blob: b, size: b.DataSize()}, nil
}

func isNotFound(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, client.ErrNotFound)
}
