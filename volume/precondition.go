package volume

import (
	"errors"
	"sync"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/storage"
)

// errPrecondition: RFC 9110 section 13.2 wants conditions evaluated by whoever knows them.
var errPrecondition = errors.New("the blob is not as If-Match, If-None-Match or If-Unmodified-Since of the request wants it")

// keyLocks make the look at a blob, and the write that depends on it, one step: a write with a condition holds
// the lock of its key alone, the others share it. Keys share locks, which costs a little waiting now and then.
type keyLocks [256]sync.RWMutex

func (l *keyLocks) of(id blob.VolumeID, key blob.Key) *sync.RWMutex {
	const golden = 0x9e3779b97f4a7c15 // spreads neighbours (Knuth, The Art of Computer Programming, 6.4)
	return &l[(uint64(key)+uint64(id)<<32)*golden>>56]
}

// write carries out a put or delete of a key if the request's conditions hold, and is errPrecondition if not. do
// must not wait for another write to this server.
func (s *Server) write(ctx *fasthttp.RequestCtx, v *storage.Volume, p *blob.Path, do func() error) error {
	lock := s.keys.of(p.Volume, p.Key)
	if _, any := writeConditionsOf(&ctx.Request.Header); !any {
		lock.RLock()
		defer lock.RUnlock()
		return s.doHealed(v, p, do)
	}
	lock.Lock()
	defer lock.Unlock()
	err := s.current(s.node.Replica(p.Volume), v, p.Key)
	if err == nil {
		err = checkConditions(ctx, v, p)
	}
	if err != nil {
		return err
	}
	return s.doHealed(v, p, do)
}

// doHealed does something with a blob, once more if it has failed for damage that was mended then.
func (s *Server) doHealed(v *storage.Volume, p *blob.Path, do func() error) error {
	err := do()
	if s.healAfter(v, p, err) {
		err = do()
	}
	return err
}

// writeConditionsOf gathers the conditional fields that count for a write; any is false when there are none.
func writeConditionsOf(h *fasthttp.RequestHeader) (c httprange.Conditions, any bool) {
	c = httprange.Conditions{
		IfMatch:           peekList(h, headerIfMatch),
		IfNoneMatch:       peekList(h, headerIfNoneMatch),
		IfUnmodifiedSince: h.PeekCanonical(headerIfUnmodifiedSince),
	}
	return c, len(c.IfMatch)+len(c.IfNoneMatch)+len(c.IfUnmodifiedSince) > 0
}

// checkConditions compares the conditions of a write, if there are any, with the blob that is there now. A blob
// with another cookie is none, to this client.
func checkConditions(ctx *fasthttp.RequestCtx, v *storage.Volume, p *blob.Path) error {
	c, any := writeConditionsOf(&ctx.Request.Header)
	if !any {
		return nil
	}
	etag, modified := "", int64(0)
	switch b, err := v.Open(p.Key, p.Cookie); {
	case err == nil:
		etag, modified = string(appendETag(nil, b.Checksum)), b.LastModified
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	if httprange.Evaluate(string(ctx.Method()), c, etag, modified) == httprange.PreconditionFailed {
		return errPrecondition
	}
	return nil
}
