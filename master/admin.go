package master

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/topology"
)

// decides lets a request through that changes something, its form read; it is false when the request is
// answered.
func (t *term) decides(ctx *fasthttp.RequestCtx, methods ...string) bool {
	if !httpx.Allow(ctx, methods...) || refuseHead(ctx) || !t.cfg.Guard.Permit(ctx) {
		return false
	}
	if err := t.readForm(ctx); err != nil {
		t.fail(ctx, err)
		return false
	}
	return true
}

// serveGrow answers /vol/grow: it makes as many volumes as asked for.
func (t *term) serveGrow(ctx *fasthttp.RequestCtx) {
	if !t.decides(ctx, fasthttp.MethodGet, fasthttp.MethodPost) {
		return
	}
	w, err := t.readWish(ctx, false)
	if err == nil {
		err = blob.CheckCollection(w.key.Collection)
	}
	if err == nil && param(ctx, "count") == "" {
		err = fmt.Errorf("%w count: say how many volumes to make", errMalformed)
	}
	if err != nil {
		t.fail(ctx, err)
		return
	}
	w = w.clone()
	free, err := t.tree.Free(w.pref)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	if slots := int(w.count) * w.key.Placement.Copies(); slots > free {
		httpx.Error(ctx, fasthttp.StatusNotAcceptable, fmt.Sprintf("Only %d volumes left! Not enough for %d", free, slots))
		return
	}
	made, err := t.grow(w.key, w.pref, int(w.count))
	if err != nil {
		t.fail(ctx, err)
		return
	}
	t.log.Info("made volumes as asked", "layout", w.key.String(), "volumes", made, "asked", w.count)
	httpx.JSON(ctx, fasthttp.StatusOK, map[string]int{"count": made})
}

// serveCollectionDelete answers /col/delete.
func (t *term) serveCollectionDelete(ctx *fasthttp.RequestCtx) {
	if !t.decides(ctx, fasthttp.MethodGet, fasthttp.MethodPost) {
		return
	}
	name := param(ctx, "collection")
	if name == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter collection is missing: name the collection to delete")
		return
	}
	holdings := t.tree.Retire(name)
	if len(holdings) == 0 {
		if t.warming() {
			t.fail(ctx, errNoLeader)
			return
		}
		httpx.Error(ctx, fasthttp.StatusBadRequest, "collection "+name+" does not exist")
		return
	}
	if left := t.deleteVolumes(name, holdings); left > 0 {
		httpx.Error(ctx, fasthttp.StatusInternalServerError, fmt.Sprintf(
			"%d of %d volumes of collection %s could not be deleted from all servers: try again when all are up",
			left, len(holdings), name))
		return
	}
	t.log.Info("collection deleted", "collection", name, "volumes", len(holdings))
	httpx.JSON(ctx, fasthttp.StatusOK, struct{}{})
}

// deleteVolumes deletes all copies of retired volumes and returns how many volumes are left; those are
// reinstated.
func (t *term) deleteVolumes(collection string, holdings []topology.Holding) int {
	var left atomic.Int64
	each(len(holdings), func(i int) {
		h := holdings[i]
		whole := true
		for _, at := range h.Locations {
			if err := t.deleteCopy(at.URL, h.ID, collection); err != nil {
				t.log.Error("could not delete a volume", "server", at.URL, "volume", uint32(h.ID), "collection", collection, "err", err)
				whole = false
				continue
			}
			t.tree.Forget(h.ID, at.URL)
		}
		if !whole {
			t.tree.Reinstate(h.ID)
			left.Add(1)
		}
	})
	return int(left.Load())
}

// deleted is what became of one fid of /delete.
type deleted struct {
	FID    string `json:"fid"`
	Size   int64  `json:"size"`
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// serveDelete answers POST /delete: it has the blobs of all fids deleted, each by its volume's primary.
func (t *term) serveDelete(ctx *fasthttp.RequestCtx) {
	if !t.decides(ctx, fasthttp.MethodPost) {
		return
	}
	fids := params(ctx, "fid")
	results := make([]deleted, len(fids))
	each(len(fids), func(i int) { results[i] = t.deleteBlob(fids[i]) })
	httpx.JSON(ctx, fasthttp.StatusAccepted, results)
}

func (t *term) deleteBlob(text string) deleted {
	d := deleted{FID: text}
	fid, err := blob.ParseFileID(text)
	if err != nil {
		d.Status, d.Error = fasthttp.StatusBadRequest, err.Error()
		return d
	}
	var room [8]*topology.Location
	at, err := t.locate(fid.Volume, "", room[:0])
	if err != nil {
		d.Status, d.Error = fasthttp.StatusNotFound, err.Error()
		if errors.Is(err, errNoLeader) {
			d.Status = fasthttp.StatusServiceUnavailable
		}
		return d
	}
	request := client.Request{Method: fasthttp.MethodDelete, Host: at[0].URL, Path: "/" + fid.String(), Idempotent: true}
	status, body, err := t.client.Forward(t.calls, &request, nil)
	if err != nil {
		d.Status, d.Error = fasthttp.StatusServiceUnavailable, "the volume server can't be reached: try again"
		return d
	}
	var answer struct {
		Size  int64  `json:"size"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil && status < 300 {
		answer.Error = "the volume server's answer makes no sense"
	}
	d.Status, d.Size, d.Error = status, answer.Size, answer.Error
	if status >= 300 && d.Error == "" {
		d.Error = fasthttp.StatusMessage(status)
	}
	return d
}
