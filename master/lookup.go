package master

import (
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/topology"
)

type location struct {
	URL        string `json:"url"`
	PublicURL  string `json:"publicUrl"`
	DataCenter string `json:"dataCenter"`
}

// found is the answer to one lookup.
type found struct {
	VolumeID       string     `json:"volumeId"`
	VolumeOrFileID string     `json:"volumeOrFileId"`
	Locations      []location `json:"locations,omitempty"`
	Error          string     `json:"error,omitempty"`
}

// maxLookups bounds the volumes of one /vol/lookup.
const maxLookups = 10_000

// locate returns the servers of a volume, the primary first. Errors: errNotFound, or errNoLeader while the
// servers may not have reported yet.
func (t *term) locate(id blob.VolumeID, collection string, dst []*topology.Location) ([]*topology.Location, error) {
	at, about, ok := t.tree.Lookup(id, dst)
	if !ok && t.mayExist(id) {
		return nil, errNoLeader
	}
	if !ok || collection != "" && collection != about.Collection {
		return nil, fmt.Errorf("volume %d %w", id, errNotFound)
	}
	return at, nil
}

// lookUp answers for a volume id, or for the volume of a fid.
func (t *term) lookUp(asked, collection string) (found, error) {
	text, _, _ := strings.Cut(asked, ",")
	answer := found{VolumeID: text, VolumeOrFileID: asked}
	id, err := blob.ParseVolumeID(text)
	if err != nil {
		answer.Error = err.Error()
		return answer, err
	}
	var room [8]*topology.Location
	at, err := t.locate(id, collection, room[:0])
	if err != nil {
		answer.Error = err.Error()
		return answer, err
	}
	for _, l := range at {
		answer.Locations = append(answer.Locations, location{l.URL, l.PublicURL, l.DataCenter})
	}
	return answer, nil
}

// asks lets a lookup through, its form read; it is false when the request is answered.
func (t *term) asks(ctx *fasthttp.RequestCtx) bool {
	if !httpx.Allow(ctx, fasthttp.MethodGet, fasthttp.MethodPost) {
		return false
	}
	if err := t.readForm(ctx); err != nil {
		t.fail(ctx, err)
		return false
	}
	return true
}

// serveLookup answers /dir/lookup.
func (t *term) serveLookup(ctx *fasthttp.RequestCtx) {
	if !t.asks(ctx) {
		return
	}
	asked := param(ctx, "volumeId")
	if asked == "" {
		asked = param(ctx, "fileId")
	}
	if asked == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter volumeId is missing: give a volume id or a fid")
		return
	}
	answer, err := t.lookUp(asked, param(ctx, "collection"))
	httpx.JSON(ctx, lookupStatus(ctx, err), &answer)
}

// lookupStatus returns the status for the outcome of a lookup, and sets Retry-After where it helps.
func lookupStatus(ctx *fasthttp.RequestCtx, err error) int {
	switch {
	case err == nil:
		return fasthttp.StatusOK
	case errors.Is(err, blob.ErrMalformed):
		return fasthttp.StatusBadRequest
	case errors.Is(err, errNoLeader):
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		return fasthttp.StatusServiceUnavailable
	}
	return fasthttp.StatusNotFound
}

// serveVolumeLookup answers /vol/lookup: a map from what was asked to what a lookup answers.
func (t *term) serveVolumeLookup(ctx *fasthttp.RequestCtx) {
	if !t.asks(ctx) {
		return
	}
	asked := params(ctx, "volumeId")
	if len(asked) == 0 || len(asked) > maxLookups {
		httpx.Error(ctx, fasthttp.StatusBadRequest,
			fmt.Sprintf("give the parameter volumeId, at least once and at most %d times", maxLookups))
		return
	}
	collection := param(ctx, "collection")
	answers := make(map[string]found, len(asked))
	for _, id := range asked {
		answers[id], _ = t.lookUp(id, collection) // the answer tells the error
	}
	httpx.JSON(ctx, fasthttp.StatusOK, answers)
}

// serveRedirect sends a request for a blob to a server that has it.
func (t *term) serveRedirect(ctx *fasthttp.RequestCtx) {
	id, ok := blobPath(ctx)
	if !ok {
		return
	}
	var room [8]*topology.Location
	at, err := t.locate(id, "", room[:0])
	if err != nil {
		t.fail(ctx, err)
		return
	}
	t.redirect(ctx, len(at), func(i int) string { return at[i].PublicURL })
}

// blobPath returns the volume of a request for a blob; it is false when the request is answered.
func blobPath(ctx *fasthttp.RequestCtx) (blob.VolumeID, bool) {
	path, err := blob.ParsePath(ctx.Path())
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusNotFound, "there is nothing at this path: it is no fid and no path of the master")
		return 0, false
	}
	return path.Volume, httpx.Allow(ctx, fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodPut, fasthttp.MethodDelete)
}

// redirect sends a client to one of n servers, of which the first is the primary: reads to all in turn, the
// rest to the primary.
func (m *Master) redirect(ctx *fasthttp.RequestCtx, n int, publicURL func(i int) string) {
	to, status := 0, fasthttp.StatusTemporaryRedirect
	if ctx.IsGet() || ctx.IsHead() {
		to, status = int(m.turn.Add(1)%uint32(n)), fasthttp.StatusMovedPermanently
	}
	uri := ctx.URI()
	b := append(make([]byte, 0, 128), "http://"...)
	b = append(b, publicURL(to)...)
	b = append(b, uri.PathOriginal()...)
	if query := uri.QueryString(); len(query) > 0 {
		b = append(append(b, '?'), query...)
	}
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetBytesV(fasthttp.HeaderLocation, b)
}
