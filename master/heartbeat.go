package master

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
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
	for _, member := range m.store.Members() {
		reply.Masters = append(reply.Masters, member.ID)
	}
	if t := m.leading(); t != nil {
		reply.Leader = m.cfg.Address
		if reply.Resend, err = t.takeHeartbeat(&hb); err == nil {
			reply.Configs, reply.LastKey = t.configsFor(hb.URL), uint64(max(m.machine.LastKey(), 1))
		}
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
	if v, err := t.identify(hb); err != nil || v == asked {
		return v == asked, err
	}
	if err := t.raise(hb.Volumes); err != nil {
		return false, fmt.Errorf("raise the sequences above those of %s: %w", hb.URL, err)
	}
	if err := t.record(hb); err != nil {
		return false, err
	}
	out, err := t.tree.Heartbeat(t.deps.Now(), hb)
	if err != nil {
		return false, err
	}
	if err := t.noteStates(hb); err != nil {
		return false, fmt.Errorf("record the states of the volumes on %s: %w", hb.URL, err)
	}
	if out.Joined {
		t.log.Info("volume server joined", "server", out.At.URL, "publicUrl", out.At.PublicURL,
			"dataCenter", out.At.DataCenter, "rack", out.At.Rack, "slots", hb.Max, "volumes", len(hb.Volumes))
		t.warnOfSharing(out.At)
	}
	if out.Left {
		t.log.Info("volume server left", "server", out.At.URL, "dataCenter", out.At.DataCenter, "rack", out.At.Rack)
	}
	t.takeStrays(out.Conflicts)
	if t.copies.concerns(hb) {
		kick(t.copies.due)
	}
	if out.Joined || out.Left || len(hb.Gone) > 0 {
		kick(t.settlingDue)
	}
	if out.Joined || t.bringsBack(hb) {
		kick(t.deletionsDue)
	}
	for _, key := range out.Crowded {
		t.growAhead(key)
	}
	t.news.tell()
	return out.Resend, nil
}

// record makes what a server reports known to all masters, as far as it is new.
func (t *term) record(hb *wire.Heartbeat) error {
	if hb.Leaving || hb.URL == "" || hb.Max < 0 {
		return nil // nothing new, or nothing that can be recorded
	}
	if err := t.putServer(hb); err != nil {
		return err
	}
	if err := t.adopt(hb); err != nil {
		return fmt.Errorf("record the volumes on %s: %w", hb.URL, err)
	}
	return nil
}

// takeStrays decides at once on copies that turn out to be strays, and tells the log of those that stay so.
func (t *term) takeStrays(found []topology.Conflict) {
	if len(found) == 0 {
		return
	}
	ids := make([]blob.VolumeID, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	t.settleStrays(ids...)
	for _, c := range found {
		if !t.tree.Presence(c.ID, c.URL).Holds && !t.takesBack(c) {
			t.log.Warn("a copy of a volume is a stray: it is not served", "volume", uint32(c.ID), "server", c.URL, "reason", c.Reason)
		}
	}
}

// takesBack reports whether a stray is about to become its volume's copy.
func (t *term) takesBack(c topology.Conflict) bool {
	if open := t.copies.of(c.ID); open != nil && open.to == state.ServerID(c.URL) {
		return true
	}
	t.straying.Lock()
	defer t.straying.Unlock()
	_, waiting := t.unknown[c.ID]
	return waiting
}

// bringsBack reports whether a server reports a copy of a volume in deletion.
func (t *term) bringsBack(hb *wire.Heartbeat) bool {
	for i := range hb.Volumes {
		if v, ok := t.machine.Volume(blob.VolumeID(hb.Volumes[i].ID)); ok && v.State == state.Deleting {
			return true
		}
	}
	return false
}

// raise lifts the sequences above all keys and ids that are reported.
func (t *term) raise(volumes []wire.VolumeInfo) error {
	var maxKey blob.Key
	var maxID blob.VolumeID
	for i := range volumes {
		if key := blob.Key(volumes[i].MaxKey); key <= blob.MaxKey {
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
