package cassandra

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// claim is a claim as it is stored.
type claim struct {
	store.Claim
	state int8
	first int // of the release that is under way
}

// fid returns the i-th fid.
func (c claim) fid(i int) string {
	if i == 0 {
		return c.FID
	}
	return c.FID + "_" + strconv.Itoa(i)
}

// readClaim returns a claim; its state is 0 if it is gone.
func (s *Store) readClaim(ctx context.Context, id string) (c claim, err error) {
	var until int64
	err = s.session.Query(s.parts("SELECT DISTINCT state, owner, fid, count, until, first FROM PARTS WHERE part = ?"), []byte(claimPart(id))).
		ScanContext(ctx, &c.state, &c.Owner, &c.FID, &c.Count, &until, &c.first)
	if errors.Is(err, gocql.ErrNotFound) || err == nil && c.state != stateAlive && c.state != stateReleasing {
		return claim{}, nil
	}
	if c.ID = id; until != 0 {
		c.Until = time.Unix(0, until)
	}
	return c, unavailable(err)
}

// AddClaim implements store.Store.
func (s *Store) AddClaim(ctx context.Context, c store.Claim) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if c.Count < 1 || c.Count > store.MaxClaimFIDs {
		return fmt.Errorf("claim of %d fids: give 1 to %d", c.Count, store.MaxClaimFIDs)
	}
	if c.ID == "" {
		return errors.New("a claim needs an ID")
	}
	var until int64
	if !c.Until.IsZero() {
		until = c.Until.UnixNano()
	}
	if err := s.exec(ctx, "INSERT INTO "+s.table("claims")+" (bucket, id) VALUES (?, ?)", bucket(c.ID), c.ID); err != nil {
		return err
	}
	add := newCAS(claimPart(c.ID)).when("state = null").set("state = ?", stateAlive).set("owner = ?", c.Owner).
		set("fid = ?", c.FID).set("count = ?", c.Count).set("until = ?", until)
	done, err := s.apply(ctx, add)
	if err == nil && !done {
		return errors.New("a claim of this ID is there already")
	}
	return err
}

// Claims implements store.Store.
func (s *Store) Claims(ctx context.Context) ([]store.Claim, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.allClaims(ctx)
}

