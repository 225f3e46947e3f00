package cassandra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// abortedDays is how long a token says that a change was called off. The change's owner, should it still be under
// way, would have to stand still for as long between two requests to decide it after that.
const abortedDays = 10

// plan is what a token has to be finished with once it says committed: everything its change holds elsewhere.
type plan struct {
	SourcePart []byte           `json:"sourcePart,omitempty"` // of the record that a rename has taken away
	SourceName []byte           `json:"sourceName,omitempty"`
	Uses       map[string][]int `json:"uses,omitempty"`   // indexes by claim
	Dead       []byte           `json:"dead,omitempty"`   // a directory that was removed
	Rename     bool             `json:"rename,omitempty"` // holds the lock of directory renames
}

// token reads what a token says, undecided if it is not there.
func (s *Store) token(ctx context.Context, l lock) (says int8, p plan, err error) {
	var text []byte
	err = s.session.Query(s.parts("SELECT done, value FROM PARTS WHERE part = ? AND kind = ? AND name = ?"),
		[]byte(l.part), kindToken, []byte(l.name())).ScanContext(ctx, &says, &text)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return undecided, plan{}, nil
	case err != nil:
		return undecided, plan{}, unavailable(err)
	case says == committed:
		if err := json.Unmarshal(text, &p); err != nil {
			return undecided, plan{}, fmt.Errorf("token %x of %x: %w", l.token, l.part, err)
		}
	}
	return says, p, nil
}

// commit adds the token to the transaction that decides a change: it can't be done once the token says aborted.
func (c *cas) commit(l lock, p plan) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode a plan: %w", err)
	}
	c.row("UPDATE PARTS SET done = ?, value = ? WHERE IF done = null", []any{committed, text}, kindToken, l.name())
	return nil
}

// single runs an LWT of one row that may be sent again.
func (s *Store) single(ctx context.Context, text string, args ...any) (applied bool, err error) {
	for try := 0; ; try++ {
		q := s.session.Query(s.parts(text), args...)
		if applied, err = q.MapScanCASContext(ctx, make(map[string]any)); err == nil {
			return applied, nil
		}
		if ctx.Err() != nil || try >= maxSends {
			return false, unavailable(err)
		}
		if err := pause(ctx, try); err != nil {
			return false, err
		}
	}
}

// abort decides that a change never happens, unless it has: then, or if it was aborted before, abort tells. After it
// has told aborted of a change that was committed and finished, what the change held is not locked any more.
func (s *Store) abort(ctx context.Context, l lock) (says int8, p plan, err error) {
	for {
		applied, err := s.single(ctx, "UPDATE PARTS USING TTL ? SET done = ? WHERE part = ? AND kind = ? AND name = ? IF done = null",
			abortedDays*24*3600, aborted, []byte(l.part), kindToken, []byte(l.name()))
		if err != nil || applied {
			return aborted, plan{}, err
		}
		if says, p, err = s.token(ctx, l); err != nil || says != undecided {
			return says, p, err
		}
	}
}

// settle waits until a change that is in the way is over, or calls it off when patience ends. still reports whether
// its lock is still there. What it has held elsewhere is finished if it was committed. The lock itself is left to the
// caller if it was not: says is aborted then, and undecided if the lock has gone away.
func (s *Store) settle(ctx context.Context, l lock, patience time.Duration, still func() (lock, error)) (says int8, err error) {
	begun := time.Now()
	for try := 0; ; try++ {
		says, p, err := s.token(ctx, l)
		if err == nil && says == undecided && time.Since(begun) >= patience {
			says, p, err = s.abort(ctx, l)
		}
		switch {
		case err != nil:
			return undecided, err
		case says == committed:
			return committed, s.finish(ctx, l, p)
		case says == aborted:
			return aborted, nil
		}
		if err := pause(ctx, min(try, 2)); err != nil {
			return undecided, err
		}
		if now, err := still(); err != nil || now != l {
			return undecided, err
		}
	}
}

