package cassandra

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// cas is a lightweight transaction in one partition of parts: all its statements, if all conditions hold.
type cas struct {
	part  string
	op    gocql.UUID // its name, left in the partition's op: evidence, until the next one
	conds []string
	sets  []string
	args  struct{ conds, sets []any }
	rows  []statement
	// again says that its conditions never hold again once it was done, so that it may be sent twice.
	again bool
	// proof reports whether it was done, as far as its traces are still to be seen; nil relies on op.
	proof func(context.Context) (bool, error)
}

type statement struct {
	text string // with PARTS for the table's name
	args []any
}

func newUUID() gocql.UUID {
	id, err := gocql.RandomUUID()
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return id
}

func newCAS(part string) *cas {
	c := &cas{part: part, op: newUUID()}
	return c.set("op = ?", c.op)
}

// when adds a condition on the partition's static columns.
func (c *cas) when(cond string, args ...any) *cas {
	c.conds, c.args.conds = append(c.conds, cond), append(c.args.conds, args...)
	return c
}

// set assigns to static columns.
func (c *cas) set(assign string, args ...any) *cas {
	c.sets, c.args.sets = append(c.sets, assign), append(c.args.sets, args...)
	return c
}

// row adds a statement on a row: PARTS stands for the table, WHERE for the row's key.
func (c *cas) row(text string, before []any, kind int8, name string, after ...any) {
	text = strings.Replace(text, "WHERE", "WHERE part = ? AND kind = ? AND name = ?", 1)
	args := append(append(before, []byte(c.part), kind, []byte(name)), after...)
	c.rows = append(c.rows, statement{text, args})
}

// apply carries out a transaction. False means that a condition does not hold, and that nothing has changed.
func (s *Store) apply(ctx context.Context, c *cas) (applied bool, err error) {
	unlock, err := s.lockStripe(ctx, c.part)
	if err != nil {
		return false, err
	}
	defer unlock()
	unsure := false
	for try := 0; ; try++ {
		applied, err := s.send(ctx, c)
		if err == nil && (applied || !unsure) {
			return applied, nil
		}
		if err != nil {
			unsure = true
		}
		done, seen := s.proven(ctx, c)
		switch {
		case seen != nil:
			return false, errors.Join(unavailable(err), seen)
		case done:
			return true, nil
		case err == nil:
			return false, fmt.Errorf("%w: a change may have been made and changed again", store.ErrUnavailable)
		case !c.again || ctx.Err() != nil || try >= maxSends:
			return false, fmt.Errorf("%w: the outcome of a change is unknown: %w", store.ErrUnavailable, err)
		}
		if err := pause(ctx, try); err != nil {
			return false, err
		}
	}
}

// send sends the transaction once.
func (s *Store) send(ctx context.Context, c *cas) (applied bool, err error) {
	batch := s.session.Batch(gocql.UnloggedBatch)
	head := "UPDATE PARTS SET " + strings.Join(c.sets, ", ") + " WHERE part = ? IF " + strings.Join(c.conds, " AND ")
	args := append(append(append([]any{}, c.args.sets...), []byte(c.part)), c.args.conds...)
	batch.Query(s.parts(head), args...)
	for _, row := range c.rows {
		batch.Query(s.parts(row.text), row.args...)
	}
	applied, iter, err := batch.MapExecCASContext(ctx, make(map[string]any))
	if iter != nil {
		err = errors.Join(err, iter.Close())
	}
	return applied, err
}

// proven reports whether the transaction is seen to have been done. The serial read completes, or rules out for ever,
// what the servers have begun.
func (s *Store) proven(ctx context.Context, c *cas) (bool, error) {
	var op gocql.UUID
	err := s.session.Query(s.parts("SELECT DISTINCT op FROM PARTS WHERE part = ?"), []byte(c.part)).
		Consistency(s.serial).ScanContext(ctx, &op)
	switch {
	case err != nil && !errors.Is(err, gocql.ErrNotFound):
		return false, unavailable(err)
	case err == nil && op == c.op:
		return true, nil
	case c.proof == nil:
		return false, nil
	}
	return c.proof(ctx)
}

// parts puts the name of the table into a statement.
func (s *Store) parts(text string) string {
	return strings.Replace(text, "PARTS", s.table("parts"), 1)
}

// exec runs a statement that is no LWT.
func (s *Store) exec(ctx context.Context, text string, args ...any) error {
	if err := s.session.Query(text, args...).ExecContext(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// unavailable says that a request has failed, whatever the reason: its outcome is unknown.
func unavailable(err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// maxSends bounds how often a transaction is sent.
const maxSends = 20

var stripeSeed = maphash.MakeSeed()

// lockStripe keeps other transactions of this process out of a partition. Who holds one waits for no other.
func (s *Store) lockStripe(ctx context.Context, part string) (unlock func(), err error) {
	stripe := s.stripes[maphash.String(stripeSeed, part)%stripes]
	select {
	case stripe <- struct{}{}:
		return func() { <-stripe }, nil
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

// pause waits before another try, longer the more there were, at random.
func pause(ctx context.Context, try int) error {
	limit := min(10*time.Millisecond<<min(try, 5), 200*time.Millisecond)
	timer := time.NewTimer(limit/4 + rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// maxTries bounds how often a call begins anew because others were faster, before it is store.ErrUnavailable.
const maxTries = 200

// tries calls try until it is done or fails.
func tries(ctx context.Context, try func() (done bool, err error)) error {
	for n := range maxTries {
		if done, err := try(); done || err != nil {
			return err
		}
		if err := pause(ctx, n); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: others are always faster", store.ErrUnavailable)
}
