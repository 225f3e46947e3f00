package cassandra

import (
	"context"
	"slices"
	"time"

	"weed/filer/store"
)

// attempt is one try of a change that is decided by one transaction in a directory: what it holds elsewhere, how that
// is finished, and how it is given back if the change is not made.
type attempt struct {
	s     *Store
	lock  lock // the token that the decision will write, if anything refers to it
	plan  plan
	held  bool
	locks []undo // safe to give back at any time: who has lost the lock does nothing
	rest  []undo // to be undone only if the change is not made for sure
	after func(context.Context)
}

type undo func(context.Context) error

// attempt begins one whose decision falls in a directory.
func (s *Store) attempt(dir string) *attempt {
	return &attempt{s: s, lock: lock{part: dir, token: newUUID()}}
}

// holds notes how to give a lock back.
func (a *attempt) holds(u undo) { a.held, a.locks = true, append(a.locks, u) }

// otherwise notes what to do if the change is not made.
func (a *attempt) otherwise(u undo) { a.rest = append(a.rest, u) }

// giveBack undoes all that was begun for a change that is not made. What fails is undone by whoever meets it.
func (a *attempt) giveBack(ctx context.Context) {
	a.unlock(ctx)
	run(ctx, a.s.cfg.Timeout, a.rest)
	a.rest = nil
}

func (a *attempt) unlock(ctx context.Context) {
	run(ctx, a.s.cfg.Timeout, a.locks)
	a.locks = nil
}

// run runs the last first, also if ctx has ended.
func run(ctx context.Context, limit time.Duration, undos []undo) {
	if len(undos) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for _, u := range slices.Backward(undos) {
		_ = u(ctx)
	}
}

// lost gives up an attempt before its decision was sent: none can follow.
func (a *attempt) lost(ctx context.Context, err error) error {
	a.giveBack(ctx)
	return err
}

// decide carries out the transaction that makes the change. False without an error means that nothing has changed,
// and that all that was begun is undone: look again.
func (a *attempt) decide(ctx context.Context, c *cas) (done bool, err error) {
	if a.held {
		if err := c.commit(a.lock, a.plan); err != nil {
			return false, a.lost(ctx, err)
		}
		proof := c.proof
		c.proof = func(ctx context.Context) (bool, error) {
			says, _, err := a.s.token(ctx, a.lock)
			if err != nil || says == committed || proof == nil {
				return says == committed, err
			}
			return proof(ctx)
		}
	}
	done, err = a.s.apply(ctx, c)
	if err != nil && a.held && ctx.Err() == nil {
		// Whatever has become of the transaction: from here on it is done, or can't be. But it may be that it was, and
		// that others have finished it meanwhile: only the locks tell, by being gone.
		says, _, failed := a.s.abort(ctx, a.lock)
		switch {
		case failed != nil:
		case says == committed:
			done, err = true, nil
		default:
			a.unlock(ctx)
		}
	}
	switch {
	case err != nil:
		return false, err
	case !done:
		a.giveBack(ctx)
	case a.held:
		a.s.behind(ctx, func(ctx context.Context) {
			if a.s.finish(ctx, a.lock, a.plan) == nil && a.after != nil {
				a.after(ctx)
			}
		})
	}
	return done, nil
}

// inDirectory begins the transaction of a change in a directory, with the drops that go along with it.
func (a *attempt) inDirectory(ctx context.Context, drops []string) (*cas, error) {
	c := newCAS(a.lock.part).when("state = ?", stateAlive)
	return c, a.drop(ctx, c, drops)
}

// drop adds drops to a transaction, which is found by Drops from then on.
func (a *attempt) drop(ctx context.Context, c *cas, fids []string) error {
	if len(fids) == 0 {
		return nil
	}
	st, err := a.s.statics(ctx, c.part)
	if err != nil {
		return err
	}
	cond, args := is("mark", st.mark)
	c.when(cond, args...)
	if !st.live {
		mark := newUUID()
		if err := a.s.exec(ctx, "INSERT INTO "+a.s.table("pending")+" (bucket, part, mark) VALUES (?, ?, ?)",
			bucket(c.part), []byte(c.part), mark); err != nil {
			return err
		}
		a.otherwise(func(ctx context.Context) error { return a.s.notPending(ctx, c.part, mark) })
		c.set("mark = ?", mark).set("live = true")
	}
	c.dropRows(fids)
	return nil
}

// put adds the statement that writes a record of version was, or none, as the next one.
func (c *cas) put(name string, was, next store.Version, child string, value []byte) {
	cond, args := is("version", int64(was))
	c.row("UPDATE PARTS SET version = ?, child = ?, value = ? WHERE IF "+cond+" AND ltoken = null",
		[]any{int64(next), blob(child), value}, kindEntry, name, args...)
	c.again = c.again || was != 0
}

// remove adds the statement that deletes a record of version was.
func (c *cas) remove(name string, was store.Version) {
	c.row("DELETE FROM PARTS WHERE IF version = ? AND ltoken = null", nil, kindEntry, name, int64(was))
	c.again = true
}

// blob is nil, which is null, for "".
func blob(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
