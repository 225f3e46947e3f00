package master

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// silencePulses is the number of pulses after which a member that nobody has heard of, and that did not say
// goodbye, is taken not to come back with its copy when another server has one.
const silencePulses = 6

// adopt takes in volumes of one copy that are reported by a server and of which no record exists: files from
// elsewhere, or from before the masters lost their data. Those of several copies wait as strays: see takeIn.
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
		if !ok || layout.Copies() > 1 || view.Removed(id) {
			continue
		}
		found = append(found, t.adoption(info, layout, hb.URL))
	}
	return t.takeIn(found)
}

// adoption is the record of a volume that has none, when the copy on a server is to be its first. Its epoch lies
// above the one that the copy knows: that had other members, for all that is known.
func (t *term) adoption(info *wire.VolumeInfo, layout state.Layout, server string) state.Volume {
	id := state.ServerID(server)
	return state.Volume{ID: blob.VolumeID(info.ID), Layout: layout, State: t.stateOf(info), Epoch: info.CopyEpoch + 1,
		Group: state.Group{Primary: id, Members: []state.ServerID{id}}}
}

// takeIn records volumes that had no record.
func (t *term) takeIn(found []state.Volume) error {
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
			t.log.Error("a volume can't be taken in", "server", string(found[i].Primary), "volume", uint32(found[i].ID), "err", o.Err)
		}
		t.sync(found[i].ID)
	}
	if adopted > 0 {
		t.log.Info("took in volumes that no master knew", "volumes", adopted)
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
		maps.DeleteFunc(t.unknown, func(id blob.VolumeID, _ time.Time) bool { return len(t.tree.Strays(id)) == 0 })
	}
	for _, id := range ids {
		strays = append(strays, t.tree.Strays(id)...)
	}
	var changes []state.GroupChange
	var found []state.Volume
	for len(strays) > 0 {
		id := blob.VolumeID(strays[0].Info.ID)
		n := 1
		for n < len(strays) && blob.VolumeID(strays[n].Info.ID) == id {
			n++
		}
		v, known := t.machine.Volume(id)
		switch {
		case known && served(v) && t.deserted(v):
			if s, ok := t.successor(v, strays[:n]); ok {
				changes = append(changes, soleMember(v, s.At.URL))
			}
		case known && served(v):
			t.takeBack(v, strays[:n])
		case known:
		case t.machine.View().Removed(id):
			t.deleteRemains(id, strays[:n])
		default:
			if v, ok := t.firstCopy(strays[:n]); ok {
				found = append(found, v)
			}
		}
		strays = strays[n:]
	}
	if err := t.takeIn(found); err != nil {
		t.log.Warn("could not take in volumes that no master knows", "volumes", len(found), "err", err)
	}
	t.succeed(changes)
}

// soleMember makes one server all that a volume has.
func soleMember(v *state.Volume, server string) state.GroupChange {
	only := state.ServerID(server)
	return state.GroupChange{ID: v.ID, Epoch: v.Epoch, Group: state.Group{Primary: only, Members: []state.ServerID{only}}}
}

// succeed gives deserted volumes to servers that hold them.
func (t *term) succeed(changes []state.GroupChange) {
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
		t.log.Info("volume has been found elsewhere", "volume", uint32(o.Volume.ID), "epoch", o.Volume.Epoch, "members", changes[i].Members)
		t.warnOfPlacement(o.Volume)
	}
	kick(t.settlingDue) // other copies of them may be needed now
}

// betterCopy orders copies: that of the later epoch first, then the one that was whole in a later one, then the one
// whose log goes further.
// The last tie is broken by a turn among servers, so that all masters choose the same and spread what they choose.
func betterCopy(a, b *wire.VolumeInfo) int {
	return -cmp.Or(cmp.Compare(a.CopyEpoch, b.CopyEpoch), cmp.Compare(a.WholeIn, b.WholeIn),
		topology.ExtentOf(a).Compare(topology.ExtentOf(b)))
}

