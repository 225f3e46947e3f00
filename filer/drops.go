package filer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
)

const (
	dropBatch  = 1000
	sweepBatch = 1000
	// dropDelay lies between a change and the deletion of what it let go of: a read that has just looked at the entry
	// has said by then which chunks it needs.
	dropDelay    = 500 * time.Millisecond
	dropEvery    = time.Minute // between two looks without a reason
	dropMaxDelay = time.Minute // between two tries of what fails
)

// dropper deletes the chunks that nothing refers to any more, and sweeps removed trees.
type dropper struct {
	f     *Filer
	wake  chan struct{}
	sweep chan struct{}

	deleted, failed, waiting, swept atomic.Int64
	sweeping                        atomic.Bool

	mu      sync.Mutex
	missing map[blob.FileID]time.Time // when chunks were first seen not to be there
	resting map[blob.VolumeID]rest    // volumes that did not delete
}

// rest is how long a volume is left alone.
type rest struct {
	until time.Time
	delay time.Duration
}

func newDropper(f *Filer) *dropper {
	return &dropper{f: f, wake: make(chan struct{}, 1), sweep: make(chan struct{}, 1), missing: make(map[blob.FileID]time.Time),
		resting: make(map[blob.VolumeID]rest)}
}

// poke says that there may be drops.
func (d *dropper) poke() { notify(d.wake) }

// sweepSoon says that a tree was removed.
func (d *dropper) sweepSoon() { notify(d.sweep) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run deletes until ctx ends. What fails is tried again for ever, ever more slowly.
func (d *dropper) run(ctx context.Context) {
	wait := time.Duration(0)
	timer := time.NewTimer(0) // what an earlier life has left
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
			// A backlog is not gone over for every new drop.
			if !pause(ctx, max(dropDelay, min(wait, 5*time.Second))) {
				return
			}
		case <-timer.C:
		}
		left, err := d.pass(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			d.f.log.Warn("chunks that nobody needs were not deleted: trying again", "error", err)
			fallthrough
		case left > 0:
			wait = min(max(2*wait, time.Second), dropMaxDelay)
			timer.Reset(wait)
		default:
			wait = 0
			timer.Reset(dropEvery)
		}
	}
}

// pass goes over all drops once, and returns how many are left.
func (d *dropper) pass(ctx context.Context) (left int, err error) {
	for after := ""; ; {
		list, err := d.f.store.Drops(ctx, after, dropBatch)
		if err != nil {
			return left, err
		}
		if len(list) == 0 {
			break
		}
		after = list[len(list)-1].ID
		n, err := d.deleteBatch(ctx, list)
		left += n
		if err != nil {
			return left, err
		}
		if len(list) < dropBatch {
			break
		}
	}
	d.waiting.Store(int64(left))
	if left == 0 {
		d.mu.Lock()
		clear(d.missing)
		d.mu.Unlock()
	}
	return left, nil
}

// deleteBatch deletes what of a batch nobody reads, and confirms what is gone. It returns how many are left.
func (d *dropper) deleteBatch(ctx context.Context, list []store.Drop) (left int, err error) {
	byFID := make(map[blob.FileID][]store.Drop, len(list))
	var done []store.Drop
	for _, drop := range list {
		id, err := blob.ParseFileID(drop.FID)
		if err != nil {
			d.f.log.Error("a chunk that is to be deleted has no fid: it is forgotten", "fid", drop.FID)
			done = append(done, drop)
			continue
		}
		byFID[id] = append(byFID[id], drop)
	}
	d.f.reads.held(func(c *Chunk) {
		if n := len(byFID[c.FID]); n > 0 {
			left += n
			delete(byFID, c.FID)
		}
	})
	ids, fids := make([]blob.FileID, 0, len(byFID)), make([]string, 0, len(byFID))
	now := time.Now()
	for id, drops := range byFID {
		if d.mayAsk(id, now) {
			ids, fids = append(ids, id), append(fids, id.String())
		} else {
			left += len(drops)
		}
	}
	var last error
	for i, r := range d.f.client.DeleteMany(ctx, fids) {
		missing := errors.Is(r.Err, client.ErrNotFound)
		d.heard(ids[i].Volume, r.Err == nil || missing)
		switch {
		case r.Err == nil, missing && d.stayedAway(ids[i]):
			done = append(done, byFID[ids[i]]...)
			continue
		case !missing:
			d.failed.Add(1)
			last = r.Err
		}
		left += len(byFID[ids[i]])
	}
	if len(done) > 0 {
		if err := d.f.store.Dropped(ctx, done); err != nil {
			return left, err
		}
		d.deleted.Add(int64(len(done)))
	}
	if last != nil && ctx.Err() == nil {
		d.f.log.Info("some chunks are deleted later", "left", left, "error", last)
	}
	return left, nil
}

const maxMissing = 100_000

// mayAsk reports whether it is time to delete a chunk: its volume does not rest, and if it was missing, it has been so
// for long enough.
func (d *dropper) mayAsk(id blob.FileID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Before(d.resting[id.Volume].until) {
		return false
	}
	first, missing := d.missing[id]
	return !missing || now.Sub(first) >= d.f.cfg.MissingGrace
}

// heard notes whether a volume deletes: one that does not is left alone for longer and longer.
func (d *dropper) heard(id blob.VolumeID, well bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, resting := d.resting[id]
	switch now := time.Now(); {
	case well:
		delete(d.resting, id)
	case !resting || !now.Before(r.until): // one failure of each pass counts
		delay := min(max(2*r.delay, time.Second), dropMaxDelay)
		d.resting[id] = rest{now.Add(delay), delay}
	}
}

// stayedAway reports whether a chunk has not been there for MissingGrace. Its upload may have been broken off, and
// still be on its way.
func (d *dropper) stayedAway(id blob.FileID) bool {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	first, seen := d.missing[id]
	switch {
	case !seen && len(d.missing) < maxMissing:
		d.missing[id] = now
	case seen && now.Sub(first) >= d.f.cfg.MissingGrace:
		delete(d.missing, id)
		return true
	}
	return d.f.cfg.MissingGrace <= 0
}

// sweepAll takes removed trees apart, until ctx ends.
func (f *Filer) sweepAll(ctx context.Context) {
	d := f.drops
	wait := time.Duration(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.sweep:
		case <-timer.C:
		}
		swept, err := f.store.Sweep(ctx, sweepBatch)
		d.swept.Add(int64(swept.Records))
		d.sweeping.Store(err == nil && swept.More)
		if swept.Records > 0 {
			d.poke()
		}
		switch {
		case err != nil && ctx.Err() == nil:
			f.log.Warn("removed directories were not swept: trying again", "error", err)
			wait = min(max(2*wait, time.Second), dropMaxDelay)
			timer.Reset(wait)
		case swept.More:
			wait = 0
			timer.Reset(0)
		default:
			wait = 0
			timer.Reset(dropEvery)
		}
	}
}
