package master

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// diskVersion is that of the needles in new volumes.
const diskVersion = 3

// records keeps the topology of a term in line with the replicated records.
type records struct {
	mu        sync.Mutex // held while a record goes into the topology, so that the newest one stays
	unsettled map[blob.VolumeID]struct{}
	lacking   map[blob.VolumeID]time.Time // volumes with too few members, and since when in this term
	surplus   map[blob.VolumeID]struct{}  // volumes with more members than copies
}

// sync brings the topology in line with the records of volumes.
func (t *term) sync(ids ...blob.VolumeID) {
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	for _, id := range ids {
		v, ok := t.machine.Volume(id)
		if !ok {
			delete(t.records.unsettled, id)
			delete(t.records.lacking, id)
			delete(t.records.surplus, id)
			t.tree.Unbind(id)
			continue
		}
		if served(v) {
			delete(t.records.unsettled, id)
		} else {
			t.records.unsettled[id] = struct{}{}
		}
		if !served(v) || len(v.Members) >= v.Copies() {
			delete(t.records.lacking, id)
		} else if _, known := t.records.lacking[id]; !known {
			t.records.lacking[id] = t.deps.Now()
		}
		if served(v) && len(v.Members) > v.Copies() {
			t.records.surplus[id] = struct{}{}
		} else {
			delete(t.records.surplus, id)
		}
		t.tree.Bind(id, groupOf(v))
	}
}

// served reports whether clients are sent to a volume: it has been made, and is not being deleted.
func served(v *state.Volume) bool { return v.State == state.Writable || v.State == state.ReadOnly }

func groupOf(v *state.Volume) topology.Group {
	g := topology.Group{
		Epoch:   v.Epoch,
		Key:     topology.LayoutKey{Collection: v.Collection, Placement: v.Placement, TTL: v.TTL},
		Members: make([]string, len(v.Members)), Open: served(v), ReadOnly: v.State == state.ReadOnly,
	}
	for i, member := range v.Members {
		g.Members[i] = string(member)
	}
	return g
}

// fill makes the topology of what the records say, at the beginning of a term: servers are taken to be there
// until they have been silent for as long as others may be.
func (t *term) fill(view *state.View) {
	now := t.deps.Now()
	for s := range view.Servers() {
		at := topology.Location{URL: string(s.ID), PublicURL: s.PublicURL, DataCenter: s.DataCenter, Rack: s.Rack}
		t.tree.Assume(now, at, int(s.Slots))
	}
	for v := range view.Volumes() {
		t.sync(v.ID)
	}
}

// followRecords takes over changes of records that nobody in this term has waited for, such as those of a
// proposal whose outcome was unknown.
func (t *term) followRecords(seen *state.View) {
	for {
		changed := t.machine.Changed()
		view := t.machine.View()
		for before, after := range view.ChangesSince(seen) {
			if after == nil {
				after = before
			}
			t.sync(after.ID)
		}
		t.syncDrains()
		seen = view
		select {
		case <-changed:
		case <-t.ctx.Done():
			return
		}
	}
}

// pending returns the volumes that are being made or deleted.
func (t *term) pending() []blob.VolumeID {
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	ids := make([]blob.VolumeID, 0, len(t.records.unsettled))
	for id := range maps.Keys(t.records.unsettled) {
		ids = append(ids, id)
	}
	return ids
}

// setState moves one volume, of a record just seen, to another state.
func (t *term) setState(v *state.Volume, to state.VolumeState) error {
	change := state.StateChange{ID: v.ID, Epoch: v.Epoch, From: v.State, To: to}
	_, err := state.Only(propose(t.ctx, t.store, state.SetStates([]state.StateChange{change})))
	t.sync(v.ID)
	if err != nil {
		return fmt.Errorf("make volume %d %s: %w", v.ID, to, err)
	}
	return nil
}

// proposeBatch puts elements of one kind through Raft, so many at a time that they fit, and returns what came
// of each up to the first failure of a proposal.
func proposeBatch[E any](t *term, all []E, command func([]E) state.Command[[]state.Outcome]) ([]state.Outcome, error) {
	const atOnce = 1024
	outcomes := make([]state.Outcome, 0, len(all))
	for len(all) > 0 {
		n := min(len(all), atOnce)
		some, err := propose(t.ctx, t.store, command(all[:n]))
		if err != nil {
			return outcomes, err
		}
		outcomes, all = append(outcomes, some...), all[n:]
	}
	return outcomes, nil
}

// putServer makes a volume server known to all masters, if anything about it is new. The number of its
// slots may go up and down with the space on its disks: only a change by more than an eighth counts.
func (t *term) putServer(hb *wire.Heartbeat) error {
	at := topology.LocationOf(hb)
	s := state.Server{ID: state.ServerID(at.URL), PublicURL: at.PublicURL, DataCenter: at.DataCenter, Rack: at.Rack,
		Slots: uint32(min(hb.Max, topology.MaxSlots))}
	if known, ok := t.machine.Server(s.ID); ok {
		same := s
		same.Slots = known.Slots
		if *known == same && max(known.Slots, s.Slots)-min(known.Slots, s.Slots) <= known.Slots/8 {
			return nil
		}
	}
	_, err := propose(t.ctx, t.store, state.PutServer(s))
	if errors.Is(err, state.ErrMalformed) {
		return fmt.Errorf("%w: %w", topology.ErrBadHeartbeat, err)
	}
	if err != nil {
		return fmt.Errorf("record server %s: %w", at.URL, err)
	}
	return nil
}
