package topology

import (
	"errors"
	"slices"
	"sync"

	"weed/internal/blob"
	"weed/internal/wire"
)

// layout holds the writable volumes of one key. Its slots change under the tree's lock; its rings have a
// lock of their own, held for an instant, so that Pick never waits for a heartbeat.
type layout struct {
	key       LayoutKey
	volumes   int // of this key, writable or not
	writables int
	crowded   int // writable volumes near the size limit
	slots     map[slotKey]*slot

	mu    sync.Mutex
	rings map[place]*ring // the active volumes; place{} has them all
}

// slotKey names a directory of a server.
type slotKey struct {
	node *node
	disk uint16
}

// slot holds the writable volumes of one directory. While it has any, at least one is active.
type slot struct {
	volumes []*volume
	active  int
}

// place names a ring: of a data center, of a rack in a data center, of a rack by its name alone, of a
// server by its URL alone.
type place struct{ dataCenter, rack, node string }

// ring hands out its targets in turn.
type ring struct {
	targets []*Target
	next    int
}

// String names the key for people.
func (k LayoutKey) String() string {
	s := "collection \"" + k.Collection + "\" replication " + k.Placement.String()
	if !k.TTL.IsZero() {
		s += " ttl " + k.TTL.String()
	}
	return s
}

// KeyOf reads the layout of a reported copy. The error says what is wrong with it.
func KeyOf(info *wire.VolumeInfo) (LayoutKey, error) {
	p := info.ReplicaPlacement
	if info.ID == 0 {
		return LayoutKey{}, errors.New("volume id 0")
	}
	if p.DiffDataCenterCount*100+p.DiffRackCount*10+p.SameRackCount > 255 ||
		min(p.DiffDataCenterCount, p.DiffRackCount, p.SameRackCount) < 0 ||
		max(p.DiffDataCenterCount, p.DiffRackCount, p.SameRackCount) > 9 {
		return LayoutKey{}, errors.New("malformed replica placement")
	}
	if err := blob.CheckCollection(info.Collection); err != nil {
		return LayoutKey{}, err
	}
	ttl, err := blob.ParseTTL(info.TTL)
	if err != nil {
		return LayoutKey{}, err
	}
	return LayoutKey{
		Collection: info.Collection,
		Placement: blob.Placement{
			DataCenters: uint8(p.DiffDataCenterCount), Racks: uint8(p.DiffRackCount), Servers: uint8(p.SameRackCount),
		},
		TTL: ttl,
	}, nil
}

// layoutOf returns the layout of a key, made on demand.
func (t *Tree) layoutOf(key LayoutKey) *layout {
	l := t.layouts[key] // written under t.mu too, so reading under t.mu is enough
	if l == nil {
		l = &layout{key: key, slots: map[slotKey]*slot{}, rings: map[place]*ring{}}
		t.layoutsMu.Lock()
		t.layouts[key] = l
		t.layoutsMu.Unlock()
	}
	return l
}

// releaseLayout takes a volume off a layout's count; an empty layout goes away.
func (t *Tree) releaseLayout(l *layout) {
	if l.volumes--; l.volumes == 0 {
		t.layoutsMu.Lock()
		delete(t.layouts, l.key)
		t.layoutsMu.Unlock()
	}
}

// enter makes a volume writable, and active if a directory of its copies has no active one.
func (l *layout) enter(v *volume, render func(*Target) []byte) {
	v.writable = true
	l.writables++
	needed := false
	for _, r := range v.copies {
		s := l.slots[r.slot()]
		if s == nil {
			s = &slot{}
			l.slots[r.slot()] = s
		}
		s.volumes = append(s.volumes, v)
		needed = needed || s.active == 0
	}
	if needed {
		l.activate(v, render)
	}
}

