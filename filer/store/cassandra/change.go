package cassandra

import (
	"context"
	"fmt"
	"math/rand/v2"

	"weed/filer/store"
)

// newVersion returns one that was never there, as far as 63 bits of chance go.
func newVersion() store.Version { return store.Version(rand.Uint64()>>1 | 1) }

// target is a place in a directory at which a change is to be made.
type target struct {
	dir, name string
	way       []step
	entry     entry
}

// aim walks to a path and settles the rename that holds its record, if any. False means: look again.
func (s *Store) aim(ctx context.Context, path store.Path) (t target, ok bool, err error) {
	t.dir, t.name, t.way, err = s.walk(ctx, path)
	if err != nil {
		if !onTheWay(err) {
			return t, false, err
		}
		if ok, failed := s.stands(ctx, t.way); !ok || failed != nil {
			return t, false, failed
		}
		return t, false, err
	}
	if t.entry, err = s.lookup(ctx, t.dir, t.name); err != nil {
		return t, false, err
	}
	if t.entry.lock.held() {
		return t, false, s.clearEntry(ctx, t.dir, t.name, s.cfg.Patience)
	}
	return t, true, nil
}

// source is aim for a record that has to be there, with version was.
func (s *Store) source(ctx context.Context, path store.Path, was store.Version) (t target, ok bool, err error) {
	t, ok, err = s.aim(ctx, path)
	switch {
	case onTheWay(err):
		return t, false, fmt.Errorf("%s: %w", path, store.ErrNotFound)
	case err != nil || !ok:
		return t, false, err
	case !t.entry.there():
		ok, err := s.stands(ctx, t.way)
		if ok && err == nil {
			err = fmt.Errorf("%s: %w", path, store.ErrNotFound)
		}
		return t, false, err
	case t.entry.version != was:
		return t, false, fmt.Errorf("%s: %w", path, store.ErrConflict)
	}
	return t, true, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (version store.Version, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	err = tries(ctx, func() (done bool, err error) {
		version, done, err = s.put(ctx, path, was, record, effects)
		return done, err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

func (s *Store) put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (store.Version, bool, error) {
	t, ok, err := s.aim(ctx, path)
	switch {
	case err != nil || !ok:
		return 0, false, err
	case t.entry.version != was:
		return 0, false, fmt.Errorf("%s: %w", path, store.ErrConflict)
	case was != 0 && t.entry.dir() != record.Dir:
		return 0, false, fmt.Errorf("%s: %w", path, store.ErrIsDirectory)
	}
	a := s.attempt(t.dir)
	if err := a.use(ctx, effects.Uses); err != nil {
		return 0, false, a.lost(ctx, err)
	}
	child := t.entry.child
	if record.Dir && was == 0 {
		child = newPart("d")
		if err := a.makeDir(ctx, child); err != nil {
			return 0, false, a.lost(ctx, err)
		}
	}
	c, err := a.inDirectory(ctx, effects.Drops)
	if err != nil {
		return 0, false, a.lost(ctx, err)
	}
	version := newVersion()
	c.put(t.name, was, version, child, record.Value)
	c.proof = func(ctx context.Context) (bool, error) {
		e, err := s.stored(ctx, t.dir, t.name)
		return e.version == version, err
	}
	done, err := a.decide(ctx, c)
	if err == nil && !done {
		err = s.clearPart(ctx, t.dir)
	}
	return version, done, err
}

// makeDir makes the partition of a directory before a record names it.
func (a *attempt) makeDir(ctx context.Context, part string) error {
	made := newCAS(part).when("state = null").set("state = ?", stateAlive)
	if ok, err := a.s.apply(ctx, made); err != nil || !ok {
		return unavailable(err)
	}
	a.otherwise(func(ctx context.Context) error {
		_, err := a.s.single(ctx, "UPDATE PARTS SET state = null, op = null WHERE part = ? IF op = ?", []byte(part), made.op)
		return err
	})
	return nil
}

// Remove implements store.Store.
func (s *Store) Remove(ctx context.Context, path store.Path, was store.Version, effects store.Effects) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return tries(ctx, func() (bool, error) {
		t, ok, err := s.source(ctx, path, was)
		if err != nil || !ok {
			return false, err
		}
		a := s.attempt(t.dir)
		if err := a.use(ctx, effects.Uses); err != nil {
			return false, a.lost(ctx, err)
		}
		if t.entry.dir() {
			if ok, err := a.closeDir(ctx, path, t.entry.child); err != nil || !ok {
				return false, a.lost(ctx, err)
			}
		}
		return a.removeRecord(ctx, t, effects.Drops)
	})
}

// removeRecord decides a removal.
func (a *attempt) removeRecord(ctx context.Context, t target, drops []string) (bool, error) {
	c, err := a.inDirectory(ctx, drops)
	if err != nil {
		return false, a.lost(ctx, err)
	}
	c.remove(t.name, t.entry.version)
	if t.entry.dir() {
		a.after = func(ctx context.Context) {
			var none error                                       // it is empty
			_, _, _ = a.s.sweepDir(ctx, t.entry.child, 1, &none) // or Sweep does it
		}
	}
	done, err := a.decide(ctx, c)
	if err == nil && !done {
		err = a.s.clearPart(ctx, t.dir)
	}
	return done, err
}

// closeDir keeps everybody from making something in a directory, and makes sure that it is empty.
func (a *attempt) closeDir(ctx context.Context, path store.Path, part string) (ok bool, err error) {
	if err := a.trash(ctx, part); err != nil {
		return false, err
	}
	ok, err = a.s.lockPart(ctx, part, a.lock, stateClosing)
	if err != nil {
		return false, err
	}
	if !ok {
		a.giveBack(ctx)
		return false, a.s.clearPart(ctx, part)
	}
	a.holds(func(ctx context.Context) error { return a.s.unlockPart(ctx, part, a.lock) })
	empty, err := a.s.isEmpty(ctx, part)
	if err == nil && !empty {
		err = fmt.Errorf("%s: %w", path, store.ErrNotEmpty)
	}
	return err == nil, err
}

// isEmpty reports whether a directory that is closed has no records.
func (s *Store) isEmpty(ctx context.Context, part string) (bool, error) {
	from := ""
	for {
		rows, err := s.rows(ctx, s.serial, part, from, from == "", 16)
		if err != nil || len(rows) == 0 {
			return err == nil, err
		}
		for _, e := range rows {
			if e.lock.held() {
				if e, err = s.lookup(ctx, part, e.name); err != nil {
					return false, err
				}
			}
			if e.there() {
				return false, nil
			}
		}
		from = rows[len(rows)-1].name
	}
}

// RemoveTree implements store.Store.
func (s *Store) RemoveTree(ctx context.Context, path store.Path, was store.Version) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return tries(ctx, func() (bool, error) {
		t, ok, err := s.source(ctx, path, was)
		if t.entry.there() && !t.entry.dir() {
			return false, fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
		}
		if err != nil || !ok {
			return false, err
		}
		a := s.attempt(t.dir)
		if err := a.trash(ctx, t.entry.child); err != nil {
			return false, err
		}
		c, err := a.inDirectory(ctx, nil)
		if err != nil {
			return false, a.lost(ctx, err)
		}
		c.remove(t.name, was)
		done, err := a.decide(ctx, c)
		if err == nil && !done {
			err = s.clearPart(ctx, t.dir)
		}
		return done, err
	})
}

// trash writes the record by which Sweep finds a directory that is about to be removed.
func (a *attempt) trash(ctx context.Context, part string) error {
	if err := a.s.toTrash(ctx, part, a.lock); err != nil {
		return err
	}
	a.plan.Dead, a.held = []byte(part), true
	a.otherwise(func(ctx context.Context) error { return a.s.notTrash(ctx, part, a.lock) })
	return nil
}
