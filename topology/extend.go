package topology

import (
	"slices"

	"weed/internal/blob"
)

// ReserveCopy chooses a server for one more copy of a volume that is at some servers already, and keeps a slot
// there until Settle or Release. Together with others the server is part of what the placement asks for, and where
// more copies are missing, these can follow. Where the others break the placement, because files were moved, the
// copy goes where it mends most of that. Among the servers that fit it is the one with the most free slots.
// Servers of which avoid, unless it is nil, is true are left out. ErrNoFreeSlots or ErrCannotPlace when there is
// none.
func (t *Tree) ReserveCopy(key LayoutKey, others []Location, avoid func(url string) bool) (*Reservation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return nil, ErrNoFreeSlots
	}
	n := t.chooseCopy(key.Placement, others, avoid)
	if n == nil {
		return nil, ErrCannotPlace
	}
	n.reserved++
	t.recount(n)
	return &Reservation{Key: key, Servers: []*Location{n.at}, nodes: []*node{n}}, nil
}

func (t *Tree) chooseCopy(p blob.Placement, others []Location, avoid func(string) bool) (chosen *node) {
	shop := shopping{placement: p, room: map[rackName][]*node{}}
	for _, n := range t.nodes {
		taken := slices.ContainsFunc(others, func(l Location) bool { return l.URL == n.at.URL })
		if n.free() > 0 && !taken && (avoid == nil || !avoid(n.at.URL)) {
			r := rackName{n.at.DataCenter, n.at.Rack}
			shop.room[r] = append(shop.room[r], n)
		}
	}
	at := make([]rackName, 0, len(others)+1)
	for i := range others {
		at = append(at, rackName{others[i].DataCenter, others[i].Rack})
	}
	draw := placer{salt: t.rng.Uint64()}
	worst := 0
	for r, nodes := range shop.room {
		badness := shop.badness(at, r)
		if badness < 0 || chosen != nil && badness > worst {
			continue
		}
		for _, n := range nodes {
			better := chosen == nil || badness < worst || n.free() > chosen.free() ||
				n.free() == chosen.free() && draw.lot(n.at.URL) > draw.lot(chosen.at.URL)
			if better {
				chosen, worst = n, badness
			}
		}
	}
	return chosen
}

// rackName is where a copy is, as far as placement goes.
type rackName struct{ dataCenter, rack string }

// shopping looks for servers that complete a volume.
type shopping struct {
	placement blob.Placement
	room      map[rackName][]*node // servers that may get a copy
	chosen    int                  // of the places looked at, the last ones are of servers in room
}

// badness says how well a rack completes copies that are elsewhere: 0 if the placement can be met then, 1 if that
// takes servers that are not there, more if it can't be met whatever comes, -1 if the rack breaks a placement that
// has been met so far.
func (s *shopping) badness(at []rackName, r rackName) int {
	whole := fits(s.placement, at)
	at = append(slices.Clone(at), r)
	missing := s.placement.Copies() - len(at)
	switch {
	case fits(s.placement, at):
		s.chosen = 1
		if s.completable(at, missing) {
			return 0
		}
		return 1
	case whole:
		return -1
	}
	return 2 + shortOf(s.placement, at)
}

// completable reports whether there are servers for so many more copies.
func (s *shopping) completable(at []rackName, missing int) bool {
	if missing <= 0 {
		return true
	}
	for r, nodes := range s.room {
		chosen := 0
		for _, other := range at[len(at)-s.chosen:] {
			if other == r {
				chosen++
			}
		}
		if chosen == len(nodes) {
			continue
		}
		s.chosen++
		next := append(slices.Clone(at), r)
		done := fits(s.placement, next) && s.completable(next, missing-1)
		s.chosen--
		if done {
			return true
		}
	}
	return false
}

// fits reports whether copies are at places that are part of what a placement asks for.
func fits(p blob.Placement, at []rackName) bool {
	centers := map[string]int{}
	for _, r := range at {
		centers[r.dataCenter]++
	}
	if alone(centers, "") && len(centers) <= int(p.DataCenters) {
		return true // the main data center is none of these
	}
	for main := range centers {
		if alone(centers, main) && len(centers)-1 <= int(p.DataCenters) && fitsCenter(p, at, main) {
			return true
		}
	}
	return len(at) == 0
}

// fitsCenter is fits for the copies in the main data center.
func fitsCenter(p blob.Placement, at []rackName, center string) bool {
	racks := map[string]int{}
	for _, r := range at {
		if r.dataCenter == center {
			racks[r.rack]++
		}
	}
	if alone(racks, "") && len(racks) <= int(p.Racks) {
		return true
	}
	for main, n := range racks {
		if alone(racks, main) && len(racks)-1 <= int(p.Racks) && n <= int(p.Servers)+1 {
			return true
		}
	}
	return false
}

// alone reports whether each place but one has a single copy.
func alone(copies map[string]int, but string) bool {
	for name, n := range copies {
		if n > 1 && name != but {
			return false
		}
	}
	return true
}

// shortOf returns how many more data centers or racks copies must be in to survive what the placement promises.
func shortOf(p blob.Placement, at []rackName) int {
	centers, racks := map[string]bool{}, map[rackName]bool{}
	for _, r := range at {
		centers[r.dataCenter] = true
		racks[r] = true
	}
	return max(0, int(p.DataCenters)+1-len(centers), int(p.DataCenters)+int(p.Racks)+1-len(racks))
}