// best returns the best of some copies, which are in order of their servers.
func best(copies []topology.Stray) topology.Stray {
	copies = slices.Clone(copies)
	slices.SortStableFunc(copies, func(a, b topology.Stray) int { return betterCopy(&a.Info, &b.Info) })
	equals := 1
	for equals < len(copies) && betterCopy(&copies[0].Info, &copies[equals].Info) == 0 {
		equals++
	}
	return copies[int(copies[0].Info.ID)%equals]
}

// fitting keeps the copies that are of a volume's layout.
func fitting(layout state.Layout, strays []topology.Stray) (copies []topology.Stray) {
	for _, s := range strays {
		of, ok := recordLayout(&s.Info)
		of.DiskVersion = layout.DiskVersion // which is a copy's own affair
		if ok && of == layout {
			copies = append(copies, s)
		}
	}
	return copies
}

// successor returns the copy that takes the place of a deserted volume's: the best one of those that are no shorter
// than what was seen last. Length says little about a log that was replicated, since its end may never have been
// acknowledged: it must be one of the epoch in force, so not that of a server that was left out.
func (t *term) successor(v *state.Volume, strays []topology.Stray) (topology.Stray, bool) {
	last := t.tree.LastExtent(v.ID)
	copies := slices.DeleteFunc(fitting(v.Layout, strays), func(s topology.Stray) bool {
		unfinished := t.copies.of(v.ID)
		return v.Copies() > 1 && s.Info.WholeIn < v.Epoch || topology.ExtentOf(&s.Info).Compare(last) < 0 ||
			unfinished != nil && unfinished.to == state.ServerID(s.At.URL) && unfinished.isMade()
	})
	if len(copies) == 0 {
		return topology.Stray{}, false
	}
	return best(copies), true
}

// takeBack has the primary of a volume that lacks a member bring a server to its log that holds a copy. One that is
// being made elsewhere is given up for it. A copy of an epoch that the record has not come to yet stays a stray: it
// knows more than the masters, which have lost their records.
func (t *term) takeBack(v *state.Volume, strays []topology.Stray) {
	if len(v.Members) >= v.Copies() {
		return
	}
	now := t.deps.Now()
	open := t.copies.of(v.ID)
	copies := slices.DeleteFunc(fitting(v.Layout, strays), func(s topology.Stray) bool {
		server := state.ServerID(s.At.URL)
		return s.Info.CopyEpoch > v.Epoch || open != nil && open.to == server || t.copies.avoids(v.ID, server, now) ||
			t.tree.Draining(s.At.URL)
	})
	switch {
	case len(copies) == 0:
	case open == nil:
		t.startCopying(&copying{id: v.ID, to: state.ServerID(best(copies).At.URL), why: forReturn})
	case open.isMade():
		open.give()
		kick(t.copies.due)
	}
}

// unknownPulses is the number of pulses for which the copies of a volume without a record are waited for.
const unknownPulses = 2

// firstCopy returns the record for a volume that has none: as its only member the server with the best copy, once
// as many have been reported as there should be, or have had the time to. The others are made equal to it then.
func (t *term) firstCopy(strays []topology.Stray) (state.Volume, bool) {
	id := blob.VolumeID(strays[0].Info.ID)
	for len(strays) > 0 {
		one := best(strays)
		layout, ok := recordLayout(&one.Info)
		if !ok || id > state.MaxAdopted {
			strays = slices.DeleteFunc(slices.Clone(strays), func(s topology.Stray) bool { return s.At == one.At })
			continue
		}
		now := t.deps.Now()
		since, waiting := t.unknown[id]
		if !waiting {
			t.unknown[id], since = now, now
		}
		if len(fitting(layout, strays)) < layout.Copies() && now.Sub(since) < unknownPulses*t.cfg.Pulse {
			return state.Volume{}, false
		}
		delete(t.unknown, id)
		return t.adoption(&one.Info, layout, one.At.URL), true
	}
	return state.Volume{}, false
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
