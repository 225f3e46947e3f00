package topology

import (
	"cmp"
	"slices"

	"weed/internal/blob"
)

// Move is a copy of a volume that would better be on another server.
type Move struct {
	ID       blob.VolumeID
	From, To string // URLs
}

// load is a server as a plan changes it.
type load struct {
	n    *node
	used int
	ids  []blob.VolumeID // of the volumes that may be moved away, in order
}

// Balance plans at most limit moves after which the servers' slots are used more evenly. Each move takes a copy
// from a fuller server to one that is less full even with it, and keeps the volume's placement, or what it has of
// one; a volume is moved once. Volumes whose copies are not all there, and servers that are being drained, are
// left alone. What is changed meanwhile is not foreseen: a move may turn out to be none.
func (t *Tree) Balance(limit int) []Move {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var loads []*load
	for _, n := range t.nodes {
		if !n.heard || n.draining || n.max == 0 {
			continue
		}
		l := &load{n: n, used: n.max - n.free()}
		for id, r := range n.volumes {
			if v := r.volume; v.open && len(v.members) > 0 && len(v.copies) == len(v.members) {
				l.ids = append(l.ids, id)
			}
		}
		slices.Sort(l.ids)
		loads = append(loads, l)
	}
	var moves []Move
	moved := map[blob.VolumeID]bool{}
	for len(moves) < limit {
		move, ok := t.nextMove(loads, moved)
		if !ok {
			break
		}
		moves = append(moves, move)
	}
	return moves
}

// nextMove finds the move that takes most from the fullest server, and counts it.
func (t *Tree) nextMove(loads []*load, moved map[blob.VolumeID]bool) (Move, bool) {
	slices.SortFunc(loads, func(a, b *load) int {
		return cmp.Or(cmp.Compare(a.used*b.n.max, b.used*a.n.max), cmp.Compare(a.n.at.URL, b.n.at.URL))
	})
	for i := len(loads) - 1; i > 0; i-- {
		from := loads[i]
		for _, to := range loads[:i] {
			if (to.used+1)*from.n.max > (from.used-1)*to.n.max || to.used >= to.n.max {
				continue // it would be the fuller one then
			}
			k := slices.IndexFunc(from.ids, func(id blob.VolumeID) bool { return !moved[id] && t.mayMove(t.volumes[id], from.n, to.n) })
			if k < 0 {
				continue
			}
			id := from.ids[k]
			from.ids = slices.Delete(from.ids, k, k+1)
			moved[id] = true
			from.used--
			to.used++
			return Move{ID: id, From: from.n.at.URL, To: to.n.at.URL}, true
		}
	}
	return Move{}, false
}

// mayMove reports whether a copy is as well placed on another server.
func (t *Tree) mayMove(v *volume, from, to *node) bool {
	if to.volumes[v.id] != nil || to.strays[v.id] != nil {
		return false
	}
	before := make([]rackName, 0, len(v.copies))
	after := make([]rackName, 0, len(v.copies))
	for _, r := range v.copies {
		at := rackName{r.node.at.DataCenter, r.node.at.Rack}
		before = append(before, at)
		if r.node == from {
			at = rackName{to.at.DataCenter, to.at.Rack}
		}
		after = append(after, at)
	}
	p := v.layout.key.Placement
	return fits(p, after) || !fits(p, before) && shortOf(p, after) <= shortOf(p, before)
}

// Suits reports whether a copy of a volume may be on a server beside others, as far as placement goes, and whether
// there is a free slot. An unknown server is ErrUnknownNode.
func (t *Tree) Suits(p blob.Placement, others []Location, url string) (fitting, free bool, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[url]
	if n == nil {
		return false, false, ErrUnknownNode
	}
	at := make([]rackName, 0, len(others)+1)
	for i := range others {
		at = append(at, rackName{others[i].DataCenter, others[i].Rack})
	}
	whole := fits(p, at)
	return fits(p, append(at, rackName{n.at.DataCenter, n.at.Rack})) || !whole, n.free() > 0, nil
}