// leave takes a volume out of the writable ones; the next of its directories follows if it was active.
func (l *layout) leave(v *volume, render func(*Target) []byte) {
	v.writable = false
	l.writables--
	wasActive := v.target != nil
	if wasActive {
		l.deactivate(v)
	}
	for _, r := range v.copies {
		s := l.slots[r.slot()]
		i := slices.Index(s.volumes, v)
		s.volumes[i] = s.volumes[len(s.volumes)-1]
		s.volumes[len(s.volumes)-1] = nil
		if s.volumes = s.volumes[:len(s.volumes)-1]; len(s.volumes) == 0 {
			delete(l.slots, r.slot())
		}
	}
	if !wasActive {
		return
	}
	for _, r := range v.copies {
		if s := l.slots[r.slot()]; s != nil && s.active == 0 {
			l.activate(l.successor(s), render)
		}
	}
}

// successor chooses the volume of a directory to become active: the one that serves the most directories
// that have none, so that few are active, then the oldest.
func (l *layout) successor(s *slot) *volume {
	var best *volume
	bestServed := 0
	for _, v := range s.volumes {
		served := 0
		for _, r := range v.copies {
			if l.slots[r.slot()].active == 0 {
				served++
			}
		}
		if best == nil || served > bestServed || served == bestServed && v.id < best.id {
			best, bestServed = v, served
		}
	}
	return best
}

func (r *replica) slot() slotKey { return slotKey{r.node, r.disk} }

func (l *layout) activate(v *volume, render func(*Target) []byte) {
	target := &Target{ID: v.id, Locations: v.appendLocations(make([]*Location, 0, len(v.copies)))}
	if render != nil {
		target.Rendered = render(target)
	}
	v.target = target
	for _, r := range v.copies {
		l.slots[r.slot()].active++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range target.places() {
		r := l.rings[p]
		if r == nil {
			r = &ring{}
			l.rings[p] = r
		}
		r.targets = append(r.targets, target)
	}
}

func (l *layout) deactivate(v *volume) {
	target := v.target
	v.target = nil
	for _, r := range v.copies {
		l.slots[r.slot()].active--
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range target.places() {
		r := l.rings[p]
		i := slices.Index(r.targets, target)
		r.targets = slices.Delete(r.targets, i, i+1)
		if r.next > i {
			r.next--
		}
		if len(r.targets) == 0 {
			delete(l.rings, p)
		}
	}
}

// places returns the rings that a target belongs to: those of every place that has a copy.
func (t *Target) places() map[place]struct{} {
	set := map[place]struct{}{{}: {}}
	for _, at := range t.Locations {
		set[place{dataCenter: at.DataCenter}] = struct{}{}
		set[place{dataCenter: at.DataCenter, rack: at.Rack}] = struct{}{}
		set[place{rack: at.Rack}] = struct{}{}
		set[place{node: at.URL}] = struct{}{}
	}
	return set
}

// Pick returns the volume for the next blob, or for the next several: the active volumes of the layout take
// turns, those with a copy at the preferred place if one is given. ErrNoWritable when there is none; an
// ErrUnknown… when the preference names a place that is not here. It takes some tens of nanoseconds and
// allocates nothing.
func (t *Tree) Pick(key LayoutKey, pref Preference) (*Target, error) {
	t.layoutsMu.RLock()
	l := t.layouts[key]
	t.layoutsMu.RUnlock()
	if l != nil {
		if target := l.pick(pref); target != nil {
			return target, nil
		}
	}
	if !pref.IsZero() {
		t.mu.RLock()
		err := t.checkPreference(pref)
		t.mu.RUnlock()
		if err != nil {
			return nil, err
		}
	}
	return nil, ErrNoWritable
}

func (l *layout) pick(pref Preference) *Target {
	p := place{dataCenter: pref.DataCenter, rack: pref.Rack}
	if pref.DataNode != "" {
		p = place{node: pref.DataNode}
	}
	l.mu.Lock()
	r := l.rings[p]
	if r == nil {
		l.mu.Unlock()
		return nil
	}
	if r.next >= len(r.targets) {
		r.next = 0
	}
	target := r.targets[r.next]
	r.next++
	l.mu.Unlock()
	if pref.DataNode != "" && !slices.ContainsFunc(target.Locations, pref.admits) {
		return nil // the server is not where the rest of the preference says
	}
	return target
}
