package filer

import (
	"context"
	"errors"
	"slices"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/wire"
)

// errMoving says that the tree was not read as it was at any time.
var errMoving = errors.New("other filers move files about all the time: try again when they don't")

const (
	treeTries   = 5  // of the tree, while others move its records about
	movedRounds = 20 // looks at what was moved during the one before
)

// confirm tells which of the candidates have leaked, and has those deleted if that is wanted and all was looked at.
func (v *verifier) confirm(ctx context.Context) error {
	if v.found == 0 {
		return nil
	}
	v.phase.Store("confirm")
	set := needleSet{parts: 1, volumes: v.candidates}
	for _, list := range set.volumes {
		sortNeedles(list) // those of a large volume come in parts
	}
	// The order matters: see verifier.
	err := v.markClaims(ctx, &set)
	if err == nil {
		err = v.markTree(ctx, &set)
	}
	if err == nil {
		err = v.sweep(ctx)
	}
	if err == nil {
		err = v.markDrops(ctx, &set)
	}
	if err != nil {
		return err
	}
	var leaks []string
	for id := range set.volumes {
		found, err := v.relist(ctx, &set, id)
		if err != nil {
			return err
		}
		leaks = append(leaks, found...)
	}
	if !v.fix || v.result.Failures > 0 || len(leaks) == 0 {
		return nil
	}
	v.phase.Store("fix")
	for batch := range slices.Chunk(leaks, dropBatch) {
		if err := v.f.store.AddDrops(ctx, batch); err != nil {
			return err
		}
		v.result.Queued += int64(len(batch))
	}
	v.f.drops.poke()
	return nil
}

// markClaims marks what may be in the middle of an upload.
func (v *verifier) markClaims(ctx context.Context, set *needleSet) error {
	var list []store.Claim
	err := again(ctx, func() (err error) {
		list, err = v.f.store.Claims(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range list {
		fid, err := blob.ParseFileID(c.FID)
		if err != nil {
			v.f.log.Error("a claim has no fid", "claim", c.ID, "fid", c.FID)
			continue
		}
		for range c.Count {
			set.mark(fid, claimed)
			fid.Key++
		}
	}
	return nil
}

// markDrops marks what is going to be deleted anyway.
func (v *verifier) markDrops(ctx context.Context, set *needleSet) error {
	for after := ""; ; {
		var list []store.Drop
		err := again(ctx, func() (err error) {
			list, err = v.f.store.Drops(ctx, after, dropBatch)
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range list {
			if fid, err := blob.ParseFileID(d.FID); err == nil {
				set.mark(fid, claimed)
			}
		}
		if len(list) < dropBatch {
			return nil
		}
		after = list[len(list)-1].ID
	}
}

// sweep turns the chunks of removed trees into drops.
func (v *verifier) sweep(ctx context.Context) error {
	for {
		var swept store.Swept
		err := again(ctx, func() (err error) {
			swept, err = v.f.store.Sweep(ctx, sweepBatch)
			return err
		})
		switch {
		case errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrClosed) || ctx.Err() != nil:
			return err
		case err != nil:
			v.f.log.Warn("a removed directory held records that can't be read: what they referred to has leaked", "error", err)
		}
		if !swept.More {
			return nil
		}
	}
}

// markTree marks what records refer to, wherever they are moved meanwhile.
func (v *verifier) markTree(ctx context.Context, set *needleSet) error {
	mark := func(_ context.Context, _ store.Path, e *Entry) error {
		for i := range e.Chunks {
			set.mark(e.Chunks[i].FID, referred)
		}
		return nil
	}
	for range treeTries {
		v.looked.Store(0)
		if sure, err := v.markOnce(ctx, mark); sure || err != nil {
			return err
		}
	}
	return errMoving
}

// markOnce reads the tree once, and then what has come to another place meanwhile. It reports whether that was all.
func (v *verifier) markOnce(ctx context.Context, mark func(context.Context, store.Path, *Entry) error) (sure bool, err error) {
	var w *moveWatch
	err = again(ctx, func() (err error) {
		w, err = v.f.watchMoves(ctx)
		return err
	})
	if err != nil {
		return false, err
	}
	defer v.f.unwatchMoves()
	if err := v.readTree(ctx, "/", mark); err != nil {
		return false, err
	}
	for range movedRounds {
		paths, unknown, err := v.f.takeMoved(ctx, w)
		if err != nil || unknown {
			return false, err
		}
		if len(paths) == 0 {
			return true, nil
		}
		for _, path := range paths {
			if err := v.readAt(ctx, path, mark); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// readAt reads the record at a path and all below it. What is not there has been moved on, or is gone.
func (v *verifier) readAt(ctx context.Context, path store.Path, visit func(context.Context, store.Path, *Entry) error) error {
	var rec store.Record
	err := again(ctx, func() (err error) {
		rec, err = v.f.store.Find(ctx, path)
		return err
	})
	if isNotFound(err) {
		return nil
	}
	if err == nil {
		err = v.read(ctx, path, &rec, visit)
	}
	if err == nil && rec.Dir {
		err = v.readTree(ctx, path, visit)
	}
	return err
}

// relist lists a volume again, and tells those of the candidates that are still there and that nothing refers to.
func (v *verifier) relist(ctx context.Context, set *needleSet, id blob.VolumeID) (leaks []string, err error) {
	list := set.volumes[id]
	for i := range list {
		n := &list[i]
		if n.is(claimed) && !n.is(referred) {
			v.result.Pending++
		}
	}
	if !slices.ContainsFunc(list, func(n needle) bool { return !n.is(claimed | referred) }) {
		return nil, nil
	}
	var told []wire.LeakedChunk
	err = v.list(ctx, id, func() { told = nil }, func(fid blob.FileID, n *client.Needle) {
		if c := set.find(fid.Volume, fid.Key); c != nil && !c.is(claimed|referred) && c.cookie == uint32(fid.Cookie) && n.Damage == "" {
			told = append(told, wire.LeakedChunk{FID: n.FID, Size: n.Size, AppendedAt: n.AppendedAt})
		}
	})
	if err != nil {
		return nil, err
	}
	for i := range told {
		v.emit(&wire.VerifyEvent{Leak: &told[i]})
		v.result.Leaks++
		v.result.LeakBytes += told[i].Size
		leaks = append(leaks, told[i].FID)
	}
	return leaks, nil
}
