package topology

import (
	"cmp"
	"slices"

	"weed/internal/blob"
	"weed/internal/wire"
)

// ServerStatus is one server as reports show it.
type ServerStatus struct {
	*Location
	Max, Free int               // slots
	Volumes   []wire.VolumeInfo // by id, refused copies included; valid until Walk's function returns
}

// Walk calls f for each server, ordered by data center, rack and URL. Servers change while it goes on: each
// is shown as it is at its turn, and f may take its time.
func (t *Tree) Walk(f func(ServerStatus)) {
	t.mu.RLock()
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		nodes = append(nodes, n)
	}
	t.mu.RUnlock()
	slices.SortFunc(nodes, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.at.DataCenter, b.at.DataCenter), cmp.Compare(a.at.Rack, b.at.Rack),
			cmp.Compare(a.at.URL, b.at.URL))
	})
	var infos []wire.VolumeInfo
	for _, n := range nodes {
		t.mu.RLock()
		if n.rack == nil {
			t.mu.RUnlock()
			continue
		}
		infos = infos[:0]
		for _, r := range n.volumes {
			infos = append(infos, r.info())
		}
		for _, s := range n.strays {
			infos = append(infos, s.info)
		}
		status := ServerStatus{Location: n.at, Max: n.max, Free: n.free()}
		t.mu.RUnlock()
		slices.SortFunc(infos, func(a, b wire.VolumeInfo) int { return cmp.Compare(a.ID, b.ID) })
		status.Volumes = infos
		f(status)
	}
}

// LayoutStatus is one layout as reports show it.
type LayoutStatus struct {
	Key       LayoutKey
	Writables []blob.VolumeID // in order
	Active    int             // how many of them are picked now
}

// Layouts returns all layouts, ordered by collection, placement and ttl.
func (t *Tree) Layouts() []LayoutStatus {
	t.mu.RLock()
	defer t.mu.RUnlock()
	byLayout := make(map[*layout]*LayoutStatus, len(t.layouts))
	all := make([]LayoutStatus, 0, len(t.layouts))
	for _, l := range t.layouts {
		all = append(all, LayoutStatus{Key: l.key, Writables: make([]blob.VolumeID, 0, l.writables)})
		byLayout[l] = &all[len(all)-1]
	}
	for l, status := range byLayout {
		for _, s := range l.slots {
			for _, v := range s.volumes {
				status.Writables = append(status.Writables, v.id)
			}
		}
		slices.Sort(status.Writables)
		status.Writables = slices.Compact(status.Writables)
		l.mu.Lock()
		if r := l.rings[place{}]; r != nil {
			status.Active = len(r.targets)
		}
		l.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b LayoutStatus) int {
		return cmp.Or(cmp.Compare(a.Key.Collection, b.Key.Collection),
			cmp.Compare(a.Key.Placement.Byte(), b.Key.Placement.Byte()),
			cmp.Compare(a.Key.TTL.Duration(), b.Key.TTL.Duration()))
	})
	return all
}
