package master

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/raftstore"
	"weed/topology"
)

// growthKey names a growth: those who want volumes of the same kind at the same place share one.
type growthKey struct {
	layout topology.LayoutKey
	pref   topology.Preference
}

// pickTries is how often a request looks again after volumes were made for it.
const pickTries = 3

// maxCreated is how many records of volumes are made in one go.
const maxCreated = 1024

// growTries is how often new volumes are proposed while the outcome is unknown.
const growTries = 3

// pickGrown makes volumes for a wish that found none, or waits for those who do, and picks again. The wish
// must outlive the request.
func (t *term) pickGrown(w wish) (*topology.Target, error) {
	if err := blob.CheckCollection(w.key.Collection); err != nil {
		return nil, err
	}
	for range pickTries {
		growth := t.growths.start(growthKey{w.key, w.pref}, func() error { return t.growIfNeeded(w) })
		if err := growth.wait(t.ctx); err != nil {
			return nil, err
		}
		if target, err := t.tree.Pick(w.key, w.pref); err == nil {
			return target, nil
		}
	}
	return nil, topology.ErrNoWritable
}

// growIfNeeded makes volumes unless some have turned up meanwhile. Early in a term it waits for as many
// servers to report as the placement takes.
func (t *term) growIfNeeded(w wish) error {
	timer := time.NewTimer(time.Until(t.warmUpEnd))
	defer timer.Stop()
	for {
		heard := t.news.wait()
		if _, err := t.tree.Pick(w.key, w.pref); err == nil || t.awaitSync(w) {
			return nil
		}
		warming := t.warming()
		if _, err := t.growOnce(w); err == nil || !warming || !lacksServers(err) {
			return err
		}
		select {
		case <-heard:
		case <-timer.C:
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
}

// lacksServers reports whether a growth failed for want of servers, or of room on them.
func lacksServers(err error) bool {
	return errors.Is(err, topology.ErrNoFreeSlots) || errors.Is(err, topology.ErrCannotPlace) ||
		errors.Is(err, topology.ErrUnknownDataCenter) || errors.Is(err, topology.ErrUnknownRack) ||
		errors.Is(err, topology.ErrUnknownNode)
}

// growAhead makes volumes of a layout in the background, because those that it has are nearly full.
func (t *term) growAhead(key topology.LayoutKey) {
	t.growths.start(growthKey{layout: key}, func() error {
		made, err := t.grow(key, topology.Preference{}, 0)
		if err != nil && t.ctx.Err() == nil {
			t.log.Warn("volumes are nearly full and no more can be made", "layout", key.String(), "err", err)
		} else if err == nil {
			t.log.Info("made volumes ahead of need", "layout", key.String(), "volumes", made)
		}
		return err
	})
}

// grow makes count volumes, or as many as growth does for 0, and returns how many; at least one, or an error
// of topology.Reserve, of Raft, or errOrder.
func (t *term) grow(key topology.LayoutKey, pref topology.Preference, count int) (made int, err error) {
	plans, err := t.tree.Reserve(key, pref, count)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, plan := range plans {
			t.tree.Release(plan)
		}
	}()
	var ids []blob.VolumeID
	for some := range slices.Chunk(plans, maxCreated) {
		r, err := t.createRecords(key, pref, some)
		if err != nil && len(ids) == 0 {
			return 0, fmt.Errorf("create %d volumes: %w", len(some), err)
		} else if err != nil {
			t.log.Error("could not make all volumes", "layout", key.String(), "planned", len(plans), "err", err)
			break
		}
		for i := range r.Len() {
			ids = append(ids, r.First+blob.VolumeID(i))
		}
	}
	errs := make([]error, len(ids))
	each(len(ids), func(i int) { errs[i] = t.makeVolume(plans[i], ids[i]) })
	for _, err := range errs {
		if err == nil {
			made++
		}
	}
	t.metrics.grown.Add(float64(made))
	if failed := errors.Join(errs...); failed != nil {
		t.log.Error("could not make all volumes", "layout", key.String(), "made", made, "planned", len(plans), "err", failed)
		if made == 0 {
			return 0, fmt.Errorf("%w: %w", errOrder, failed)
		}
	}
	return made, nil
}

// ordersAtOnce bounds the orders of one growth or deletion that are under way.
const ordersAtOnce = 32

// each calls do for 0 to n-1, in parallel within bounds, and waits.
func each(n int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, ordersAtOnce)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}

