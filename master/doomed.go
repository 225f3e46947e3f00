package master

import (
	"slices"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/topology"
)

// doomed lists copies of volumes that failed to come about and are still to be deleted. The topology does not
// hear of them, so nothing is ever assigned to what is going to be deleted.
type doomed struct {
	mu     sync.Mutex                 // also held while a heartbeat goes into the topology
	copies map[string][]blob.VolumeID // by server
}

// condemn dooms the copies of a volume. It is false, and does nothing, when all its copies have been reported:
// then it has come about.
func (d *doomed) condemn(tree *topology.Tree, id blob.VolumeID, servers []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !tree.Abandon(id) {
		return false
	}
	if d.copies == nil {
		d.copies = map[string][]blob.VolumeID{}
	}
	for _, server := range servers {
		d.copies[server] = append(d.copies[server], id)
	}
	return true
}

func (d *doomed) has(server string, id blob.VolumeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.copies[server], id)
}

func (d *doomed) remove(server string, id blob.VolumeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(server, slices.DeleteFunc(d.copies[server], func(x blob.VolumeID) bool { return x == id }))
}

func (d *doomed) set(server string, ids []blob.VolumeID) {
	if len(ids) == 0 {
		delete(d.copies, server)
	} else {
		d.copies[server] = ids
	}
}

// admit gives a heartbeat without its doomed copies to the topology, and returns these. Copies that a full
// heartbeat does not name were never made, and are forgotten.
func (d *doomed) admit(tree *topology.Tree, now time.Time, hb *wire.Heartbeat) ([]wire.VolumeInfo, topology.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []wire.VolumeInfo
	if ids := d.copies[hb.URL]; len(ids) > 0 {
		is := func(v wire.VolumeInfo) bool { return slices.Contains(ids, blob.VolumeID(v.ID)) }
		for _, v := range hb.Volumes {
			if is(v) {
				found = append(found, v)
			}
		}
		hb.Volumes = slices.DeleteFunc(hb.Volumes, is)
		if hb.Full {
			d.set(hb.URL, slices.DeleteFunc(slices.Clone(ids), func(id blob.VolumeID) bool {
				return !slices.ContainsFunc(found, func(v wire.VolumeInfo) bool { return v.ID == uint32(id) })
			}))
		}
	}
	out, err := tree.Heartbeat(now, hb)
	return found, out, err
}
