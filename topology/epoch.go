package topology

import (
	"slices"

	"weed/internal/blob"
)

// noteOutdated remembers the copies of a volume that do not know its epoch.
func (t *Tree) noteOutdated(v *volume) {
	for _, r := range v.copies {
		if r.node.heard {
			r.node.noteOutdated(v, r.epoch)
		}
	}
	for _, s := range t.strays[v.id] {
		s.node.noteOutdated(v, s.info.CopyEpoch)
	}
}

// noteOutdated remembers a copy of a server if the epoch that it knows is not its volume's.
func (n *node) noteOutdated(v *volume, epoch uint64) {
	if v.epoch == 0 || epoch == v.epoch {
		return
	}
	if n.outdated == nil {
		n.outdated = map[blob.VolumeID]struct{}{}
	}
	n.outdated[v.id] = struct{}{}
}

// Outdated returns the volumes of which a server has reported copies that know an older epoch than that of the
// volume's Group, in order and at most limit; asked again it returns the same ones until the server reports them
// otherwise. Copies that contradict the volume are left out.
func (t *Tree) Outdated(url string, limit int) []blob.VolumeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[url]
	if n == nil || len(n.outdated) == 0 {
		return nil
	}
	var ids []blob.VolumeID
	for id := range n.outdated {
		if t.isOutdated(n, id) {
			ids = append(ids, id)
		} else {
			delete(n.outdated, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)]
}

func (t *Tree) isOutdated(n *node, id blob.VolumeID) bool {
	v := t.volumes[id]
	if v == nil {
		return false
	}
	if r := n.volumes[id]; r != nil {
		return r.epoch < v.epoch
	}
	s := n.strays[id]
	if s == nil {
		return false
	}
	key, err := KeyOf(&s.info)
	return err == nil && key == v.layout.key && s.info.CopyEpoch < v.epoch
}

// Syncing reports whether a volume of a layout, with a copy at a preferred place, lacks nothing to take blobs but
// that its copies are known to be in sync.
func (t *Tree) Syncing(key LayoutKey, pref Preference) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, v := range t.volumes {
		if v.layout.key == key && v.syncing(t.cfg.SizeLimitBytes) &&
			slices.ContainsFunc(v.copies, func(r *replica) bool { return pref.admits(r.node.at) }) {
			return true
		}
	}
	return false
}

func (v *volume) syncing(limitBytes uint64) bool {
	if v.writable || !v.open || v.ending || len(v.copies) < max(len(v.members), v.layout.key.Placement.Copies()) {
		return false
	}
	return !slices.ContainsFunc(v.copies, func(r *replica) bool {
		return r.readOnly || r.sizeBytes >= limitBytes || r.node.draining
	})
}

// Drain says whether a server is to be emptied: no volume is placed on it, and none that has a copy there is
// picked. It holds whether the server is here, comes back, or is not known at all.
func (t *Tree) Drain(url string, draining bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if draining {
		t.draining[url] = true
	} else {
		delete(t.draining, url)
	}
	n := t.nodes[url]
	if n == nil || n.draining == draining {
		return
	}
	n.draining = draining
	for _, r := range n.volumes {
		t.settleState(r.volume)
	}
	t.recount(n)
}

// Draining reports whether a server is being emptied.
func (t *Tree) Draining(url string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.draining[url]
}