// finish carries out a committed token's plan, and forgets the token. It may be done by several at once.
func (s *Store) finish(ctx context.Context, l lock, p plan) error {
	if p.SourcePart != nil {
		_, err := s.single(ctx, "DELETE FROM PARTS WHERE part = ? AND kind = ? AND name = ? IF ltoken = ?",
			p.SourcePart, kindEntry, p.SourceName, l.token)
		if err != nil {
			return err
		}
	}
	for claim, indexes := range p.Uses {
		if err := s.markUsed(ctx, claim, indexes, l); err != nil {
			return err
		}
	}
	if p.Dead != nil {
		if err := s.kill(ctx, string(p.Dead)); err != nil {
			return err
		}
	}
	if p.Rename {
		if err := s.unlockPart(ctx, renamePart, l); err != nil {
			return err
		}
	}
	_, err := s.single(ctx, "DELETE FROM PARTS WHERE part = ? AND kind = ? AND name = ? IF done = ?",
		[]byte(l.part), kindToken, []byte(l.name()), committed)
	return err
}

// kill marks a directory that was removed as dead: nothing can be made in it from then on.
func (s *Store) kill(ctx context.Context, part string) error {
	_, err := s.single(ctx, "UPDATE PARTS SET state = ? WHERE part = ? IF state IN (?, ?)", stateDead, []byte(part), stateAlive, stateClosing)
	return err
}

// unlockPart gives a partition's lock back, if l still has it and it is not dead: it is alive then.
func (s *Store) unlockPart(ctx context.Context, part string, l lock) error {
	_, err := s.single(ctx, "UPDATE PARTS SET state = ?, lockpart = null, locktoken = null WHERE part = ? IF locktoken = ? AND state IN (?, ?)",
		stateAlive, []byte(part), l.token, stateAlive, stateClosing)
	return err
}

// lockPart takes a partition's lock for a change, and its state from alive to another. False means that somebody
// else has it, or that it is not alive.
func (s *Store) lockPart(ctx context.Context, part string, l lock, state int8) (bool, error) {
	c := newCAS(part).when("state = ?", stateAlive).when("locktoken = null").
		set("state = ?", state).set("lockpart = ?", []byte(l.part)).set("locktoken = ?", l.token)
	c.proof = func(ctx context.Context) (bool, error) {
		st, err := s.statics(ctx, part)
		return st.lock == l, err
	}
	return s.apply(ctx, c)
}

// clearPart settles what holds a partition's lock, if something does.
func (s *Store) clearPart(ctx context.Context, part string) error {
	st, err := s.statics(ctx, part)
	if err != nil || !st.lock.held() || st.state == stateDead {
		return err
	}
	says, err := s.settle(ctx, st.lock, s.cfg.Patience, func() (lock, error) {
		now, err := s.statics(ctx, part)
		return now.lock, err
	})
	if err == nil && says == aborted {
		err = s.unlockPart(ctx, part, st.lock)
	}
	return err
}

// clearEntry settles the rename that holds a record, if one does.
func (s *Store) clearEntry(ctx context.Context, dir, name string, patience time.Duration) error {
	e, err := s.stored(ctx, dir, name)
	if err != nil || !e.lock.held() {
		return err
	}
	says, err := s.settle(ctx, e.lock, patience, func() (lock, error) {
		now, err := s.stored(ctx, dir, name)
		return now.lock, err
	})
	if err == nil && says == aborted {
		err = s.unlockEntry(ctx, dir, name, e.lock)
	}
	return err
}

func (s *Store) unlockEntry(ctx context.Context, dir, name string, l lock) error {
	_, err := s.single(ctx, "UPDATE PARTS SET lpart = null, ltoken = null WHERE part = ? AND kind = ? AND name = ? IF ltoken = ?",
		[]byte(dir), kindEntry, []byte(name), l.token)
	return err
}

// lockEntry takes a record of a version for a rename.
func (s *Store) lockEntry(ctx context.Context, dir, name string, was store.Version, l lock) (bool, error) {
	c := newCAS(dir).when("state = ?", stateAlive)
	c.row("UPDATE PARTS SET lpart = ?, ltoken = ? WHERE IF version = ? AND ltoken = null",
		[]any{[]byte(l.part), l.token}, kindEntry, name, int64(was))
	c.proof = func(ctx context.Context) (bool, error) {
		e, err := s.stored(ctx, dir, name)
		return e.lock == l, err
	}
	return s.apply(ctx, c)
}
