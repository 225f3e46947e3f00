package volume

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/storage"
)

// delete answers DELETE of a blob with the length of its content. The chunks of a manifest go first, so that
// a delete that fails half-way can be repeated.
func (s *Server) delete(ctx *fasthttp.RequestCtx, path []byte) {
	p, err := blob.ParsePath(path)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	v, ok := s.store.Volume(p.Volume)
	if !ok {
		s.fail(ctx, fmt.Errorf("volume %d: %w", p.Volume, storage.ErrNoVolume))
		return
	}
	total, isManifest, err := s.deleteChunks(v, &p)
	if err != nil {
		s.failDelete(ctx, err)
		return
	}
	size, err := v.Delete(p.Key, p.Cookie)
	if err != nil {
		s.failDelete(ctx, err)
		return
	}
	if isManifest {
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

// deleteChunks removes what a manifest lists and returns the length of the content that it described. A
// chunk that is gone already is no error.
func (s *Server) deleteChunks(v *storage.Volume, p *blob.Path) (size int64, isManifest bool, err error) {
	b, err := v.Stat(p.Key, p.Cookie)
	if err != nil || !b.Manifest {
		return 0, false, err
	}
	n, _, err := v.Get(p.Key, p.Cookie, nil)
	if err != nil {
		return 0, false, err
	}
	m, err := parseManifest(n.Data)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), uploadTimeout)
	defer cancel()
	fids := make([]string, len(m.Chunks))
	for i, c := range m.Chunks {
		fids[i] = c.FID
	}
	var errs []error
	for _, r := range s.client.DeleteMany(ctx, fids) {
		if r.Err != nil && !isNotFound(r.Err) {
			errs = append(errs, r.Err)
		}
	}
	return m.Size, true, errors.Join(errs...)
}
