package master

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// lack is a volume with too few members.
type lack struct {
	v     *state.Volume
	since time.Time
}

// lacks returns the volumes that have had too few members for a time, the most endangered ones first: those with
// the fewest members left, then those that lack the most, then those that have for longest.
func (t *term) lacks(before time.Time) []lack {
	t.records.mu.Lock()
	since := maps.Clone(t.records.lacking)
	t.records.mu.Unlock()
	var all []lack
	for id, at := range since {
		if v, ok := t.machine.Volume(id); ok && served(v) && len(v.Members) < v.Copies() && !at.After(before) {
			all = append(all, lack{v, at})
		}
	}
	slices.SortFunc(all, func(a, b lack) int {
		return cmp.Or(cmp.Compare(len(a.v.Members), len(b.v.Members)), -cmp.Compare(a.v.Copies(), b.v.Copies()),
			a.since.Compare(b.since), cmp.Compare(a.v.ID, b.v.ID))
	})
	return all
}

// startRepairs begins to make the copies again that have been missing for too long, as many at a time as bounds
// allow.
func (t *term) startRepairs() {
	if t.copyingLoad().total >= maxCopyings || t.warming() {
		return
	}
	for _, l := range t.lacks(t.deps.Now().Add(-t.cfg.RepairDelay)) {
		if t.copyingLoad().total >= maxCopyings {
			return
		}
		if t.copies.of(l.v.ID) != nil {
			continue
		}
		t.settleStrays(l.v.ID) // a copy that is there already comes before one that has to be made
		if t.copies.of(l.v.ID) == nil && t.copyingLoad().mayRead(l.v.Primary) {
			t.refuseRepair(l.v, t.repair(l.v, forRepair, ""))
		}
	}
}

// refuseRepair notes why a volume can't be repaired, or that it can, and says so once.
func (t *term) refuseRepair(v *state.Volume, err error) {
	t.copies.mu.Lock()
	defer t.copies.mu.Unlock()
	if err == nil {
		delete(t.copies.refused, v.ID)
		return
	}
	reason := err.Error()
	if t.copies.refused[v.ID] != reason {
		t.log.Warn("a missing copy of a volume can't be made again", "volume", uint32(v.ID), "members", v.Members, "err", err)
	}
	t.copies.refused[v.ID] = reason
}

// repair begins to make a missing copy of a volume, on a server of the choice of the placement, or on the one that
// is named. The error is errNoPrimary or one of topology.ReserveCopy.
func (t *term) repair(v *state.Volume, why purpose, on string) error {
	if p := t.tree.Presence(v.ID, string(v.Primary)); !p.Heard || !p.Holds {
		return errNoPrimary
	}
	plan, err := t.reserveCopy(v, "", why.limited(), on)
	if err != nil {
		return err
	}
	t.startCopying(&copying{id: v.ID, to: state.ServerID(plan.Servers[0].URL), why: why, plan: plan})
	return nil
}

// reserveCopy chooses a server for one more copy of a volume, of which one member may be about to go, and keeps a
// slot there. It passes over servers that hold a copy of that id already, have failed with it lately, or, for what
// is bounded, have enough to do.
func (t *term) reserveCopy(v *state.Volume, without state.ServerID, bounded bool, on string) (*topology.Reservation, error) {
	load, now := t.copyingLoad(), t.deps.Now()
	strays := t.tree.Strays(v.ID)
	return t.tree.ReserveCopy(groupOf(v).Key, t.placesOf(v, without), func(url string) bool {
		server := state.ServerID(url)
		return on != "" && url != on || slices.Contains(v.Members, server) || on == "" && t.copies.avoids(v.ID, server, now) ||
			bounded && load.of[server] >= maxServerCopyings ||
			slices.ContainsFunc(strays, func(s topology.Stray) bool { return s.At.URL == url })
	})
}

// placesOf returns where the members of a volume are but one, as the records say.
func (m *Master) placesOf(v *state.Volume, without state.ServerID) (places []topology.Location) {
	for _, member := range v.Members {
		if s, ok := m.machine.Server(member); ok && member != without {
			places = append(places, topology.Location{URL: string(s.ID), PublicURL: s.PublicURL, DataCenter: s.DataCenter, Rack: s.Rack})
		}
	}
	return places
}

// copyingLoad counts the copyings that are bounded.
type copyingLoad struct {
	total int
	of    map[state.ServerID]int // that read from a server, or write to it
}

func (l copyingLoad) mayRead(server state.ServerID) bool { return l.of[server] < maxServerCopyings }

func (t *term) copyingLoad() copyingLoad {
	load := copyingLoad{of: map[state.ServerID]int{}}
	for _, c := range t.copies.all() {
		if !c.why.limited() {
			continue
		}
		load.total++
		load.of[c.to]++
		if v, ok := t.machine.Volume(c.id); ok {
			load.of[v.Primary]++
		}
	}
	return load
}

// outlook says what is being done about the members of a volume, "" if there is nothing to do.
func (t *term) outlook(id blob.VolumeID) string {
	if c := t.copies.of(id); c != nil {
		return c.progress().Doing
	}
	t.records.mu.Lock()
	since, lacking := t.records.lacking[id]
	t.records.mu.Unlock()
	if !lacking {
		return ""
	}
	t.copies.mu.Lock()
	reason := t.copies.refused[id]
	t.copies.mu.Unlock()
	if reason != "" {
		return "repair: not possible now: " + reason
	}
	wait := since.Add(t.cfg.RepairDelay).Sub(t.deps.Now()).Round(time.Second)
	return "repair: begins in " + max(wait, 0).String()
}

// dropSurplus has members left out of volumes that have more of them than copies: a copy was made again while the old
// one came back, or a move was not finished before the leader changed.
func (t *term) dropSurplus() {
	t.records.mu.Lock()
	ids := slices.Sorted(maps.Keys(t.records.surplus))
	t.records.mu.Unlock()
	for _, id := range ids {
		v, ok := t.machine.Volume(id)
		if !ok || !served(v) || len(v.Members) <= v.Copies() || t.copies.of(id) != nil || t.notInSync(v, "") != "" {
			continue
		}
		drop := t.surplusOf(v)
		err := t.order(string(v.Primary), wire.PathVolumeCopies, wire.ChangeCopies{ID: uint32(id), Drop: string(drop)}, nil)
		if err != nil {
			t.log.Warn("a volume keeps more members than copies", "volume", uint32(id), "members", v.Members, "err", err)
		}
	}
}

// surplusOf returns the member that can be left out best: not the primary, and one without which the placement is kept.
func (t *term) surplusOf(v *state.Volume) state.ServerID {
	for _, member := range slices.Backward(v.Members[1:]) {
		rest := slices.DeleteFunc(slices.Clone(v.Members), func(m state.ServerID) bool { return m == member })
		if t.spreadOf(rest).keeps(v.Placement) {
			return member
		}
	}
	return v.Members[len(v.Members)-1]
}
