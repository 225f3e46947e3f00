package topology

import (
	"time"

	"weed/internal/blob"
)

// area holds the sums over the servers of a rack, of a data center, of everything.
type area struct {
	max, free int // slots
	copies    int
	openNodes int // servers with a free slot
}

type dataCenter struct {
	area
	name      string
	racks     map[string]*rack
	openRacks int // racks with a free slot
}

type rack struct {
	area
	name   string
	center *dataCenter
	nodes  map[string]*node // by URL
}

// node is one volume server in one incarnation.
type node struct {
	at   *Location
	rack *rack // nil once the server has left the tree

	incarnation uint64
	sequence    uint64 // of the last heartbeat taken in
	seen        time.Time
	heard       bool // false while it is only assumed to be there

	round    uint32 // counts the full heartbeats
	max      int    // slots
	reserved int    // slots promised to volumes that are being created
	counted  area   // what the sums above hold of this server
	volumes  map[blob.VolumeID]*replica
	strays   map[blob.VolumeID]*stray // they take slots too; nil while there are none
	// settled holds the copies made by our own orders and not yet seen in a heartbeat: a full heartbeat
	// that was sent before the order must not take them out again. nil while there are none.
	settled map[blob.VolumeID]time.Time
	// outdated holds at least the copies that know another epoch than their volume is in.
	outdated map[blob.VolumeID]struct{}
	draining bool // nothing new is put here
}

// free returns the slots that a new volume may take; it is placed on nothing that is only assumed.
func (n *node) free() int {
	if !n.heard || n.draining {
		return 0
	}
	return max(0, n.max-len(n.volumes)-len(n.strays)-n.reserved)
}

// recount brings the sums above a server up to date.
func (t *Tree) recount(n *node) {
	if n.rack == nil {
		return
	}
	now := area{max: n.max, free: n.free(), copies: len(n.volumes) + len(n.strays)}
	if now.free > 0 {
		now.openNodes = 1
	}
	t.shift(n, now)
}

// shift replaces what the sums hold of a server.
func (t *Tree) shift(n *node, now area) {
	if now == n.counted {
		return
	}
	r := n.rack
	wasOpen := r.openNodes > 0
	for _, sum := range []*area{&r.area, &r.center.area, &t.area} {
		sum.max += now.max - n.counted.max
		sum.free += now.free - n.counted.free
		sum.copies += now.copies - n.counted.copies
		sum.openNodes += now.openNodes - n.counted.openNodes
	}
	n.counted = now
	if isOpen := r.openNodes > 0; isOpen && !wasOpen {
		r.center.openRacks++
	} else if wasOpen && !isOpen {
		r.center.openRacks--
	}
}

// attach puts a new server into the tree.
func (t *Tree) attach(at *Location) *node {
	center := t.dataCenters[at.DataCenter]
	if center == nil {
		center = &dataCenter{name: at.DataCenter, racks: map[string]*rack{}}
		t.dataCenters[at.DataCenter] = center
	}
	r := center.racks[at.Rack]
	if r == nil {
		r = &rack{name: at.Rack, center: center, nodes: map[string]*node{}}
		center.racks[at.Rack] = r
	}
	n := &node{at: at, rack: r, volumes: map[blob.VolumeID]*replica{}, draining: t.draining[at.URL]}
	r.nodes[at.URL] = n
	t.nodes[at.URL] = n
	t.present.Store(at.URL, at)
	delete(t.silent, at.URL)
	return n
}

// detach takes a server and all its copies out of the tree, and the rack and data center that it leaves
// empty.
func (t *Tree) detach(n *node) {
	for id := range n.strays {
		t.dropStray(n, id)
	}
	for _, r := range n.volumes {
		t.dropReplica(r)
	}
	t.shift(n, area{})
	r := n.rack
	delete(r.nodes, n.at.URL)
	if len(r.nodes) == 0 {
		delete(r.center.racks, r.name)
	}
	if len(r.center.racks) == 0 {
		delete(t.dataCenters, r.center.name)
	}
	delete(t.nodes, n.at.URL)
	t.present.Delete(n.at.URL)
	n.rack = nil
}

// Expire takes out the servers that have been silent for three pulses and returns where they were.
func (t *Tree) Expire(now time.Time) []*Location {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []*Location
	for _, n := range t.nodes {
		if now.Sub(n.seen) >= expiryPulses*t.cfg.Pulse {
			gone = append(gone, n.at)
			t.detach(n)
			t.silent[n.at.URL] = n.seen
		}
	}
	return gone
}

// checkPreference returns an error for a preference that names a place that is not here.
func (t *Tree) checkPreference(p Preference) error {
	if p.DataCenter != "" && t.dataCenters[p.DataCenter] == nil {
		return ErrUnknownDataCenter
	}
	if p.Rack != "" && !t.hasRack(p.DataCenter, p.Rack) {
		return ErrUnknownRack
	}
	if p.DataNode != "" {
		n := t.nodes[p.DataNode]
		if n == nil || !p.admits(n.at) {
			return ErrUnknownNode
		}
	}
	return nil
}

func (t *Tree) hasRack(dc, name string) bool {
	if dc != "" {
		return t.dataCenters[dc].racks[name] != nil
	}
	for _, c := range t.dataCenters {
		if c.racks[name] != nil {
			return true
		}
	}
	return false
}

// admits reports whether a server is where the preference wants it.
func (p Preference) admits(at *Location) bool {
	return (p.DataCenter == "" || p.DataCenter == at.DataCenter) &&
		(p.Rack == "" || p.Rack == at.Rack) &&
		(p.DataNode == "" || p.DataNode == at.URL)
}
