package topology

import (
	"slices"

	"weed/internal/blob"
)

// Holding is a volume and who holds it.
type Holding struct {
	ID        blob.VolumeID
	Locations []*Location
}

// Collections returns the names of all collections that have volumes, in order.
func (t *Tree) Collections() []string {
	t.layoutsMu.RLock()
	defer t.layoutsMu.RUnlock()
	var names []string
	for key := range t.layouts {
		names = append(names, key.Collection)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Retire makes every volume of a collection unwritable, to be deleted, and returns them. Each copy that is
// deleted is to be dropped with Forget; Reinstate ends the retirement of a volume that could not be deleted.
func (t *Tree) Retire(collection string) []Holding {
	t.mu.Lock()
	defer t.mu.Unlock()
	var holdings []Holding
	for _, v := range t.volumes {
		if v.layout.key.Collection != collection {
			continue
		}
		v.open = false
		t.settleState(v)
		holdings = append(holdings, Holding{v.id, v.appendLocations(nil)})
	}
	slices.SortFunc(holdings, func(a, b Holding) int { return int(int64(a.ID) - int64(b.ID)) })
	return holdings
}

// Reinstate lets a retired volume take blobs again, if its copies do.
func (t *Tree) Reinstate(id blob.VolumeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.volumes[id]; v != nil {
		v.open = true
		t.settleState(v)
	}
}

// Abandon gives up a volume that did not come about: it is unwritable from now on. It is false, and the volume
// stays as it is, when all its copies have been reported after all.
func (t *Tree) Abandon(id blob.VolumeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.volumes[id]
	if v == nil {
		return true
	}
	if len(v.copies) >= v.layout.key.Placement.Copies() {
		return false
	}
	v.open = false
	t.settleState(v)
	return true
}
