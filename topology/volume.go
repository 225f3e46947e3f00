package topology

import (
	"fmt"
	"slices"
	"strings"

	"weed/internal/blob"
	"weed/internal/wire"
)

// volume is one volume with the copies that are known. There may be millions: every field counts.
type volume struct {
	id       blob.VolumeID
	writable bool // takes blobs: it is in the slots of its layout
	crowded  bool // writable, and a copy is near the size limit
	open     bool // may take blobs, as far as its copies can
	ending   bool // its ttl is nearly over: see Age
	layout   *layout
	epoch    uint64     // of the configuration; 0 while none is known
	members  []string   // URLs of the servers that hold it, the primary first; nil while it is not bound
	copies   []*replica // ordered by URL
	target   *Target    // while active

	last Extent // of the copy that went away last
}

// replica is one copy of a volume as its server last reported it.
type replica struct {
	volume *volume
	node   *node

	sizeBytes, logLength, fileCount, deleteCount, deletedBytes, maxKey uint64

	modifiedAt      int64
	compactFloor    int64
	readOnlyReason  string
	round           uint32 // of the full heartbeat that named it last
	disk            uint16
	compactRevision uint16
	version         uint8
	readOnly        bool
	inSync          bool
	epoch           uint64 // that the server knows
}

// stray is a copy that is none of the volume of its id: it contradicts it, or its server is no member.
type stray struct {
	node  *node
	info  wire.VolumeInfo
	round uint32
}

// primaryIndex returns which of the copies is the primary: all masters come to the same one, and the
// volumes of a group of servers have different ones. A bound volume has the one that it was told.
func (v *volume) primaryIndex() int {
	if v.members == nil {
		return int(v.id) % len(v.copies)
	}
	return max(0, slices.IndexFunc(v.copies, func(r *replica) bool { return r.node.at.URL == v.members[0] }))
}

func (v *volume) appendLocations(dst []*Location) []*Location {
	first := v.primaryIndex()
	dst = append(dst, v.copies[first].node.at)
	for i, r := range v.copies {
		if i != first {
			dst = append(dst, r.node.at)
		}
	}
	return dst
}

// health works out whether the volume may take blobs and whether it is near its limit.
func (v *volume) health(limitBytes uint64) (writable, crowded bool) {
	if !v.open || v.ending || len(v.copies) < max(len(v.members), v.layout.key.Placement.Copies()) {
		return false, false
	}
	for _, r := range v.copies {
		if r.readOnly || r.sizeBytes >= limitBytes || !r.counts() || r.node.draining {
			return false, false
		}
		crowded = crowded || r.sizeBytes >= limitBytes/100*crowdedPercent
	}
	return true, crowded
}

// counts reports whether a copy is known to have all that is committed in the volume's epoch. One that is only
// assumed to be there is taken to be as it should.
func (r *replica) counts() bool {
	return r.volume.epoch == 0 || !r.node.heard || r.epoch == r.volume.epoch && r.inSync
}

// settleState brings the layout in line with the volume's health.
func (t *Tree) settleState(v *volume) {
	writable, crowded := v.health(t.cfg.SizeLimitBytes)
	if writable != v.writable {
		if writable {
			v.layout.enter(v, t.cfg.Render)
		} else {
			v.layout.leave(v, t.cfg.Render)
		}
	}
	if crowded != v.crowded {
		v.crowded = crowded
		if crowded {
			v.layout.crowded++
		} else {
			v.layout.crowded--
		}
	}
}

// withdraw makes a volume unwritable for the time of a change to its copies; settleState ends it.
func (t *Tree) withdraw(v *volume) {
	if v.writable {
		v.layout.leave(v, t.cfg.Render)
	}
}

func (t *Tree) newVolume(id blob.VolumeID, key LayoutKey) *volume {
	v := &volume{id: id, open: true, layout: t.layoutOf(key)}
	v.layout.volumes++
	t.volumes[id] = v
	t.noteMortal(v)
	return v
}

// dropVolume forgets a volume that has no copies left; a stray copy of its id may take its place.
func (t *Tree) dropVolume(v *volume) {
	delete(t.volumes, v.id)
	delete(t.mortal, v.id)
	t.releaseLayout(v.layout)
	if waiting := t.strays[v.id]; len(waiting) > 0 {
		s := waiting[0]
		t.dropStray(s.node, v.id)
		t.put(s.node, &s.info, s.round)
	}
}

// relayout moves a volume to the layout of a new key.
func (t *Tree) relayout(v *volume, key LayoutKey) {
	t.withdraw(v)
	if v.crowded {
		v.crowded = false
		v.layout.crowded--
	}
	old := v.layout
	v.layout = t.layoutOf(key)
	v.layout.volumes++
	t.noteMortal(v)
	t.releaseLayout(old)
}

// dropReplica forgets one copy; the volume goes with its last one unless it is bound. The server's counts are
// left to the caller.
func (t *Tree) dropReplica(r *replica) {
	v := r.volume
	if r.sizeBytes > 0 { // not one that was only assumed
		v.last = r.extent()
	}
	t.withdraw(v)
	v.copies = slices.DeleteFunc(v.copies, func(c *replica) bool { return c == r })
	delete(r.node.volumes, v.id)
	delete(r.node.settled, v.id)
	t.settleState(v)
	if len(v.copies) == 0 && v.members == nil {
		t.dropVolume(v)
	}
}

