package volume

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/storage"
)

// redirectLookupTimeout bounds how long a reader waits for a master that does not answer.
const redirectLookupTimeout = 5 * time.Second

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
	path := string(u.PathOriginal())
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	location := "http://" + holders[rand.IntN(len(holders))] + path
	if query := u.QueryString(); len(query) > 0 {
		location += "?" + string(query)
	}
	ctx.Response.Header.Set(fasthttp.HeaderLocation, location)
	ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
}
