package cassandra

import (
	"context"

	"weed/filer/store"
)

// Abandon implements store.Store.
func (s *Store) Abandon(ctx context.Context, uses []store.Use) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	byClaim := make(map[string]map[int]bool)
	for _, u := range uses {
		if byClaim[u.Claim] == nil {
			byClaim[u.Claim] = make(map[int]bool)
		}
		byClaim[u.Claim][u.Index] = true
	}
	for id, list := range byClaim {
		if err := tries(ctx, func() (bool, error) { return s.abandon(ctx, id, list) }); err != nil {
			return err
		}
	}
	return nil
}

// abandon tries to turn fids of one claim into drops.
func (s *Store) abandon(ctx context.Context, id string, list map[int]bool) (done bool, err error) {
	c, err := s.readClaim(ctx, id)
	if err != nil || c.state != stateAlive {
		return err == nil, err // what is being released becomes drops, too
	}
	unused, err := s.unused(ctx, c, func(i int) bool { return list[i] })
	if err != nil || len(unused) == 0 {
		return err == nil, err
	}
	a := s.attempt(claimPart(id))
	take := newCAS(claimPart(id)).when("state = ?", stateAlive)
	take.again = true
	var drops []string
	for _, i := range unused {
		take.row("UPDATE PARTS SET ltoken = ?, done = ? WHERE IF ltoken = null", []any{a.lock.token, committed}, kindIndex, indexName(i))
		drops = append(drops, c.fid(i))
	}
	if err := a.drop(ctx, take, drops); err != nil {
		return false, err
	}
	return a.decide(ctx, take)
}

// unused returns the fids of a claim that are wanted and not used; changes that have locked some are settled.
func (s *Store) unused(ctx context.Context, c claim, wanted func(int) bool) (list []int, err error) {
	patience := s.cfg.Patience
	if c.state == stateReleasing {
		patience = 0 // nobody can lock more, and who has is too late
	}
	all, err := s.settled(ctx, c.ID, wanted, patience)
	if err != nil {
		return nil, err
	}
	for i := range c.Count {
		if wanted(i) && !all[i].used {
			list = append(list, i)
		}
	}
	return list, nil
}

// ReleaseClaim implements store.Store.
func (s *Store) ReleaseClaim(ctx context.Context, id string, first int) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return tries(ctx, func() (bool, error) { return s.release(ctx, id, max(first, 0)) })
}

// release tries to release a claim. It first ends its use, for ever, and then does what is left, which another call
// does as well if this one does not come to its end.
func (s *Store) release(ctx context.Context, id string, first int) (done bool, err error) {
	part := claimPart(id)
	c, err := s.readClaim(ctx, id)
	if err != nil {
		return false, err
	}
	if c.state == 0 {
		return true, s.unlistClaim(ctx, id)
	}
	if c.state == stateAlive || c.first < first {
		_, err := s.single(ctx, "UPDATE PARTS SET state = ?, first = ? WHERE part = ? IF state = ?", stateReleasing, max(first, c.first), []byte(part), c.state)
		return false, err // read again
	}
	unused, err := s.unused(ctx, c, func(i int) bool { return i < c.first })
	if err != nil {
		return false, err
	}
	var drops []string
	for _, i := range unused {
		drops = append(drops, c.fid(i))
	}
	a := s.attempt(part)
	end := newCAS(part).when("state = ?", stateReleasing).when("first = ?", c.first)
	end.again = true
	end.set("state = ?", stateDrops).set("owner = null").set("fid = null").set("count = null").set("until = null").set("first = null")
	end.rows = append(end.rows, statement{"DELETE FROM PARTS WHERE part = ? AND kind = ?", []any{[]byte(part), kindIndex}})
	if err := a.drop(ctx, end, drops); err != nil {
		return false, err
	}
	if done, err := a.decide(ctx, end); err != nil || !done {
		return false, err
	}
	if len(drops) == 0 {
		if st, err := s.statics(ctx, part); err == nil && st.state == stateDrops && !st.live {
			_, _ = s.deletePart(ctx, part, st) // it costs some bytes if it stays
		}
	}
	return true, s.unlistClaim(ctx, id)
}
