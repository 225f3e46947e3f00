package state

import (
	"iter"

	"weed/internal/blob"
)

// View is the state as it was at one revision. It never changes and may be kept, read by many goroutines,
// and compared with a later one. What a View shares with the present costs nothing; what has changed since
// then is held twice.
type View struct {
	records  records
	revision uint64
}

// View returns the state as it is now. It costs next to nothing, but commands that follow copy what they
// change first, so this is for work on many records; for one there are Volume and Server.
func (m *Machine) View() *View {
	if v := m.view.Load(); v != nil {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.view.Load(); v != nil {
		return v
	}
	v := &View{records: m.live.records, revision: m.revision.Load()}
	m.live.edit++
	m.view.Store(v)
	return v
}

// Revision returns the revision that this was the state at. A later one is higher.
func (v *View) Revision() uint64 { return v.revision }

// Volume returns the record of a volume, false if there is none.
func (v *View) Volume(id blob.VolumeID) (*Volume, bool) {
	volume := find(v.records.volumes, id)
	return volume, volume != nil
}

// Removed reports whether there was a volume of that id, which was removed.
func (v *View) Removed(id blob.VolumeID) bool {
	_, removed := v.records.removed.get(id)
	return removed
}

// VolumeCount returns the number of volumes.
func (v *View) VolumeCount() int { return v.records.count }

// Volumes yields all volumes by id.
func (v *View) Volumes() iter.Seq[*Volume] { return eachVolume(v.records.volumes) }

// VolumesIn yields the volumes of a collection by id.
func (v *View) VolumesIn(collection string) iter.Seq[*Volume] {
	return v.these(v.records.collections.ids(collection))
}

// VolumesOn yields the volumes that a server is a member of by id.
func (v *View) VolumesOn(server ServerID) iter.Seq[*Volume] {
	return v.these(v.heldBy(server))
}

// heldBy returns the volumes that a server is a member of.
func (v *View) heldBy(server ServerID) *idSet {
	if at, ok := v.records.servers.get(server); ok {
		return v.records.held.ids(at.number)
	}
	return &idSet{}
}

func (v *View) these(ids *idSet) iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) {
		ids.each(func(id blob.VolumeID, _ struct{}) bool { return yield(find(v.records.volumes, id)) })
	}
}

// VolumeCountOn returns the number of volumes that a server is a member of.
func (v *View) VolumeCountOn(server ServerID) int { return v.heldBy(server).len }

// Collections yields the collections that have volumes, in the order of their names, with the number of
// their volumes.
func (v *View) Collections() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		v.records.collections.shelves.each(func(name string, s *shelf[string]) bool { return yield(name, s.ids.len) })
	}
}

// Server returns the record of a server, false if there is none.
func (v *View) Server(id ServerID) (*Server, bool) {
	if at, ok := v.records.servers.get(id); ok {
		return at.Server, true
	}
	return nil, false
}

// ServerCount returns the number of servers.
func (v *View) ServerCount() int { return v.records.servers.len }

// Servers yields all servers in the order of their addresses.
func (v *View) Servers() iter.Seq[*Server] {
	return func(yield func(*Server) bool) {
		v.records.servers.each(func(_ ServerID, at *member) bool { return yield(at.Server) })
	}
}

// Draining returns the servers that are to be emptied in the order of their addresses. The caller may not change it.
func (v *View) Draining() []ServerID { return v.records.draining }

// SameServers reports whether the server records are those of another View of the same Machine. It may say
// false of records that changed there and back.
func (v *View) SameServers(other *View) bool { return v.records.servers == other.records.servers }

// ChangesSince yields the volumes that differ between an older View of the same Machine and this one by id:
// the record then and now, nil where there is none. Its cost is that of the changes, not of the volumes;
// only across a Restore everything is compared, and a record may be yielded that says the same as before.
func (v *View) ChangesSince(older *View) iter.Seq2[*Volume, *Volume] {
	return eachChange(older.records.volumes, v.records.volumes)
}