func (t *Tree) dropStray(n *node, id blob.VolumeID) {
	s := n.strays[id]
	delete(n.strays, id)
	rest := slices.DeleteFunc(t.strays[id], func(x *stray) bool { return x == s })
	if t.strays[id] = rest; len(rest) == 0 {
		delete(t.strays, id)
	}
}

// put takes in what a server reports of one copy. It returns a conflict the first time that the copy
// contradicts what is known. The server's counts are left to the caller.
func (t *Tree) put(n *node, info *wire.VolumeInfo, round uint32) *Conflict {
	key, err := KeyOf(info)
	if err != nil {
		return &Conflict{ID: blob.VolumeID(info.ID), URL: n.at.URL, Reason: err.Error()}
	}
	id := blob.VolumeID(info.ID)
	known := n.strays[id] != nil
	if known {
		t.dropStray(n, id)
	}
	v, r := t.volumes[id], n.volumes[id]
	switch {
	case v == nil && t.cfg.BoundOnly:
		return t.refuse(n, info, round, known, "no volume of that id is known")
	case v == nil:
		v = t.newVolume(id, key)
	case !v.admits(n):
		return t.refuse(n, info, round, known, fmt.Sprintf("its members are %q", v.members))
	case v.layout.key == key:
	case v.members == nil && r != nil && len(v.copies) == 1: // the only holder may say what the volume is
		t.relayout(v, key)
	default:
		return t.refuse(n, info, round, known, "the volume is known as "+v.layout.key.String()+", this copy is "+key.String())
	}
	if r == nil {
		r = t.addReplica(n, v)
	}
	if disk := uint16(info.Disk); r.disk != disk {
		t.withdraw(v)
		r.disk = disk
	}
	r.take(info, round)
	n.noteOutdated(v, info.CopyEpoch)
	t.settleState(v)
	return nil
}

func (t *Tree) addReplica(n *node, v *volume) *replica {
	t.withdraw(v)
	r := &replica{volume: v, node: n}
	at, _ := slices.BinarySearchFunc(v.copies, n.at.URL, func(c *replica, url string) int {
		return strings.Compare(c.node.at.URL, url)
	})
	grown := make([]*replica, 0, max(len(v.copies)+1, v.layout.key.Placement.Copies()))
	grown = append(grown, v.copies[:at]...)
	grown = append(grown, r)
	v.copies = append(grown, v.copies[at:]...)
	n.volumes[v.id] = r
	return r
}

// refuse keeps a copy that is none of its volume's aside, and says why unless it was known as such.
func (t *Tree) refuse(n *node, info *wire.VolumeInfo, round uint32, known bool, reason string) *Conflict {
	id := blob.VolumeID(info.ID)
	if r := n.volumes[id]; r != nil {
		t.dropReplica(r)
	}
	t.keepAside(n, *info, round)
	if v := t.volumes[id]; v != nil {
		n.noteOutdated(v, info.CopyEpoch)
	}
	if known {
		return nil
	}
	return &Conflict{ID: id, URL: n.at.URL, Reason: reason}
}

// keepAside makes a copy known as a stray.
func (t *Tree) keepAside(n *node, info wire.VolumeInfo, round uint32) {
	s := &stray{node: n, info: info, round: round}
	if n.strays == nil {
		n.strays = map[blob.VolumeID]*stray{}
	}
	id := blob.VolumeID(info.ID)
	n.strays[id] = s
	t.strays[id] = append(t.strays[id], s)
}

// take overwrites what is known of a copy.
func (r *replica) take(info *wire.VolumeInfo, round uint32) {
	r.sizeBytes, r.fileCount = info.SizeBytes, info.FileCount
	r.deleteCount, r.deletedBytes = info.DeleteCount, info.DeletedByteCount
	r.maxKey, r.modifiedAt = info.MaxKey, info.ModifiedAtSecond
	r.logLength, r.compactFloor = info.LogLength, info.CompactFloor
	r.compactRevision, r.version = info.CompactRevision, uint8(info.Version)
	r.readOnly, r.round = info.ReadOnly, round
	r.epoch, r.inSync = info.CopyEpoch, info.InSync
	if r.readOnlyReason != info.ReadOnlyReason {
		r.readOnlyReason = info.ReadOnlyReason
	}
}

// info is the inverse of take.
func (r *replica) info() wire.VolumeInfo {
	key := &r.volume.layout.key
	return wire.VolumeInfo{
		ID: uint32(r.volume.id), SizeBytes: r.sizeBytes, Collection: key.Collection,
		ReplicaPlacement: wire.ReplicaPlacement{
			SameRackCount:       int(key.Placement.Servers),
			DiffRackCount:       int(key.Placement.Racks),
			DiffDataCenterCount: int(key.Placement.DataCenters),
		},
		TTL: key.TTL.String(), Version: int(r.version), FileCount: r.fileCount, DeleteCount: r.deleteCount,
		DeletedByteCount: r.deletedBytes, ReadOnly: r.readOnly, ReadOnlyReason: r.readOnlyReason,
		ModifiedAtSecond: r.modifiedAt, CompactRevision: r.compactRevision, MaxKey: r.maxKey, Disk: int(r.disk),
		CompactFloor: r.compactFloor, LogLength: r.logLength, CopyEpoch: r.epoch, InSync: r.inSync,
	}
}
