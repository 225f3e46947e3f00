package volume

import (
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/replication"
	"weed/storage"
)

// delete answers DELETE of a blob with the length of its content. The chunks of a manifest go first, so that
// a delete that fails half-way can be repeated. With cm=false a manifest goes alone.
func (s *Server) delete(ctx *fasthttp.RequestCtx, path []byte) {
	p, v, ok := s.find(ctx, path)
	if !ok {
		return
	}
	if s.passOn(ctx, p.Volume, nil) {
		return
	}
	var b *storage.Blob
	err := s.current(s.node.Replica(p.Volume), v, p.Key)
	if err == nil {
		err = s.doHealed(v, &p, func() (err error) {
			b, err = v.Stat(p.Key, p.Cookie)
			return err
		})
	}
	if err != nil {
		s.failDelete(ctx, err)
		return
	}
	followed := b.Manifest && !isFalse(ctx.QueryArgs().Peek("cm"))
	total := int64(0)
	if followed {
		m, err := readManifest(b)
		if err == nil {
			err = checkConditions(ctx, v, &p)
		}
		if err == nil {
			total, err = m.Size, s.deleteChunks(m)
		}
		if err != nil {
			s.fail(ctx, err)
			return
		}
	}
	var size int64
	err = s.write(ctx, v, &p, func() (err error) {
		size, err = v.Delete(p.Key, p.Cookie)
		return err
	})
	if errors.Is(err, replication.ErrNotPrimary) && s.passOn(ctx, p.Volume, nil) {
		return
	}
	if err != nil {
		s.failDelete(ctx, err)
		return
	}
	if followed {
		size = total
	}
	answerJSON(ctx, fasthttp.StatusAccepted, appendSize(nil, size))
}

// failDelete answers a delete of what is not there as clients of this API expect it.
func (s *Server) failDelete(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, storage.ErrNotFound) {
		answerJSON(ctx, fasthttp.StatusNotFound, appendSize(nil, 0))
		return
	}
	s.fail(ctx, err)
}

func appendSize(dst []byte, size int64) []byte {
	return append(strconv.AppendInt(append(dst, `{"size":`...), size, 10), '}')
}
