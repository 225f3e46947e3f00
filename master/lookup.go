package master

import (
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/master/state"
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

// holders appends the servers of a volume to dst, the primary first, whether they are up or not: all masters
// say the same. It takes no lock. The error is errNotFound, also for a volume that is being made or deleted.
func (m *Master) holders(id blob.VolumeID, collection string, dst []*state.Server) ([]*state.Server, error) {
	v, ok := m.machine.Volume(id)
	if ok && served(v) && (collection == "" || collection == v.Collection) {
		for _, member := range v.Members {
			if s, ok := m.machine.Server(member); ok {
				dst = append(dst, s)
			}
		}
	}
	if len(dst) == 0 {
		return nil, fmt.Errorf("volume %d %w", id, errNotFound)
	}
	return dst, nil
}

// locate is holders in the terms of the topology.
func (t *term) locate(id blob.VolumeID, collection string, dst []*topology.Location) ([]*topology.Location, error) {
	var room [8]*state.Server
	servers, err := t.holders(id, collection, room[:0])
	for _, s := range servers {
		dst = append(dst, &topology.Location{
			URL: string(s.ID), PublicURL: s.PublicURL, DataCenter: s.DataCenter, Rack: s.Rack,
		})
	}
	return dst, err
}

// lookUp answers for a volume id, or for the volume of a fid.
func (m *Master) lookUp(asked, collection string) (found, error) {
	text, _, _ := strings.Cut(asked, ",")
	answer := found{VolumeID: text, VolumeOrFileID: asked}
	id, err := blob.ParseVolumeID(text)
	if err != nil {
		answer.Error = err.Error()
		return answer, err
	}
	var room [8]*state.Server
	at, err := m.holders(id, collection, room[:0])
	if err != nil {
		answer.Error = err.Error()
		return answer, err
	}
	for _, s := range at {
		answer.Locations = append(answer.Locations, location{string(s.ID), s.PublicURL, s.DataCenter})
	}
	return answer, nil
}

// misses reports whether what was not found here may be found by the leader, and has it answer then: this
// master may be behind by a moment. Without a leader nobody can say that something does not exist.
func (m *Master) misses(ctx *fasthttp.RequestCtx, err error) bool {
	if !errors.Is(err, errNotFound) || m.leading() != nil {
		return false
	}
	m.passOn(ctx)
	return true
}

// asks lets a lookup through, its form read; it is false when the request is answered.
func (m *Master) asks(ctx *fasthttp.RequestCtx) bool {
	if !httpx.Allow(ctx, fasthttp.MethodGet, fasthttp.MethodPost) {
		return false
	}
	if err := m.readForm(ctx); err != nil {
		m.fail(ctx, err)
		return false
	}
	return true
}

// serveLookup answers /dir/lookup.
func (m *Master) serveLookup(ctx *fasthttp.RequestCtx) {
	if !m.asks(ctx) {
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
	answer, err := m.lookUp(asked, param(ctx, "collection"))
	if m.misses(ctx, err) {
		return
	}
	httpx.JSON(ctx, lookupStatus(err), &answer)
}

// lookupStatus returns the status for the outcome of a lookup.
func lookupStatus(err error) int {
	switch {
	case err == nil:
		return fasthttp.StatusOK
	case errors.Is(err, blob.ErrMalformed):
		return fasthttp.StatusBadRequest
	}
	return fasthttp.StatusNotFound
}

// serveVolumeLookup answers /vol/lookup: a map from what was asked to what a lookup answers.
func (m *Master) serveVolumeLookup(ctx *fasthttp.RequestCtx) {
	if !m.asks(ctx) {
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
		answer, err := m.lookUp(id, collection)
		if m.misses(ctx, err) {
			return
		}
		answers[id] = answer // which tells the error
	}
	httpx.JSON(ctx, fasthttp.StatusOK, answers)
}

// serveRedirect sends a request for a blob to a server that has it.
func (m *Master) serveRedirect(ctx *fasthttp.RequestCtx) {
	id, ok := blobPath(ctx)
	if !ok {
		return
	}
	var room [8]*state.Server
	at, err := m.holders(id, "", room[:0])
	if m.misses(ctx, err) {
		return
	}
	if err == nil {
		at, err = m.reachable(id, at)
	}
	if err != nil {
		m.fail(ctx, err)
		return
	}
	m.redirect(ctx, len(at), func(i int) string { return at[i].PublicURL })
}

// reachable keeps those of a volume's servers that are known to be up: the leader knows, others leave it to
// the client. The error is errUnreachable.
func (m *Master) reachable(id blob.VolumeID, at []*state.Server) ([]*state.Server, error) {
	t := m.leading()
	if t == nil {
		return at, nil
	}
	up := at[:0]
	for _, s := range at {
		if t.tree.Serves(string(s.ID)) {
			up = append(up, s)
		}
	}
	if len(up) == 0 {
		return nil, fmt.Errorf("volume %d %w", id, errUnreachable)
	}
	return up, nil
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
