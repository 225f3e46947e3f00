package master

import (
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/topology"
)

// renderTarget makes the part of an assign's answer that follows the fid and is the same for every fid of
// the volume; the count and the closing brace follow.
func renderTarget(t *topology.Target) []byte {
	b := httpx.AppendString([]byte(`","url":`), t.Locations[0].URL)
	b = httpx.AppendString(append(b, `,"publicUrl":`...), t.Locations[0].PublicURL)
	return append(b, `,"count":`...)
}

// assignment is a place for blobs: the fids of the volume from first on, count of them, with one cookie.
type assignment struct {
	target *topology.Target
	first  blob.Key
	cookie blob.Cookie
	count  uint64
}

func (a *assignment) fid() blob.FileID {
	return blob.FileID{Volume: a.target.ID, Key: a.first, Cookie: a.cookie}
}

// assignTo takes keys for blobs in a volume that was picked before: whatever keys the volume holds, those
// taken after it became known are higher.
func (t *term) assignTo(target *topology.Target, count uint64) (assignment, error) {
	first, err := t.keys.take(count)
	if err != nil {
		return assignment{}, err
	}
	t.metrics.assigned.Add(float64(count))
	return assignment{target: target, first: first, cookie: t.cookies.next(), count: count}, nil
}

// pick returns a volume for the wish; it makes volumes when there is none. Unless grow is false, then
// ErrNoWritable.
func (t *term) pick(w wish, grow bool) (*topology.Target, error) {
	target, err := t.tree.Pick(w.key, w.pref)
	if err == nil || !grow || !errors.Is(err, topology.ErrNoWritable) && !t.warming() {
		return target, err
	}
	return t.pickGrown(w.clone())
}

// serveAssign answers /dir/assign.
func (t *term) serveAssign(ctx *fasthttp.RequestCtx) {
	if !t.cfg.Guard.Permit(ctx) {
		return
	}
	a, err := t.assign(ctx)
	if err != nil {
		t.metrics.refused.Inc()
		t.fail(ctx, err)
		return
	}
	if httpx.Pretty(ctx) {
		at := a.target.Locations[0]
		httpx.JSON(ctx, fasthttp.StatusOK, struct {
			FID       string `json:"fid"`
			URL       string `json:"url"`
			PublicURL string `json:"publicUrl"`
			Count     uint64 `json:"count"`
		}{a.fid().String(), at.URL, at.PublicURL, a.count})
		return
	}
	var room [256]byte
	b := append(room[:0], `{"fid":"`...)
	b = a.fid().AppendText(b)
	b = append(b, a.target.Rendered...)
	b = strconv.AppendUint(b, a.count, 10)
	httpx.RawJSON(ctx, fasthttp.StatusOK, append(b, '}'))
}

func (t *term) assign(ctx *fasthttp.RequestCtx) (assignment, error) {
	w, err := t.readWish(ctx, false)
	if err != nil {
		return assignment{}, err
	}
	target, err := t.pick(w, !ctx.IsHead()) // HEAD changes nothing
	if err != nil {
		return assignment{}, err
	}
	return t.assignTo(target, w.count)
}