// createRecords makes the records of planned volumes, in state creating, and claims them.
func (t *term) createRecords(key topology.LayoutKey, pref topology.Preference, plans []*topology.Reservation) (ids state.VolumeIDRange, err error) {
	groups := make([]state.Group, len(plans))
	leads := t.countPrimaries(plans)
	for i, plan := range plans {
		primary := plan.Servers[0]
		for _, at := range plan.Servers[1:] {
			if pref.IsZero() && leads[at.URL] < leads[primary.URL] {
				primary = at
			}
		}
		leads[primary.URL]++
		groups[i].Primary = state.ServerID(primary.URL)
		for _, at := range plan.Servers {
			groups[i].Members = append(groups[i].Members, state.ServerID(at.URL))
		}
	}
	var token state.Token
	_, _ = rand.Read(token[:]) // never fails: it ends the process instead
	layout := state.Layout{Collection: key.Collection, Placement: key.Placement, TTL: key.TTL, DiskVersion: diskVersion}
	opened := t.claims.open()
	ids = state.VolumeIDRange{First: 1, Last: 0} // none
	defer func() { opened(ids) }()
	for range growTries {
		made, err := propose(t.ctx, t.store, state.CreateVolumes(token, layout, groups))
		if err == nil {
			ids = made
			for i := range ids.Len() {
				t.sync(ids.First + blob.VolumeID(i))
			}
			return ids, nil
		}
		if !errors.Is(err, raftstore.ErrOutcomeUnknown) || t.ctx.Err() != nil {
			return ids, err
		}
	}
	return ids, raftstore.ErrOutcomeUnknown // if there are records after all, settleOrphans finds them
}

// countPrimaries counts the volumes of which the servers of plans are primaries.
func (t *term) countPrimaries(plans []*topology.Reservation) map[string]int {
	leads := map[string]int{}
	view := t.machine.View()
	for _, plan := range plans {
		for _, at := range plan.Servers {
			if _, counted := leads[at.URL]; !counted && len(plan.Servers) > 1 {
				leads[at.URL] = t.primariesOn(view, state.ServerID(at.URL))
			}
		}
	}
	return leads
}

func (t *term) primariesOn(view *state.View, server state.ServerID) (n int) {
	for v := range view.VolumesOn(server) {
		if v.Primary == server {
			n++
		}
	}
	return n
}

// makeVolume has every server of a plan make its copy, and makes the volume writable. When one cannot, the
// volume is deleted.
func (t *term) makeVolume(plan *topology.Reservation, id blob.VolumeID) error {
	err := t.orderCopies(plan, id)
	v, ok := t.machine.Volume(id)
	if !ok || v.State != state.Creating { // its collection is being deleted, or another leader has decided
		t.claims.drop(id)
		kick(t.deletionsDue)
		return errors.Join(err, fmt.Errorf("volume %d was given up meanwhile", id))
	}
	to := state.Writable
	if err != nil {
		to = state.Deleting
	}
	failed := t.setState(v, to)
	t.claims.drop(id)
	if err == nil || failed != nil {
		return errors.Join(err, failed)
	}
	if left := t.deleteVolume(id); left != nil {
		t.log.Warn("copies of a volume that failed to come about are deleted later", "volume", uint32(id), "err", left)
	}
	return fmt.Errorf("volume %d: %w", id, err)
}

// orderCopies has every server of a plan make its copy. Copies that have been reported are made, also when
// the answer was lost.
func (t *term) orderCopies(plan *topology.Reservation, id blob.VolumeID) error {
	order := wire.CreateVolume{ID: uint32(id), Collection: plan.Key.Collection,
		Replication: plan.Key.Placement.String(), TTL: plan.Key.TTL.String()}
	if v, ok := t.machine.Volume(id); ok {
		order.Config = configOf(v)
	}
	infos := make([]wire.VolumeInfo, len(plan.Servers))
	errs := make([]error, len(plan.Servers))
	each(len(plan.Servers), func(i int) {
		url := plan.Servers[i].URL
		errs[i] = t.order(url, wire.PathVolumeCreate, order, &infos[i])
		if errs[i] == nil && infos[i].ID != uint32(id) {
			errs[i] = fmt.Errorf("%s made volume %d instead of %d", url, infos[i].ID, id)
		}
		var refused *client.StatusError
		if errors.As(errs[i], &refused) {
			t.gone.add(id, state.ServerID(url)) // what it may hold under this id is not ours
		} else if errs[i] != nil && t.tree.Presence(id, url).Holds {
			errs[i], infos[i] = nil, emptyCopy(plan, id) // as the report may say no more in a moment
		}
	})
	failed := errors.Join(errs...)
	if failed == nil {
		t.tree.Settle(t.deps.Now(), plan, infos)
	}
	return failed
}

// emptyCopy is what a server says of a copy that it has just made.
func emptyCopy(plan *topology.Reservation, id blob.VolumeID) wire.VolumeInfo {
	p := plan.Key.Placement
	return wire.VolumeInfo{ID: uint32(id), Collection: plan.Key.Collection, TTL: plan.Key.TTL.String(), Version: diskVersion,
		ReplicaPlacement: wire.ReplicaPlacement{
			DiffDataCenterCount: int(p.DataCenters), DiffRackCount: int(p.Racks), SameRackCount: int(p.Servers),
		}}
}

// order sends an order to a volume server and waits for its answer.
func (t *term) order(server, path string, order, answer any) error {
	ctx, cancel := context.WithTimeout(t.ctx, orderTimeout)
	defer cancel()
	return t.client.PostJSON(ctx, server, path, order, answer)
}

// deleteCopy orders one copy of a volume away; one that is not there is as good.
func (t *term) deleteCopy(server string, id blob.VolumeID, collection string) error {
	err := t.order(server, wire.PathVolumeDelete, wire.DeleteVolume{ID: uint32(id), Collection: collection}, nil)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}
