package topology

import (
	"cmp"
	"slices"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

// Group is what the cluster's records say of a volume. The tree does not change Members.
type Group struct {
	Key      LayoutKey
	Epoch    uint64   // of the configuration; copies that know another one count for nothing. 0: none do
	Members  []string // URLs of the servers that hold it, the primary first
	Open     bool     // it may take blobs when all members hold it and none is in the way
	ReadOnly bool     // copies that are only assumed take none
}

// Bind makes a group that of a volume: copies on members count, those on others are strays. Where a member
// is itself only assumed to be there, its copy of an open volume is assumed too.
func (t *Tree) Bind(id blob.VolumeID, g Group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.volumes[id]
	if v == nil {
		v = t.newVolume(id, g.Key)
	} else if v.layout.key == g.Key && v.open == g.Open && v.epoch == g.Epoch && slices.Equal(v.members, g.Members) {
		return
	}
	t.withdraw(v)
	v.members, v.open, v.epoch = g.Members, g.Open, g.Epoch
	for _, r := range slices.Clone(v.copies) {
		if v.layout.key != g.Key || !v.admits(r.node) {
			t.expel(r)
		}
	}
	if v.layout.key != g.Key {
		t.relayout(v, g.Key)
	}
	for _, s := range slices.Clone(t.strays[id]) {
		if v.admits(s.node) {
			t.put(s.node, &s.info, s.round)
			t.recount(s.node)
		}
	}
	if g.Open {
		t.assumeCopies(v, g.ReadOnly)
	}
	t.noteOutdated(v)
	t.settleState(v)
}

// Unbind forgets a volume; the copies that are left are strays.
func (t *Tree) Unbind(id blob.VolumeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.volumes[id]
	if v == nil {
		return
	}
	t.withdraw(v)
	v.open = false
	for _, r := range slices.Clone(v.copies) {
		t.expel(r)
	}
	v.members = nil
	if t.volumes[id] == v {
		t.dropVolume(v)
	}
}

// admits reports whether a copy on a server is one of the volume's.
func (v *volume) admits(n *node) bool {
	return v.members == nil || slices.Contains(v.members, n.at.URL)
}

// expel makes a stray of a copy.
func (t *Tree) expel(r *replica) {
	n, info, round := r.node, r.info(), r.round
	t.dropReplica(r)
	if n.heard {
		t.keepAside(n, info, round)
	}
	t.recount(n)
}

// assumeCopies gives the members that are only assumed to be there a copy each.
func (t *Tree) assumeCopies(v *volume, readOnly bool) {
	for _, url := range v.members {
		n := t.nodes[url]
		if n == nil || n.heard || n.volumes[v.id] != nil {
			continue
		}
		t.addReplica(n, v).readOnly = readOnly
		t.recount(n)
	}
}

// Assume puts a server into the tree that was there before this tree began, and that has yet to report. Until
// it does, or falls silent as others do, it takes blobs for the volumes bound to it, but no new volumes. A
// server that is known is left as it is.
func (t *Tree) Assume(now time.Time, at Location, slots int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes[at.URL] != nil {
		return
	}
	n := t.attach(&at)
	n.seen, n.max = now, min(slots, MaxSlots)
	t.recount(n)
}

// Unheard returns how many servers are only assumed to be there.
func (t *Tree) Unheard() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	unheard := 0
	for _, n := range t.nodes {
		if !n.heard {
			unheard++
		}
	}
	return unheard
}

// Serves reports whether a server is in the tree. It takes no lock.
func (t *Tree) Serves(url string) bool {
	_, ok := t.present.Load(url)
	return ok
}

// Presence says what is known of one server and its copy of one volume.
type Presence struct {
	Here      bool   // the server is in the tree
	Heard     bool   // and has reported
	Holds     bool   // and has the copy, as far as is known
	SizeBytes uint64 // of the copy, when it has been reported, as is Extent
	Extent    Extent
	Epoch     uint64 // that the copy knows
	InSync    bool   // it has all that is committed in the epoch on record
	// LastSeen is when a server was heard of last that is not here: zero for one that said goodbye, and for
	// one that was never here.
	LastSeen time.Time
}

// Presence returns what is known of a server and its copy of a volume; a stray is not one.
func (t *Tree) Presence(id blob.VolumeID, url string) Presence {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[url]
	if n == nil {
		return Presence{LastSeen: t.silent[url]}
	}
	p := Presence{Here: true, Heard: n.heard}
	if r := n.volumes[id]; r != nil {
		p.Holds, p.SizeBytes, p.Extent = true, r.sizeBytes, r.extent()
		p.Epoch, p.InSync = r.epoch, n.heard && r.epoch == r.volume.epoch && r.inSync
	}
	return p
}

// Blocked reports whether one of the copies of a volume that are here takes no blobs: it is read-only or
// full.
func (t *Tree) Blocked(id blob.VolumeID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v := t.volumes[id]
	return v != nil && slices.ContainsFunc(v.copies, func(r *replica) bool {
		return r.readOnly || r.sizeBytes >= t.cfg.SizeLimitBytes
	})
}

// LastExtent returns how far the log of a volume's copy went that went away last. It is zero when no copy has gone
// since the tree began.
func (t *Tree) LastExtent(id blob.VolumeID) Extent {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if v := t.volumes[id]; v != nil {
		return v.last
	}
	return Extent{}
}

// Stray is a copy that is none of its volume's, or of a volume that is not known.
type Stray struct {
	At   *Location
	Info wire.VolumeInfo
}

// Strays returns the strays of a volume, or all of them for id 0, ordered by volume and server.
func (t *Tree) Strays(id blob.VolumeID) []Stray {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Stray
	add := func(strays []*stray) {
		for _, s := range strays {
			all = append(all, Stray{s.node.at, s.info})
		}
	}
	if id != 0 {
		add(t.strays[id])
	} else {
		for _, strays := range t.strays {
			add(strays)
		}
	}
	slices.SortFunc(all, func(a, b Stray) int {
		return cmp.Or(cmp.Compare(a.Info.ID, b.Info.ID), cmp.Compare(a.At.URL, b.At.URL))
	})
	return all
}
