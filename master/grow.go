package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// growthKey names a growth: those who want volumes of the same kind at the same place share one.
type growthKey struct {
	layout topology.LayoutKey
	pref   topology.Preference
}

// pickTries is how often a request looks again after volumes were made for it.
const pickTries = 3

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

// growIfNeeded makes volumes unless some have turned up meanwhile. Early in a term it waits for the servers
// to report: what they hold may do.
func (t *term) growIfNeeded(w wish) error {
	timer := time.NewTimer(time.Until(t.warmUpEnd))
	defer timer.Stop()
	for {
		heard := t.news.wait()
		if _, err := t.tree.Pick(w.key, w.pref); err == nil {
			return nil
		}
		if !t.warming() {
			break
		}
		select {
		case <-heard:
		case <-timer.C:
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	_, err := t.grow(w.key, w.pref, 0)
	return err
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
	ids, err := propose(t.ctx, t.store, state.AllocateVolumeIDs(uint32(len(plans))))
	if err != nil {
		for _, plan := range plans {
			t.tree.Release(plan)
		}
		return 0, fmt.Errorf("allocate %d volume ids: %w", len(plans), err)
	}
	errs := make([]error, len(plans))
	each(len(plans), func(i int) { errs[i] = t.makeVolume(plans[i], ids.First+blob.VolumeID(i)) })
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

// makeVolume has every server of a plan make its copy, and makes the volume known. When one cannot, the
// others' copies are deleted and the slots given back.
func (t *term) makeVolume(plan *topology.Reservation, id blob.VolumeID) error {
	order := wire.CreateVolume{ID: uint32(id), Collection: plan.Key.Collection,
		Replication: plan.Key.Placement.String(), TTL: plan.Key.TTL.String()}
	infos := make([]wire.VolumeInfo, len(plan.Servers))
	errs := make([]error, len(plan.Servers))
	each(len(plan.Servers), func(i int) {
		errs[i] = t.order(plan.Servers[i].URL, wire.PathVolumeCreate, order, &infos[i])
		if errs[i] == nil && infos[i].ID != uint32(id) {
			errs[i] = fmt.Errorf("%s made volume %d instead of %d", plan.Servers[i].URL, infos[i].ID, id)
		}
	})
	failed := errors.Join(errs...)
	if failed == nil {
		t.tree.Settle(t.deps.Now(), plan, infos)
		return nil
	}
	if !t.doomed.condemn(t.tree, id, madeBy(plan.Servers, errs)) {
		t.tree.Release(plan) // the answer was lost, but the copies have been reported
		return nil
	}
	each(len(plan.Servers), func(i int) { t.undo(plan.Servers[i].URL, id, plan.Key.Collection) })
	t.tree.Release(plan)
	return fmt.Errorf("volume %d: %w", id, failed)
}

// madeBy returns the servers that made their copy or may have: all but those that refused. What these may
// hold under the volume's id is not ours.
func madeBy(servers []*topology.Location, errs []error) []string {
	var urls []string
	for i, at := range servers {
		var refused *client.StatusError
		if !errors.As(errs[i], &refused) {
			urls = append(urls, at.URL)
		}
	}
	return urls
}

// order sends an order to a volume server and waits for its answer.
func (t *term) order(server, path string, order, answer any) error {
	ctx, cancel := context.WithTimeout(t.ctx, orderTimeout)
	defer cancel()
	return t.client.PostJSON(ctx, server, path, order, answer)
}

// undo deletes a doomed copy; one that cannot be deleted now is deleted when the server reports it.
func (t *term) undo(server string, id blob.VolumeID, collection string) {
	if !t.doomed.has(server, id) {
		return
	}
	if err := t.deleteCopy(server, id, collection); err != nil {
		t.log.Warn("a copy of a volume that failed to come about is left", "server", server, "volume", uint32(id), "err", err)
		return
	}
	t.doomed.remove(server, id)
}

// deleteCopy orders one copy of a volume away; one that is not there is as good.
func (t *term) deleteCopy(server string, id blob.VolumeID, collection string) error {
	err := t.order(server, wire.PathVolumeDelete, wire.DeleteVolume{ID: uint32(id), Collection: collection}, nil)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}