func (s *Store) allClaims(ctx context.Context) (list []store.Claim, err error) {
	for b := range buckets {
		iter := s.session.Query("SELECT id FROM "+s.table("claims")+" WHERE bucket = ?", b).IterContext(ctx)
		var ids []string
		for id := ""; iter.Scan(&id); {
			ids = append(ids, id)
		}
		if err := iter.Close(); err != nil {
			return nil, unavailable(err)
		}
		for _, id := range ids {
			c, err := s.readClaim(ctx, id)
			if err != nil {
				return nil, err
			}
			if c.state != 0 {
				list = append(list, c.Claim)
			} else if err := s.noClaim(ctx, id); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// noClaim takes an entry of a claim that is not there out of the list, when that was so for a while: by then nobody
// can add it any more.
func (s *Store) noClaim(ctx context.Context, id string) error {
	part := claimPart(id)
	if !s.seen.longer(part, fenceAfter) {
		return nil
	}
	st, err := s.statics(ctx, part)
	if err != nil || st.state == stateAlive || st.state == stateReleasing {
		return err
	}
	if st.state == 0 {
		if done, err := s.fence(ctx, part, st); err != nil || !done {
			return err
		}
	}
	return s.unlistClaim(ctx, id)
}

func (s *Store) unlistClaim(ctx context.Context, id string) error {
	s.seen.forget(claimPart(id))
	return s.exec(ctx, "DELETE FROM "+s.table("claims")+" WHERE bucket = ? AND id = ?", bucket(id), id)
}

// RenewClaims implements store.Store.
func (s *Store) RenewClaims(ctx context.Context, owner string, until time.Time) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	list, err := s.allClaims(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Owner == owner {
			if _, err := s.single(ctx, "UPDATE PARTS SET until = ? WHERE part = ? IF state = ?",
				until.UnixNano(), []byte(claimPart(c.ID)), stateAlive); err != nil {
				return err
			}
		}
	}
	return nil
}

// index is the state of one fid of a claim.
type index struct {
	lock lock
	used bool
}

// indexes returns those of a claim's fids that are locked or used.
func (s *Store) indexes(ctx context.Context, id string) (map[int]index, error) {
	iter := s.session.Query(s.parts("SELECT name, lpart, ltoken, done FROM PARTS WHERE part = ? AND kind = ?"), []byte(claimPart(id)), kindIndex).
		Consistency(s.serial).IterContext(ctx)
	all := make(map[int]index)
	var name, lockPart []byte
	var token gocql.UUID
	var done int8
	for iter.Scan(&name, &lockPart, &token, &done) {
		if len(name) == 4 {
			all[int(binary.BigEndian.Uint32(name))] = index{lock{string(lockPart), token}, done == committed}
		}
		done = 0
	}
	return all, unavailable(iter.Close())
}

// clearIndexes settles the change that has locked some fids.
func (s *Store) clearIndexes(ctx context.Context, id string, list []int, l lock, patience time.Duration) error {
	says, err := s.settle(ctx, l, patience, func() (lock, error) {
		all, err := s.indexes(ctx, id)
		if at := all[list[0]]; !at.used {
			return at.lock, err
		}
		return lock{}, err
	})
	if err == nil && says == aborted {
		err = s.unlockIndexes(ctx, id, list, l)
	}
	return err
}

// settled returns the state of a claim's fids when those that are wanted are not locked any more: used, or not.
func (s *Store) settled(ctx context.Context, id string, wanted func(int) bool, patience time.Duration) (all map[int]index, err error) {
	err = tries(ctx, func() (bool, error) {
		if all, err = s.indexes(ctx, id); err != nil {
			return false, err
		}
		locked := make(map[lock][]int)
		for i, at := range all {
			if wanted(i) && !at.used && at.lock.held() {
				locked[at.lock] = append(locked[at.lock], i)
			}
		}
		for l, list := range locked {
			if err := s.clearIndexes(ctx, id, list, l, patience); err != nil {
				return false, err
			}
		}
		return len(locked) == 0, nil
	})
	return all, err
}

// onIndexes runs a statement on rows of a claim, all or none.
func (s *Store) onIndexes(ctx context.Context, id, text string, before []any, list []int, after ...any) error {
	batch := s.session.Batch(gocql.UnloggedBatch)
	for _, i := range list {
		args := append(append([]any{}, before...), []byte(claimPart(id)), kindIndex, []byte(indexName(i)))
		batch.Query(s.parts(text), append(args, after...)...)
	}
	for try := 0; ; try++ {
		_, iter, err := batch.MapExecCASContext(ctx, make(map[string]any))
		if iter != nil {
			err = errors.Join(err, iter.Close())
		}
		if err == nil || ctx.Err() != nil || try >= maxSends {
			return unavailable(err)
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// markUsed marks fids that a committed change has locked as used. It does nothing if the claim is gone.
func (s *Store) markUsed(ctx context.Context, id string, list []int, l lock) error {
	return s.onIndexes(ctx, id, "UPDATE PARTS SET done = ? WHERE part = ? AND kind = ? AND name = ? IF ltoken = ?", []any{committed}, list, l.token)
}

// unlockIndexes gives fids back that a change has locked that is not made.
func (s *Store) unlockIndexes(ctx context.Context, id string, list []int, l lock) error {
	return s.onIndexes(ctx, id, "UPDATE PARTS SET lpart = null, ltoken = null WHERE part = ? AND kind = ? AND name = ? IF ltoken = ? AND done = null",
		nil, list, l.token)
}

// use locks fids for a change, which uses them up if it is made.
func (a *attempt) use(ctx context.Context, uses []store.Use) error {
	for _, u := range uses {
		if slices.Contains(a.plan.Uses[u.Claim], u.Index) {
			return fmt.Errorf("claim %s: %w", u.Claim, store.ErrClaimLost)
		}
		if a.plan.Uses == nil {
			a.plan.Uses = make(map[string][]int)
		}
		a.plan.Uses[u.Claim] = append(a.plan.Uses[u.Claim], u.Index)
	}
	for id, list := range a.plan.Uses {
		if err := a.useOf(ctx, id, list); err != nil {
			return err
		}
	}
	return nil
}

// useOf locks fids of one claim.
func (a *attempt) useOf(ctx context.Context, id string, list []int) error {
	gone := fmt.Errorf("claim %s: %w", id, store.ErrClaimLost)
	return tries(ctx, func() (bool, error) {
		c, err := a.s.readClaim(ctx, id)
		if err != nil {
			return false, err
		}
		if c.state != stateAlive || slices.Min(list) < 0 || slices.Max(list) >= c.Count {
			return false, gone
		}
		take := newCAS(claimPart(id)).when("state = ?", stateAlive)
		for _, i := range list {
			take.row("UPDATE PARTS SET lpart = ?, ltoken = ? WHERE IF ltoken = null", []any{[]byte(a.lock.part), a.lock.token}, kindIndex, indexName(i))
		}
		take.proof = func(ctx context.Context) (bool, error) {
			all, err := a.s.indexes(ctx, id)
			return all[list[0]].lock == a.lock, err
		}
		done, err := a.s.apply(ctx, take)
		if err != nil {
			return false, err
		}
		if done {
			a.holds(func(ctx context.Context) error { return a.s.unlockIndexes(ctx, id, list, a.lock) })
			return true, nil
		}
		all, err := a.s.settled(ctx, id, func(i int) bool { return slices.Contains(list, i) }, a.s.cfg.Patience)
		if err != nil {
			return false, err
		}
		for _, i := range list {
			if all[i].used {
				return false, gone
			}
		}
		return false, nil
	})
}
