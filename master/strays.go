package master

import (
	"cmp"
	"errors"
	"slices"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// silencePulses is the number of pulses after which a member that nobody has heard of, and that did not say
// goodbye, is taken not to come back with its copy when another server has one.
const silencePulses = 6

// adopt takes in volumes that are reported by a server and of which no record exists: files from elsewhere,
// or from before the masters lost their data.
func (t *term) adopt(hb *wire.Heartbeat) error {
	var found []state.Volume
	var view *state.View
	for i := range hb.Volumes {
		info := &hb.Volumes[i]
		id := blob.VolumeID(info.ID)
		if _, known := t.machine.Volume(id); known || id > state.MaxAdopted {
			continue
		}
		if view == nil {
			view = t.machine.View()
		}
		layout, ok := recordLayout(info)
		if !ok || view.Removed(id) {
			continue
		}
		group := state.Group{Primary: state.ServerID(hb.URL), Members: []state.ServerID{state.ServerID(hb.URL)}}
		found = append(found, state.Volume{ID: id, Layout: layout, State: t.stateOf(info), Epoch: 1, Group: group})
	}
	if len(found) == 0 {
		return nil
	}
	outcomes, err := proposeBatch(t, found, state.AdoptVolumes)
	if err != nil {
		return err
	}
	adopted := 0
	for i, o := range outcomes {
		switch {
		case o.Err == nil:
			adopted++
		case !errors.Is(o.Err, state.ErrConflict): // another server's heartbeat was faster
			t.log.Error("a volume can't be taken in", "server", hb.URL, "volume", uint32(found[i].ID), "err", o.Err)
		}
		t.sync(found[i].ID)
	}
	if adopted > 0 {
		t.log.Info("took in volumes that no master knew", "server", hb.URL, "volumes", adopted)
	}
	return nil
}

// recordLayout reads the layout of a copy; it is false when no record can have it.
func recordLayout(info *wire.VolumeInfo) (state.Layout, bool) {
	key, err := topology.KeyOf(info)
	ok := err == nil && info.Version >= 1 && info.Version <= 3 &&
		key.Placement == blob.PlacementFromByte(key.Placement.Byte())
	return state.Layout{Collection: key.Collection, Placement: key.Placement, TTL: key.TTL, DiskVersion: uint8(info.Version)}, ok
}

// stateOf returns the state of a volume all of whose copies are like this one.
func (t *term) stateOf(info *wire.VolumeInfo) state.VolumeState {
	if info.ReadOnly || info.SizeBytes >= t.cfg.VolumeSizeLimitBytes {
		return state.ReadOnly
	}
	return state.Writable
}

// noteStates makes the records say of each reported volume whether its members take blobs, so that the next
// leader knows before they have reported to it.
func (t *term) noteStates(hb *wire.Heartbeat) error {
	if len(hb.Volumes) == 0 {
		return nil
	}
	t.noting.Lock() // what another server reports meanwhile counts for the next
	defer t.noting.Unlock()
	var changes []state.StateChange
	for i := range hb.Volumes {
		v, ok := t.machine.Volume(blob.VolumeID(hb.Volumes[i].ID))
		if !ok || !served(v) || !slices.Contains(v.Members, state.ServerID(hb.URL)) {
			continue
		}
		to := t.stateOf(&hb.Volumes[i])
		if to == v.State || to == state.Writable && t.tree.Blocked(v.ID) {
			continue
		}
		changes = append(changes, state.StateChange{ID: v.ID, Epoch: v.Epoch, From: v.State, To: to})
	}
	if len(changes) == 0 {
		return nil
	}
	_, err := proposeBatch(t, changes, state.SetStates) // who was faster knows better
	for _, c := range changes {
		t.sync(c.ID)
	}
	return err
}

// settleStrays decides what becomes of copies on servers that are no members of their volume: of all of
// them for no ids.
func (t *term) settleStrays(ids ...blob.VolumeID) {
	t.straying.Lock()
	defer t.straying.Unlock()
	var strays []topology.Stray
	if len(ids) == 0 {
		strays = t.tree.Strays(0)
	}
	for _, id := range ids {
		strays = append(strays, t.tree.Strays(id)...)
	}
	var changes []state.GroupChange
	for len(strays) > 0 {
		id := blob.VolumeID(strays[0].Info.ID)
		n := 1
		for n < len(strays) && blob.VolumeID(strays[n].Info.ID) == id {
			n++
		}
		v, known := t.machine.Volume(id)
		switch {
		case known && served(v):
			if group, ok := t.regroup(v, strays[:n]); ok {
				changes = append(changes, state.GroupChange{ID: id, Epoch: v.Epoch, Group: group})
			}
		case !known && t.machine.View().Removed(id):
			t.deleteRemains(id, strays[:n])
		}
		strays = strays[n:]
	}
	if len(changes) == 0 {
		return
	}
	outcomes, err := proposeBatch(t, changes, state.Reconfigure)
	if err != nil {
		t.log.Warn("could not make servers members of the volumes that they hold", "volumes", len(changes), "err", err)
	}
	for _, c := range changes {
		t.sync(c.ID)
	}
	for i, o := range outcomes {
		if o.Err != nil {
			t.log.Warn("could not make a server member of a volume that it holds", "volume", uint32(changes[i].ID), "err", o.Err)
			continue
		}
		t.log.Info("volume has new members", "volume", uint32(o.Volume.ID), "epoch", o.Volume.Epoch, "members", changes[i].Members)
		t.warnOfPlacement(o.Volume)
	}
}

// regroup returns the group that a volume should have, given copies on servers that are no members. Where
// members are fewer than the copies wanted, some of these join. Where no member has the volume any more, nor
// is about to come back with it, those take their place that are no shorter than what was seen last.
func (t *term) regroup(v *state.Volume, strays []topology.Stray) (state.Group, bool) {
	type holder struct {
		id        state.ServerID
		sizeBytes uint64
		revision  uint16
	}
	var holders []holder
	longest := func(a, b holder) int {
		return -cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.sizeBytes, b.sizeBytes))
	}
	if t.deserted(v) {
		size, revision := t.tree.LastSize(v.ID)
		strays = slices.DeleteFunc(slices.Clone(strays), func(s topology.Stray) bool {
			return longest(holder{"", s.Info.SizeBytes, s.Info.CompactRevision}, holder{"", size, revision}) > 0
		})
	} else {
		for _, member := range v.Members {
			p := t.tree.Presence(v.ID, string(member))
			if !p.Heard || !p.Holds {
				return state.Group{}, false // what it has decides, and that is not known now
			}
			holders = append(holders, holder{member, p.SizeBytes, p.Revision})
		}
	}
	var joining []holder
	for _, s := range strays {
		layout, ok := recordLayout(&s.Info)
		layout.DiskVersion = v.DiskVersion // which is a copy's own affair
		if ok && layout == v.Layout {
			joining = append(joining, holder{state.ServerID(s.At.URL), s.Info.SizeBytes, s.Info.CompactRevision})
		}
	}
	slices.SortStableFunc(joining, longest)
	joining = joining[:min(len(joining), max(0, v.Copies()-len(holders)))]
	if len(joining) == 0 {
		return state.Group{}, false
	}
	holders = append(holders, joining...)
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Or(longest(a, b), cmp.Compare(a.id, b.id)) })
	equals := 1 // of which all masters choose the same primary, and another one for the next volume
	for equals < len(holders) && longest(holders[0], holders[equals]) == 0 {
		equals++
	}
	group := state.Group{Primary: holders[int(v.ID)%equals].id}
	for _, h := range holders {
		group.Members = append(group.Members, h.id)
	}
	return group, true
}

// deserted reports whether no member has a volume any more, nor is about to come back with it.
func (t *term) deserted(v *state.Volume) bool {
	for _, member := range v.Members {
		p := t.tree.Presence(v.ID, string(member))
		switch {
		case p.Here && (p.Holds || !p.Heard):
			return false
		case !p.Here && !p.LastSeen.IsZero() && t.deps.Now().Sub(p.LastSeen) < silencePulses*t.cfg.Pulse:
			return false
		}
	}
	return true
}

// deleteRemains deletes empty copies of a volume that was deleted, which servers bring back that were away.
// Copies that hold something are listed as strays and left to the operator.
func (t *term) deleteRemains(id blob.VolumeID, strays []topology.Stray) {
	t.deletions.start(id, func() error {
		for _, s := range strays {
			if s.Info.FileCount+s.Info.DeleteCount > 0 {
				continue
			}
			if err := t.deleteCopy(s.At.URL, id, s.Info.Collection); err != nil {
				return err // the next pulse tries again
			}
			t.log.Info("deleted an empty copy of a volume that was deleted", "server", s.At.URL, "volume", uint32(id))
			t.tree.Forget(id, s.At.URL)
		}
		return nil
	})
}
