package filer

import (
	"context"
	"sync"
	"time"

	"weed/filer/store"
)

const (
	expireFirst   = time.Minute // after the start
	expireRest    = 19          // times as long as it works the walk rests: it takes a twentieth of the time
	expireMaxRest = 5 * time.Second
	expireAtOnce  = 32 // removals: they share the store's syncs
)

// expiry is one walk over the tree that removes entries whose time is over.
type expiry struct {
	f     *Filer
	due   []purge // of the page that was read last
	since time.Time
	gone  int64
}

// expireAll walks over the tree again and again, slowly, so that what has expired and is never asked for goes too. It
// returns when ctx ends.
func (f *Filer) expireAll(ctx context.Context) {
	for wait := min(expireFirst, f.cfg.ExpireEvery); pause(ctx, wait); wait = f.cfg.ExpireEvery {
		x := expiry{f: f, since: time.Now()}
		err := visitRecords(ctx, x.list, "/", x.visit)
		if err == nil {
			err = x.remove(ctx)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.log.Warn("not all of the tree was searched for entries that have expired", "removed", x.gone, "error", err)
		case x.gone > 0:
			f.log.Info("entries that had expired were removed", "removed", x.gone)
		}
	}
}

// list removes what the page before has shown to be due, rests, and reads the next page.
func (x *expiry) list(ctx context.Context, dir store.Path, opts store.ListOptions) ([]store.Record, error) {
	if err := x.remove(ctx); err != nil {
		return nil, err
	}
	if !pause(ctx, min(expireRest*time.Since(x.since), expireMaxRest)) {
		return nil, ctx.Err()
	}
	x.since = time.Now()
	return x.f.store.List(ctx, dir, opts)
}

func (x *expiry) visit(path store.Path, rec *store.Record) error {
	e, err := decodeEntry(rec.Value)
	if err != nil {
		x.f.log.Error("an entry is damaged", "path", string(path), "error", err)
		return nil
	}
	if e.expired(x.f.now()) {
		x.due = append(x.due, purge{path, rec.Version, e.fids()})
	}
	return nil
}

// remove removes what is due. The error is the store's, that of being away.
func (x *expiry) remove(ctx context.Context) error {
	var mu sync.Mutex // guards failed and x.gone
	var failed error
	var group sync.WaitGroup
	room := make(chan struct{}, expireAtOnce)
	for _, p := range x.due {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			err := x.f.removeExpiredEntry(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				x.gone++
			case !isNotFound(err) && !isConflict(err): // else somebody was faster, or has replaced it
				failed = err
			}
		})
	}
	group.Wait()
	x.due = x.due[:0]
	return failed
}

// removeExpiredEntry removes an entry that has expired, if it is still as it was.
func (f *Filer) removeExpiredEntry(ctx context.Context, p purge) error {
	err := f.store.Remove(ctx, p.path, p.version, store.Effects{Drops: p.drops})
	if err == nil {
		f.expired.Add(1)
		f.drops.poke()
	}
	return err
}
