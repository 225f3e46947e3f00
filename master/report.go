package master

import (
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

type nodeReport struct {
	URL       string `json:"Url"`
	PublicURL string `json:"PublicUrl"`
	Max       int
	Free      int
	Volumes   int
	VolumeIDs string `json:"VolumeIds"` // "1-3 7"
}

type rackReport struct {
	ID        string `json:"Id"`
	Max, Free int
	DataNodes []nodeReport
}

type dataCenterReport struct {
	ID        string `json:"Id"`
	Max, Free int
	Racks     []rackReport
}

type layoutReport struct {
	Collection  string          `json:"collection"`
	Replication string          `json:"replication"`
	TTL         string          `json:"ttl"`
	Writables   []blob.VolumeID `json:"writables"`
}

// treeReport is the topology; layouts stand there under both names that clients know.
type treeReport struct {
	Max, Free   int
	DataCenters []dataCenterReport
	Layouts     []layoutReport `json:"layouts"`
	LayoutsToo  []layoutReport `json:"Layouts"`
}

func (t *term) report() treeReport {
	r := treeReport{DataCenters: []dataCenterReport{}, Layouts: []layoutReport{}}
	t.tree.Walk(func(s topology.ServerStatus) {
		if n := len(r.DataCenters); n == 0 || r.DataCenters[n-1].ID != s.DataCenter {
			r.DataCenters = append(r.DataCenters, dataCenterReport{ID: s.DataCenter})
		}
		center := &r.DataCenters[len(r.DataCenters)-1]
		if n := len(center.Racks); n == 0 || center.Racks[n-1].ID != s.Rack {
			center.Racks = append(center.Racks, rackReport{ID: s.Rack})
		}
		rack := &center.Racks[len(center.Racks)-1]
		rack.DataNodes = append(rack.DataNodes, nodeReport{URL: s.URL, PublicURL: s.PublicURL,
			Max: s.Max, Free: s.Free, Volumes: len(s.Volumes), VolumeIDs: idRanges(s.Volumes)})
		for _, sum := range []struct{ max, free *int }{{&r.Max, &r.Free}, {&center.Max, &center.Free}, {&rack.Max, &rack.Free}} {
			*sum.max += s.Max
			*sum.free += s.Free
		}
	})
	for _, l := range t.tree.Layouts() {
		r.Layouts = append(r.Layouts, layoutReport{l.Key.Collection, l.Key.Placement.String(), l.Key.TTL.String(), l.Writables})
	}
	r.LayoutsToo = r.Layouts
	return r
}

// idRanges writes the ids of volumes, which are in order, as ranges with spaces between.
func idRanges(volumes []wire.VolumeInfo) string {
	var b []byte
	for i := 0; i < len(volumes); {
		j := i
		for j+1 < len(volumes) && volumes[j+1].ID == volumes[j].ID+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, uint64(volumes[i].ID), 10)
		if j > i {
			b = strconv.AppendUint(append(b, '-'), uint64(volumes[j].ID), 10)
		}
		i = j + 1
	}
	return string(b)
}

// serveDirStatus answers /dir/status.
func (t *term) serveDirStatus(ctx *fasthttp.RequestCtx) {
	httpx.JSON(ctx, fasthttp.StatusOK, struct {
		Version  string
		Topology treeReport
	}{t.cfg.Version, t.report()})
}

// copyReport is one copy of a volume, and what the masters have on record of the volume. A copy that is none
// of the volume's is a stray.
type copyReport struct {
	wire.VolumeInfo
	Epoch   uint64
	Primary state.ServerID
	Members []state.ServerID // the primary first
	State   string           // "creating", "writable", "readonly", "deleting"; "stray"
	Copies  int              // that there should be
	Doing   string           `json:",omitempty"` // what is being done about its members
}

// serveVolumeStatus answers /vol/status: every copy by data center, rack and server.
func (t *term) serveVolumeStatus(ctx *fasthttp.RequestCtx) {
	var volumes struct {
		Max, Free   int
		DataCenters map[string]map[string]map[string][]copyReport
	}
	volumes.DataCenters = map[string]map[string]map[string][]copyReport{}
	t.tree.Walk(func(s topology.ServerStatus) {
		volumes.Max += s.Max
		volumes.Free += s.Free
		center := child(volumes.DataCenters, s.DataCenter)
		copies := make([]copyReport, 0, len(s.Volumes))
		for _, info := range s.Volumes {
			copies = append(copies, t.reportCopy(s.URL, info))
		}
		child(center, s.Rack)[s.URL] = copies
	})
	httpx.JSON(ctx, fasthttp.StatusOK, struct {
		Version string
		Volumes any
	}{t.cfg.Version, volumes})
}

// child returns the map under a name, made on demand.
func child[V any](parent map[string]map[string]V, name string) map[string]V {
	if parent[name] == nil {
		parent[name] = map[string]V{}
	}
	return parent[name]
}

func (t *term) reportCopy(server string, info wire.VolumeInfo) copyReport {
	r := copyReport{VolumeInfo: info, Members: []state.ServerID{}, State: "stray"}
	v, ok := t.machine.Volume(blob.VolumeID(info.ID))
	if !ok {
		return r
	}
	r.Epoch, r.Primary, r.Members, r.Copies = v.Epoch, v.Primary, v.Members, v.Copies()
	r.Doing = t.outlook(v.ID)
	if slices.Contains(v.Members, state.ServerID(server)) && t.tree.Presence(v.ID, server).Holds {
		r.State = v.State.String()
		t.noteMissing(&r, v)
	}
	return r
}

// noteMissing adds what a server can't know of the copy that it has: that others are missing, so that nobody
// writes to it.
func (t *term) noteMissing(r *copyReport, v *state.Volume) {
	var room [8]*topology.Location
	if at, _, _ := t.tree.Lookup(v.ID, room[:0]); len(at) >= max(len(v.Members), v.Placement.Copies()) {
		return
	}
	r.ReadOnly = true
	if r.ReadOnlyReason != "" {
		r.ReadOnlyReason += ", "
	}
	r.ReadOnlyReason += "copies missing"
}

type versionReport struct{ Version string }

// serveHealth answers /healthz: the process is up.
func (m *Master) serveHealth(ctx *fasthttp.RequestCtx) {
	if httpx.Allow(ctx, fasthttp.MethodGet) {
		httpx.JSON(ctx, fasthttp.StatusOK, versionReport{m.cfg.Version})
	}
}

// serveReady answers /readyz: this master leads and has caught up, or knows who leads.
func (m *Master) serveReady(ctx *fasthttp.RequestCtx) {
	if !httpx.Allow(ctx, fasthttp.MethodGet) {
		return
	}
	if _, ok := m.otherLeader(); !ok && m.leading() == nil {
		m.fail(ctx, errNoLeader)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, versionReport{m.cfg.Version})
}
