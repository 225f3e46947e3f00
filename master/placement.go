package master

import (
	"weed/internal/blob"
	"weed/master/state"
)

// spread is how many data centers, racks and servers the copies of a volume are in.
type spread struct{ dataCenters, racks, servers int }

// spreadOf counts where members are, as the records say.
func (m *Master) spreadOf(members []state.ServerID) spread {
	type rack struct{ dataCenter, name string }
	centers, racks := map[string]bool{}, map[rack]bool{}
	for _, member := range members {
		if s, ok := m.machine.Server(member); ok {
			centers[s.DataCenter] = true
			racks[rack{s.DataCenter, s.Rack}] = true
		}
	}
	return spread{len(centers), len(racks), len(members)}
}

// keeps reports whether a volume survives the loss of as many data centers, racks and servers as its placement
// promises. Copies that are further apart than it asks for keep it, too.
func (s spread) keeps(p blob.Placement) bool {
	return s.dataCenters > int(p.DataCenters) && s.racks > int(p.DataCenters)+int(p.Racks) && s.servers >= p.Copies()
}

// warnOfPlacement tells the log of a volume that has all its copies, but not where its placement wants them,
// because somebody has moved files.
func (t *term) warnOfPlacement(v *state.Volume) {
	at := t.spreadOf(v.Members)
	if at.servers < v.Copies() || at.keeps(v.Placement) {
		return
	}
	t.log.Warn("the copies of a volume break its placement: its files were moved", "volume", uint32(v.ID),
		"replication", v.Placement.String(), "dataCenters", at.dataCenters, "racks", at.racks, "members", v.Members)
}
