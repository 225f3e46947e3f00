package master

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// marked is the answer to a mark.
type marked struct {
	VolumeID blob.VolumeID `json:"volumeId"`
	ReadOnly bool          `json:"readonly"`
	Servers  []string      `json:"servers"` // all that hold a copy, the primary first
}

// serveMark answers POST /vol/mark: it sets or clears the operator's read-only mark on all copies of a
// volume.
func (t *term) serveMark(ctx *fasthttp.RequestCtx) {
	order, err := readMark(ctx)
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	id := blob.VolumeID(order.ID)
	at, err := t.locate(id, "", nil)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	if failed := t.mark(at, order); len(failed) > 0 {
		httpx.Error(ctx, fasthttp.StatusInternalServerError, fmt.Sprintf(
			"volume %d was marked on %d of %d servers, but not on %s: try again", id, len(at)-len(failed), len(at),
			strings.Join(failed, ", ")))
		return
	}
	if order.ReadOnly {
		t.awaitUnwritable(id)
	}
	t.log.Info("volume marked", "volume", order.ID, "readOnly", order.ReadOnly, "copies", len(at))
	answer := marked{VolumeID: id, ReadOnly: order.ReadOnly}
	for _, l := range at {
		answer.Servers = append(answer.Servers, l.URL)
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &answer)
}

// readMark reads the parameters of a mark. The error says what to give.
func readMark(ctx *fasthttp.RequestCtx) (wire.MarkVolume, error) {
	id, err := blob.ParseVolumeID(param(ctx, "volumeId"))
	if err != nil {
		return wire.MarkVolume{}, fmt.Errorf("volumeId: %w", err)
	}
	switch value := param(ctx, "readonly"); value {
	case "true", "false":
		return wire.MarkVolume{ID: uint32(id), ReadOnly: value == "true"}, nil
	default:
		return wire.MarkVolume{}, fmt.Errorf("readonly: %.32q is neither true nor false", value)
	}
}

// mark has every server mark its copy, and returns those that did not, each with the reason.
func (t *term) mark(at []*topology.Location, order wire.MarkVolume) (failed []string) {
	errs := make([]error, len(at))
	each(len(at), func(i int) { errs[i] = t.order(at[i].URL, wire.PathVolumeMark, order, nil) })
	for i, err := range errs {
		if err == nil {
			continue
		}
		t.log.Error("could not mark a volume", "server", at[i].URL, "volume", order.ID, "readOnly", order.ReadOnly, "err", err)
		reason := "it can't be reached"
		var refused *client.StatusError
		if errors.As(err, &refused) {
			reason = refused.Message
		}
		failed = append(failed, at[i].URL+" ("+reason+")")
	}
	return failed
}

// awaitUnwritable waits for the heartbeats that make the volume leave the writables, and its record say so, so
// that who has marked it is assigned none of its fids any more and finds it marked. They are under way; a pulse
// is the longest that they can take.
func (t *term) awaitUnwritable(id blob.VolumeID) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Pulse)
	defer cancel()
	var room [8]*topology.Location
	for {
		heard := t.news.wait()
		_, about, known := t.tree.Lookup(id, room[:0])
		recorded, ok := t.machine.Volume(id)
		if (!known || !about.Writable) && (!ok || recorded.State != state.Writable) {
			return
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return
		}
	}
}
