package master

import (
	"fmt"
	"slices"
	"sync"

	"weed/internal/blob"
	"weed/master/state"
	"weed/topology"
)

// drains are the servers that are being emptied, those of the records: a new leader goes on with them.
type drains struct {
	changing sync.Mutex // held while it is decided whether a server is one of them

	mu      sync.Mutex
	servers map[state.ServerID]map[blob.VolumeID]string // why volumes can't be moved now
}

func (d *drains) set(server state.ServerID, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.servers == nil {
		d.servers = map[state.ServerID]map[blob.VolumeID]string{}
	}
	if !on {
		delete(d.servers, server)
	} else if d.servers[server] == nil {
		d.servers[server] = map[blob.VolumeID]string{}
	}
}

// all returns the servers in order.
func (d *drains) all() (servers []state.ServerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for server := range d.servers {
		servers = append(servers, server)
	}
	slices.Sort(servers)
	return servers
}

func (d *drains) note(server state.ServerID, id blob.VolumeID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stuck := d.servers[server]
	if err == nil {
		delete(stuck, id)
	} else if stuck != nil {
		stuck[id] = err.Error()
	}
}

// stuck returns why volumes of a server can't be moved.
func (d *drains) stuck(server state.ServerID, id blob.VolumeID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.servers[server][id]
}

// startDrains begins to move volumes off the servers that are being emptied, as many at a time as bounds allow.
func (t *term) startDrains() {
	for _, server := range t.drains.all() {
		for v := range t.machine.View().VolumesOn(server) {
			load := t.copyingLoad()
			if load.total >= maxCopyings {
				return
			}
			if !served(v) || t.copies.of(v.ID) != nil || !load.mayRead(v.Primary) {
				continue
			}
			plan, err := t.reserveMove(v, server, true)
			t.drains.note(server, v.ID, err)
			if err == nil {
				t.startCopying(&copying{id: v.ID, to: state.ServerID(plan.Servers[0].URL), from: server, why: forDrain, plan: plan})
			}
		}
	}
}

// reserveMove is reserveCopy for a volume that is to leave a server. Best is one that holds a copy which is no member's,
// such as one that the leader before has begun.
func (t *term) reserveMove(v *state.Volume, from state.ServerID, bounded bool) (*topology.Reservation, error) {
	load, now := t.copyingLoad(), t.deps.Now()
	copies := slices.DeleteFunc(fitting(v.Layout, t.tree.Strays(v.ID)), func(s topology.Stray) bool {
		server := state.ServerID(s.At.URL)
		return s.Info.CopyEpoch > v.Epoch || slices.Contains(v.Members, server) || t.copies.avoids(v.ID, server, now) ||
			bounded && load.of[server] >= maxServerCopyings
	})
	if len(copies) > 0 {
		plan, err := t.tree.ReserveCopy(groupOf(v).Key, t.placesOf(v, from), func(url string) bool {
			return !slices.ContainsFunc(copies, func(s topology.Stray) bool { return s.At.URL == url })
		})
		if err == nil {
			return plan, nil
		}
	}
	return t.reserveCopy(v, from, bounded, "")
}

// drain begins to empty a server. It fails with errNoRoom when not all of its volumes have a place elsewhere.
func (t *term) drain(server state.ServerID) error {
	t.drains.changing.Lock()
	defer t.drains.changing.Unlock()
	if t.tree.Draining(string(server)) {
		return nil
	}
	t.tree.Drain(string(server), true)
	err := t.checkRoom(server)
	if err == nil {
		err = t.recordDrain(server, true)
	}
	if err != nil {
		t.tree.Drain(string(server), false)
	}
	t.followDrains()
	return err
}

// endDrain takes it back that a server is to be emptied. What has been moved stays where it is.
func (t *term) endDrain(server state.ServerID) error {
	t.drains.changing.Lock()
	defer t.drains.changing.Unlock()
	err := t.recordDrain(server, false)
	t.followDrains()
	return err
}

func (t *term) recordDrain(server state.ServerID, on bool) error {
	if _, err := propose(t.ctx, t.store, state.SetDraining(server, on)); err != nil {
		return fmt.Errorf("record whether server %s is to be emptied: %w", server, err)
	}
	return nil
}

// syncDrains has those servers emptied, and no others, of which the records say so.
func (t *term) syncDrains() {
	t.drains.changing.Lock()
	defer t.drains.changing.Unlock()
	t.followDrains()
}

// followDrains is syncDrains for who holds t.drains.changing.
func (t *term) followDrains() {
	view := t.machine.View()
	wanted, known := view.Draining(), t.drains.all()
	for _, server := range wanted {
		if _, is := slices.BinarySearch(known, server); !is {
			t.tree.Drain(string(server), true)
			t.drains.set(server, true)
			t.log.Info("a server is being emptied", "server", string(server), "volumes", view.VolumeCountOn(server))
			kick(t.copies.due)
		}
	}
	for _, server := range known {
		if _, is := slices.BinarySearch(wanted, server); is {
			continue
		}
		t.drains.set(server, false)
		t.tree.Drain(string(server), false)
		for _, c := range t.copies.all() {
			if c.why == forDrain && c.from == server {
				c.give()
			}
		}
		t.log.Info("a server is no longer being emptied", "server", string(server))
	}
}

// checkRoom tries whether all volumes of a server have a place elsewhere.
func (t *term) checkRoom(server state.ServerID) error {
	var plans []*topology.Reservation
	defer func() {
		for _, plan := range plans {
			t.tree.Release(plan)
		}
	}()
	var homeless *state.Volume
	n, all := 0, 0
	for v := range t.machine.View().VolumesOn(server) {
		if !served(v) {
			continue
		}
		all++
		plan, err := t.reserveMove(v, server, false)
		if err == nil {
			plans = append(plans, plan)
			continue
		}
		if n++; homeless == nil {
			homeless = v
		}
	}
	if homeless == nil {
		return nil
	}
	return fmt.Errorf("%w for %d of the %d volumes on %s, such as volume %d of replication %s: add servers or slots", errNoRoom,
		n, all, server, homeless.ID, homeless.Placement)
}

// drainReport is how far the emptying of a server is.
type drainReport struct {
	Server   string        `json:"server"`
	Draining bool          `json:"draining"`
	Left     int           `json:"left"`   // volumes that it is a member of
	Strays   int           `json:"strays"` // copies that are none of a volume's, and stay
	Moving   []progress    `json:"moving"`
	Stuck    []stuckVolume `json:"stuck"` // the first ones that have no place now
}

type stuckVolume struct {
	VolumeID blob.VolumeID `json:"volumeId"`
	Reason   string        `json:"reason"`
}

// maxStuck bounds the volumes that a report names.
const maxStuck = 20

func (t *term) drainReport(server state.ServerID) drainReport {
	view := t.machine.View()
	r := drainReport{Server: string(server), Draining: t.tree.Draining(string(server)), Left: view.VolumeCountOn(server),
		Moving: []progress{}, Stuck: []stuckVolume{}}
	moving := map[blob.VolumeID]bool{}
	for _, c := range t.copies.all() {
		if c.from == server {
			r.Moving = append(r.Moving, c.progress())
			moving[c.id] = true
		}
	}
	for v := range view.VolumesOn(server) {
		if reason := t.drains.stuck(server, v.ID); reason != "" && !moving[v.ID] && len(r.Stuck) < maxStuck {
			r.Stuck = append(r.Stuck, stuckVolume{v.ID, reason})
		}
	}
	for _, s := range t.tree.Strays(0) {
		if s.At.URL == string(server) {
			r.Strays++
		}
	}
	return r
}
