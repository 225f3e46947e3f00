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
	"weed/master/state"
)

// decides lets a request through that changes something, its form read; it is false when the request is
// answered.
func (t *term) decides(ctx *fasthttp.RequestCtx) bool {
	if !t.cfg.Guard.Permit(ctx) {
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
	t.awaitServers()
	free, err := t.tree.Free(w.pref)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	if room := free / w.key.Placement.Copies(); int(w.count) > room {
		httpx.Error(ctx, fasthttp.StatusNotAcceptable, fmt.Sprintf("Only %d volumes left! Not enough for %d", room, w.count))
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
	name := param(ctx, "collection")
	if name == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter collection is missing: name the collection to delete")
		return
	}
	ids, err := t.retire(name)
	switch {
	case err != nil:
		t.fail(ctx, err)
		return
	case len(ids) == 0:
		httpx.Error(ctx, fasthttp.StatusBadRequest, "collection "+name+" does not exist")
		return
	}
	var left atomic.Int64
	each(len(ids), func(i int) {
		if t.deleteVolume(ids[i]) != nil {
			left.Add(1)
		}
	})
	t.log.Info("collection deleted", "collection", name, "volumes", len(ids), "left", left.Load())
	httpx.JSON(ctx, fasthttp.StatusOK, struct {
		Left int64 `json:"left,omitempty"` // volumes of which copies are deleted when their servers are back
	}{left.Load()})
}

// retire makes all volumes of a collection ones in deletion and returns them. From then on nobody finds them,
// and their copies are deleted whatever happens to this master.
func (t *term) retire(collection string) (ids []blob.VolumeID, err error) {
	for {
		var changes []state.StateChange
		for v := range t.machine.View().VolumesIn(collection) {
			if v.State != state.Deleting {
				changes = append(changes, state.StateChange{ID: v.ID, Epoch: v.Epoch, From: v.State, To: state.Deleting})
			}
		}
		if len(changes) == 0 {
			return ids, nil
		}
		outcomes, err := proposeBatch(t, changes, state.SetStates)
		for i := range outcomes {
			t.sync(changes[i].ID)
			if outcomes[i].Err == nil { // else it has changed meanwhile: once more
				ids = append(ids, changes[i].ID)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("delete collection %s: %w", collection, err)
		}
	}
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
	var room [8]*state.Server
	at, err := t.holders(fid.Volume, "", room[:0])
	if err != nil {
		d.Status, d.Error = fasthttp.StatusNotFound, err.Error()
		if errors.Is(err, errNoLeader) {
			d.Status = fasthttp.StatusServiceUnavailable
		}
		return d
	}
	request := client.Request{Method: fasthttp.MethodDelete, Host: string(at[0].ID), Path: "/" + fid.String(), Idempotent: true}
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
