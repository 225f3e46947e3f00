package cassandra

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// Rename implements store.Store.
func (s *Store) Rename(ctx context.Context, from store.Path, was store.Version, to store.Path, target store.Version, value []byte, effects store.Effects) (version store.Version, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	m := move{from: from, to: to, was: was, target: target, value: value, effects: effects}
	err = tries(ctx, func() (done bool, err error) {
		version, done, err = s.rename(ctx, m)
		return done, err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// move is what a rename is asked for.
type move struct {
	from, to    store.Path
	was, target store.Version
	value       []byte
	effects     store.Effects
}

// ends walks to both ends of a move, and checks what can be checked there. False means: look again.
func (s *Store) ends(ctx context.Context, m move) (src, dst target, ok bool, err error) {
	if src, ok, err = s.source(ctx, m.from, m.was); err != nil || !ok {
		return src, dst, false, err
	}
	if src.entry.dir() && (m.to == m.from || strings.HasPrefix(string(m.to), string(m.from)+"/")) {
		return src, dst, false, fmt.Errorf("%s to %s: %w", m.from, m.to, store.ErrIntoItself)
	}
	if dst, ok, err = s.aim(ctx, m.to); err != nil || !ok {
		return src, dst, false, err
	}
	switch {
	case dst.entry.version != m.target:
		return src, dst, false, fmt.Errorf("%s: %w", m.to, store.ErrConflict)
	case dst.entry.there() && (dst.entry.dir() || src.entry.dir()):
		return src, dst, false, fmt.Errorf("%s: %w", m.to, store.ErrIsDirectory)
	}
	// The way to the new place may lead through the directory if somebody has moved that in between: look again.
	for _, st := range dst.way {
		if src.entry.dir() && st.entry.child == src.entry.child {
			return src, dst, false, nil
		}
	}
	return src, dst, true, nil
}

func (s *Store) rename(ctx context.Context, m move) (store.Version, bool, error) {
	src, dst, ok, err := s.ends(ctx, m)
	if err != nil || !ok {
		return 0, false, err
	}
	a := s.attempt(dst.dir)
	if src.dir != dst.dir {
		if ok, err := a.hold(ctx, m, &src, dst); err != nil || !ok {
			return 0, false, a.lost(ctx, err)
		}
	}
	if err := a.use(ctx, m.effects.Uses); err != nil {
		return 0, false, a.lost(ctx, err)
	}
	c, err := a.inDirectory(ctx, m.effects.Drops)
	if err != nil {
		return 0, false, a.lost(ctx, err)
	}
	value := src.entry.value
	if m.value != nil {
		value = m.value
	}
	if err := s.countMove(ctx); err != nil {
		return 0, false, a.lost(ctx, err)
	}
	version := newVersion()
	if src.dir == dst.dir && src.name != dst.name {
		c.remove(src.name, m.was)
	}
	c.put(dst.name, m.target, version, src.entry.child, value)
	c.again = src.dir == dst.dir || m.target != 0
	c.proof = func(ctx context.Context) (bool, error) {
		e, err := s.stored(ctx, dst.dir, dst.name)
		return e.version == version, err
	}
	done, err := a.decide(ctx, c)
	run(ctx, s.cfg.Timeout, []undo{s.countMove})
	if err == nil && !done {
		err = s.clearPart(ctx, dst.dir)
	}
	return version, done, err
}

// hold locks what a rename between two directories takes away. A directory's needs the lock of directory renames,
// too: the ways of both ends are walked again under it, so no two renames can put directories into each other.
func (a *attempt) hold(ctx context.Context, m move, src *target, dst target) (ok bool, err error) {
	if src.entry.dir() {
		ok, err := a.s.lockPart(ctx, renamePart, a.lock, stateAlive)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, a.s.clearPart(ctx, renamePart)
		}
		a.plan.Rename = true
		a.holds(func(ctx context.Context) error { return a.s.unlockPart(ctx, renamePart, a.lock) })
		again, there, ok, err := a.s.ends(ctx, m)
		if err != nil || !ok || again.dir != src.dir || again.name != src.name || there.dir != dst.dir {
			a.giveBack(ctx)
			return false, err
		}
		*src = again
	}
	ok, err = a.s.lockEntry(ctx, src.dir, src.name, m.was, a.lock)
	if err != nil || !ok {
		a.giveBack(ctx)
		if err == nil {
			err = a.s.clearPart(ctx, src.dir)
		}
		return false, err
	}
	a.plan.SourcePart, a.plan.SourceName = []byte(src.dir), []byte(src.name)
	a.holds(func(ctx context.Context) error { return a.s.unlockEntry(ctx, src.dir, src.name, a.lock) })
	return true, nil
}

// countMove is called before and after a rename is decided: one of the two falls behind any look at the number that was
// before the rename, unless the filer dies in between.
func (s *Store) countMove(ctx context.Context) error {
	return s.exec(ctx, "UPDATE "+s.table("moves")+" SET n = n + 1 WHERE id = 0")
}

// Moves implements store.Store.
func (s *Store) Moves(ctx context.Context) (uint64, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	var n int64
	err = s.session.Query("SELECT n FROM "+s.table("moves")+" WHERE id = 0").Consistency(s.quorum).ScanContext(ctx, &n)
	if errors.Is(err, gocql.ErrNotFound) {
		err = nil
	}
	return uint64(n), unavailable(err)
}
