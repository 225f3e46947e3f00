package topology

import (
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

// GrowthCount returns how many volumes growth creates at once for a number of copies: 7, 6, 3 for 1, 2, 3
// copies and 1 for more.
func GrowthCount(copies int) int {
	switch copies {
	case 1:
		return 7
	case 2:
		return 6
	case 3:
		return 3
	}
	return 1
}

// Reservation is a place for one new volume: a slot on each of Servers is kept for it until Settle or
// Release.
type Reservation struct {
	Key     LayoutKey
	Servers []*Location // as many as the placement has copies
	nodes   []*node     // nil once settled or released
}

// Reserve chooses places for new volumes of a layout and keeps the slots. The first copy goes to the
// preferred place; among the servers that fit, those with more free slots get more.
//
// With count 0 it plans as growth does: GrowthCount volumes, but not over a quarter of the free slots, at
// least one volume. It returns at least one reservation, maybe fewer than count, or one of ErrNoFreeSlots,
// ErrCannotPlace, ErrUnknown….
func (t *Tree) Reserve(key LayoutKey, pref Preference, count int) ([]*Reservation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.checkPreference(pref); err != nil {
		return nil, err
	}
	free := t.freeAt(pref)
	if free == 0 {
		return nil, ErrNoFreeSlots
	}
	copies := key.Placement.Copies()
	if count <= 0 {
		count = max(1, min(GrowthCount(copies), free/4/copies))
	}
	p := placer{tree: t, pref: pref, placement: key.Placement, given: map[any]int{}}
	var plans []*Reservation
	for range count {
		p.salt = t.rng.Uint64()
		nodes := p.place()
		if nodes == nil {
			break
		}
		plan := &Reservation{Key: key, nodes: nodes}
		for _, n := range nodes {
			n.reserved++
			t.recount(n)
			plan.Servers = append(plan.Servers, n.at)
		}
		plans = append(plans, plan)
	}
	if len(plans) == 0 {
		return nil, ErrCannotPlace
	}
	return plans, nil
}

// Free returns the free slots at a preferred place, or an ErrUnknown….
func (t *Tree) Free(pref Preference) (int, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := t.checkPreference(pref); err != nil {
		return 0, err
	}
	return t.freeAt(pref), nil
}

func (t *Tree) freeAt(pref Preference) int {
	if pref.IsZero() {
		return t.free
	}
	sum := 0
	for _, n := range t.nodes {
		if pref.admits(n.at) {
			sum += n.counted.free
		}
	}
	return sum
}

// Release gives the slots of a reservation back.
func (t *Tree) Release(plan *Reservation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(plan)
}

func (t *Tree) release(plan *Reservation) {
	for _, n := range plan.nodes {
		n.reserved--
		t.recount(n)
	}
	plan.nodes = nil
}

// Settle turns a reservation into a volume: infos are what the servers answered to the order, in the order
// of plan.Servers. The volume is writable at once. A server that has left meanwhile is passed over; it
// reports the copy itself when it returns.
func (t *Tree) Settle(now time.Time, plan *Reservation, infos []wire.VolumeInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nodes := plan.nodes
	t.release(plan)
	for i, n := range nodes {
		id := blob.VolumeID(infos[i].ID)
		if n.rack == nil || n.volumes[id] != nil {
			continue // gone, or the heartbeat was quicker
		}
		if t.put(n, &infos[i], n.round) == nil {
			if n.settled == nil {
				n.settled = map[blob.VolumeID]time.Time{}
			}
			n.settled[id] = now
		}
		t.recount(n)
	}
}

// placer chooses servers for the volumes of one Reserve.
type placer struct {
	tree      *Tree
	pref      Preference
	placement blob.Placement
	// given counts what each data center, rack and server got already, so that the volumes of one go spread
	// in proportion to the free slots.
	given map[any]int
	salt  uint64 // decides between equals
}

// place returns the servers for one volume, the main one first, or nil when the placement can't be met:
// it looks at what each choice needs below it, so it finds a placement wherever there is one.
func (p *placer) place() []*node {
	others := int(p.placement.DataCenters)
	main := best(p, p.tree.dataCenters, func(c *dataCenter) bool {
		return (p.pref.DataCenter == "" || p.pref.DataCenter == c.name) &&
			c.openRacks > int(p.placement.Racks) && p.hasMainRack(c)
	}, nil)
	if main == nil {
		return nil
	}
	nodes := p.placeInCenter(main)
	taken := map[*dataCenter]bool{main: true}
	for range others {
		c := best(p, p.tree.dataCenters, func(c *dataCenter) bool { return c.openRacks > 0 }, taken)
		if c == nil {
			return nil
		}
		taken[c] = true
		nodes = append(nodes, p.anyServer(best(p, c.racks, isOpen, nil)))
	}
	for _, n := range nodes {
		p.given[n]++
		p.given[n.rack]++
		p.given[n.rack.center]++
	}
	return nodes
}

// placeInCenter chooses the servers of the main data center, which is known to have them.
func (p *placer) placeInCenter(c *dataCenter) []*node {
	main := best(p, c.racks, p.isMainRack, nil)
	first := best(p, main.nodes, func(n *node) bool {
		return n.free() > 0 && (p.pref.DataNode == "" || p.pref.DataNode == n.at.URL)
	}, nil)
	nodes := []*node{first}
	taken := map[*node]bool{first: true}
	for range int(p.placement.Servers) {
		n := best(p, main.nodes, func(n *node) bool { return n.free() > 0 }, taken)
		taken[n] = true
		nodes = append(nodes, n)
	}
	racks := map[*rack]bool{main: true}
	for range int(p.placement.Racks) {
		r := best(p, c.racks, isOpen, racks)
		racks[r] = true
		nodes = append(nodes, p.anyServer(r))
	}
	return nodes
}

func (p *placer) anyServer(r *rack) *node {
	return best(p, r.nodes, func(n *node) bool { return n.free() > 0 }, nil)
}

func isOpen(r *rack) bool { return r.openNodes > 0 }

// isMainRack reports whether a rack can hold the first copy and those that go beside it.
func (p *placer) isMainRack(r *rack) bool {
	if r.openNodes <= int(p.placement.Servers) || p.pref.Rack != "" && p.pref.Rack != r.name {
		return false
	}
	if p.pref.DataNode == "" {
		return true
	}
	n := r.nodes[p.pref.DataNode]
	return n != nil && n.free() > 0
}

func (p *placer) hasMainRack(c *dataCenter) bool {
	for _, r := range c.racks {
		if p.isMainRack(r) {
			return true
		}
	}
	return false
}

// candidate is what best chooses among.
type candidate interface {
	comparable
	freeSlots() int
	label() string
}

func (c *dataCenter) freeSlots() int { return c.free }
func (r *rack) freeSlots() int       { return r.area.free }
func (n *node) freeSlots() int       { return n.free() }
func (c *dataCenter) label() string  { return c.name }
func (r *rack) label() string        { return r.name }
func (n *node) label() string        { return n.at.URL }

// best returns the candidate that fits, is not taken, and has the most free slots for what this go gave it
// already (D'Hondt's method, so shares follow the free slots); the salt decides between equals, whatever
// the order of the map. nil if none.
func best[T candidate](p *placer, all map[string]T, fits func(T) bool, taken map[T]bool) (chosen T) {
	var none T
	bestScore := 0.0
	for _, c := range all {
		if taken[c] || !fits(c) {
			continue
		}
		given := p.given[c]
		score := float64(c.freeSlots()+given) / float64(given+1)
		if chosen == none || score > bestScore ||
			score == bestScore && p.lot(c.label()) > p.lot(chosen.label()) {
			chosen, bestScore = c, score
		}
	}
	return chosen
}

// lot draws for a name: FNV-1a from the salt.
func (p *placer) lot(name string) uint64 {
	h := p.salt
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h ^ h>>29
}
