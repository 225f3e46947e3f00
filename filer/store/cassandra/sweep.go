package cassandra

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// sweepRows bounds how many records one transaction sweeps.
const sweepRows = 64

// toTrash lets Sweep find a directory that is removed when the lock's token says committed, or that is removed
// already if the lock is none.
func (s *Store) toTrash(ctx context.Context, part string, l lock) error {
	return s.exec(ctx, "INSERT INTO "+s.table("trash")+" (bucket, part, lpart, ltoken) VALUES (?, ?, ?, ?)",
		bucket(part), []byte(part), []byte(l.part), l.token)
}

func (s *Store) notTrash(ctx context.Context, part string, l lock) error {
	s.seen.forget(part + l.name())
	return s.exec(ctx, "DELETE FROM "+s.table("trash")+" WHERE bucket = ? AND part = ? AND ltoken = ?", bucket(part), []byte(part), l.token)
}

// Sweep implements store.Store.
func (s *Store) Sweep(ctx context.Context, limit int) (swept store.Swept, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return swept, err
	}
	defer leave()
	var unread error
	for again := true; again; { // sweeping a directory trashes those in it, into any bucket
		again = false
		for b := range buckets {
			found, err := s.sweepBucket(ctx, b, max(limit, 1), &swept, &unread)
			if err != nil {
				return swept, err
			}
			if swept.More {
				return swept, unread
			}
			again = again || found
		}
	}
	return swept, unread
}

// sweepBucket sweeps until the limit is reached, which sets swept.More if there is more. unread gets what could not be
// read.
func (s *Store) sweepBucket(ctx context.Context, b, limit int, swept *store.Swept, unread *error) (found bool, err error) {
	iter := s.session.Query("SELECT part, lpart, ltoken FROM "+s.table("trash")+" WHERE bucket = ?", b).PageSize(100).IterContext(ctx)
	defer func() {
		if closed := iter.Close(); err == nil {
			err = unavailable(closed)
		}
	}()
	var part, lockPart []byte
	var token gocql.UUID
	for iter.Scan(&part, &lockPart, &token) {
		removed, err := s.removed(ctx, string(part), lock{string(lockPart), token})
		if err != nil {
			return found, err
		}
		if !removed {
			continue
		}
		found = true
		if swept.Records >= limit {
			swept.More = true
			return found, nil
		}
		n, empty, err := s.sweepDir(ctx, string(part), limit-swept.Records, unread)
		swept.Records += n
		if err != nil {
			return found, err
		}
		if !empty {
			swept.More = true
			return found, nil
		}
	}
	return found, nil
}

// removed reports whether a directory in the trash is not in the tree any more, and makes sure that it is dead then.
// What never will be removed by this lock is taken out of the trash.
func (s *Store) removed(ctx context.Context, part string, l lock) (bool, error) {
	st, err := s.statics(ctx, part)
	switch {
	case err != nil:
		return false, err
	case st.state == stateDead:
		return true, nil
	case st.state == 0:
		return false, s.notTrash(ctx, part, l)
	case !l.held():
		return true, s.kill(ctx, part)
	}
	says, p, err := s.token(ctx, l)
	if err == nil && says == undecided && s.seen.longer(part+l.name(), s.cfg.Patience) {
		says, p, err = s.abort(ctx, l)
	}
	switch {
	case err != nil || says == undecided:
		return false, err
	case says == committed:
		return true, s.finish(ctx, l, p)
	}
	// It may have been committed, and finished, before it was called off.
	if st, err = s.statics(ctx, part); err != nil || st.state == stateDead {
		return err == nil, err
	}
	return false, s.notTrash(ctx, part, l)
}

// sweepDir turns up to limit records of a dead directory into drops, and the directories in it into trash. The
// directory itself goes when it is empty, as far as it has no drops.
func (s *Store) sweepDir(ctx context.Context, part string, limit int, unread *error) (n int, empty bool, err error) {
	for try := 0; n < limit; try++ {
		rows, err := s.rows(ctx, s.serial, part, "", true, min(limit-n, sweepRows))
		if err != nil {
			return n, false, err
		}
		if len(rows) == 0 {
			return n, true, s.swept(ctx, part)
		}
		done, bad, err := s.sweepRecords(ctx, part, rows)
		if err != nil {
			return n, false, err
		}
		if done {
			*unread = errors.Join(*unread, bad)
			n, try = n+len(rows), 0
		} else if err := pause(ctx, try); err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// sweepRecords sweeps what was read of a dead directory; unread names records whose chunks are unknown, and stay.
// False means: read again.
func (s *Store) sweepRecords(ctx context.Context, part string, rows []entry) (done bool, unread, err error) {
	a := s.attempt(part)
	c := newCAS(part).when("state = ?", stateDead)
	var drops []string
	locked := false
	for _, e := range rows {
		if e.lock.held() {
			locked = true
			if err := s.clearEntry(ctx, part, e.name, 0); err != nil {
				return false, nil, err
			}
			continue
		}
		if e.dir() {
			if err := s.toTrash(ctx, e.child, lock{}); err != nil {
				return false, nil, err
			}
		} else {
			fids, err := s.opts.FIDs(e.value)
			if err != nil {
				unread = errors.Join(unread, fmt.Errorf("removed record %q: its chunks stay where they are: %w", e.name, err))
			}
			drops = append(drops, fids...)
		}
		c.remove(e.name, e.version)
	}
	if locked {
		return false, nil, nil
	}
	if err := a.drop(ctx, c, drops); err != nil {
		return false, nil, err
	}
	done, err = a.decide(ctx, c)
	return done, unread, err
}

// swept ends a dead directory that has no records: the tokens that are left in it are finished, as nobody could read
// them afterwards.
func (s *Store) swept(ctx context.Context, part string) error {
	iter := s.session.Query(s.parts("SELECT name, done FROM PARTS WHERE part = ? AND kind = ?"), []byte(part), kindToken).
		Consistency(s.serial).IterContext(ctx)
	var tokens []lock
	var name []byte
	var says int8
	for iter.Scan(&name, &says) {
		if l := (lock{part: part}); says == committed && copy(l.token[:], name) == len(l.token) {
			tokens = append(tokens, l)
		}
	}
	if err := iter.Close(); err != nil {
		return unavailable(err)
	}
	for _, l := range tokens {
		says, p, err := s.token(ctx, l)
		if err == nil && says == committed {
			err = s.finish(ctx, l, p)
		}
		if err != nil {
			return err
		}
	}
	st, err := s.statics(ctx, part)
	if err != nil {
		return err
	}
	if st.state == stateDead && !st.live { // or Drops ends it
		if _, err := s.deletePart(ctx, part, st); err != nil {
			return err
		}
	}
	return s.exec(ctx, "DELETE FROM "+s.table("trash")+" WHERE bucket = ? AND part = ?", bucket(part), []byte(part))
}
