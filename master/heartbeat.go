package master

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/master/state"
)

// maxReportedID is the highest volume id that raises the ids given out. A higher one, of a file that somebody
// has named so, would use them up; they never get there.
const maxReportedID blob.VolumeID = 1 << 31

// serveHeartbeat answers POST /internal/heartbeat. A master that does not lead names the one that does.
func (m *Master) serveHeartbeat(ctx *fasthttp.RequestCtx) {
	if !httpx.Allow(ctx, fasthttp.MethodPost) {
		return
	}
	body, err := httpx.ReadBody(ctx, m.beats, heartbeatLimit)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	var hb wire.Heartbeat
	err = json.Unmarshal(body.Bytes, &hb)
	body.Release()
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "malformed heartbeat: "+err.Error())
		return
	}
	reply := wire.HeartbeatReply{VolumeSizeLimitBytes: m.cfg.VolumeSizeLimitBytes, PulseMillis: m.cfg.Pulse.Milliseconds()}
	if t := m.leading(); t != nil {
		reply.Leader = m.cfg.Address
		reply.Resend, err = t.takeHeartbeat(&hb)
	} else if leader, ok := m.store.Leader(); ok && leader != m.cfg.Address {
		reply.Leader = leader
	} else {
		err = errNoLeader
	}
	if err != nil {
		m.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &reply)
}

// takeHeartbeat takes in what a volume server reports. Before anything can be assigned to its volumes, the
// keys and volume ids that they use are out of reach.
func (t *term) takeHeartbeat(hb *wire.Heartbeat) (resend bool, err error) {
	t.metrics.heartbeats.Inc()
	if err := t.raise(hb.Volumes); err != nil {
		return false, fmt.Errorf("raise the sequences above those of %s: %w", hb.URL, err)
	}
	found, out, err := t.doomed.admit(t.tree, t.deps.Now(), hb)
	if err != nil {
		return false, err
	}
	for _, v := range found {
		t.jobs.start(func() { t.undoReported(hb.URL, v) })
	}
	if out.Joined {
		t.log.Info("volume server joined", "server", out.At.URL, "publicUrl", out.At.PublicURL,
			"dataCenter", out.At.DataCenter, "rack", out.At.Rack, "slots", hb.Max, "volumes", len(hb.Volumes))
	}
	if out.Left {
		t.log.Info("volume server left", "server", out.At.URL, "dataCenter", out.At.DataCenter, "rack", out.At.Rack)
	}
	for _, c := range out.Conflicts {
		t.log.Error("a copy of a volume contradicts the others", "conflict", c.String())
	}
	for _, key := range out.Crowded {
		t.growAhead(key)
	}
	t.news.tell()
	return out.Resend, nil
}

// undoReported deletes a copy that undo could not reach before. One that holds blobs is not what it was
// taken for, and stays.
func (t *term) undoReported(server string, v wire.VolumeInfo) {
	if v.FileCount > 0 {
		t.log.Error("a copy that was to be deleted holds blobs and stays", "server", server, "volume", v.ID)
		t.doomed.remove(server, blob.VolumeID(v.ID))
		return
	}
	t.undo(server, blob.VolumeID(v.ID), v.Collection)
}

// raise lifts the sequences above all keys and ids that are reported.
func (t *term) raise(volumes []wire.VolumeInfo) error {
	var maxKey blob.Key
	var maxID blob.VolumeID
	for i := range volumes {
		if key := blob.Key(volumes[i].MaxKey); key <= state.MaxKey {
			maxKey = max(maxKey, key)
		}
		if id := blob.VolumeID(volumes[i].ID); id <= maxReportedID {
			maxID = max(maxID, id)
		}
	}
	if maxID > t.machine.LastVolumeID() {
		if _, err := propose(t.ctx, t.store, state.RaiseVolumeID(maxID)); err != nil {
			return err
		}
	}
	return t.keys.raise(maxKey)
}
