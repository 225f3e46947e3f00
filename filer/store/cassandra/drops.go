package cassandra

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

const (
	fidsPerRow  = 500    // of drops
	fidsPerPart = 20_000 // of AddDrops
	// clearAfter is how long a partition is without drops before its row of pending is taken away, and fenceAfter how
	// long a row of pending leads nowhere before what may be about to refer to it is kept from doing so. Both only
	// keep the work off that would have to be done again.
	clearAfter, fenceAfter = 10 * time.Second, time.Minute
)

// dropRows adds the statements that write drops.
func (c *cas) dropRows(fids []string) {
	for chunk := range slices.Chunk(fids, fidsPerRow) {
		row := make(map[int]string, len(chunk))
		for i, fid := range chunk {
			row[i] = fid
		}
		id := newUUID()
		c.row("UPDATE PARTS SET fids = fids + ? WHERE", []any{row}, kindDrops, string(id[:]))
	}
}

// place is where a drop is; its text is the drop's ID, and in the same order.
type place struct {
	bucket     int
	part, name string
	index      int
}

func (p place) id() string {
	return fmt.Sprintf("%02x%x-%x-%05d", p.bucket, p.part, p.name, p.index)
}

func parsePlace(id string) (p place, err error) {
	fields := strings.Split(id, "-")
	if len(fields) != 3 {
		return p, fmt.Errorf("%q is the ID of no drop", id)
	}
	head, err1 := hex.DecodeString(fields[0])
	name, err2 := hex.DecodeString(fields[1])
	index, err3 := strconv.Atoi(fields[2])
	if err1 != nil || err2 != nil || err3 != nil || len(head) < 2 || index < 0 {
		return p, fmt.Errorf("%q is the ID of no drop", id)
	}
	return place{int(head[0]), string(head[1:]), string(name), index}, nil
}

// Drops implements store.Store.
func (s *Store) Drops(ctx context.Context, after string, limit int) (list []store.Drop, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	from := place{index: -1}
	if after != "" {
		if from, err = parsePlace(after); err != nil {
			return nil, err
		}
	}
	for b := from.bucket; b < buckets && len(list) < limit; b++ {
		iter := s.session.Query("SELECT part, mark FROM "+s.table("pending")+" WHERE bucket = ? AND part >= ?",
			b, []byte(from.part)).PageSize(100).IterContext(ctx)
		var part []byte
		var mark gocql.UUID
		last := ""
		for len(list) < limit && iter.Scan(&part, &mark) {
			if string(part) != from.part {
				from = place{part: string(part), index: -1}
			}
			if last != string(part) {
				from.bucket, last = b, string(part)
				before := len(list)
				if list, err = s.dropsOf(ctx, from, list, limit); err != nil {
					_ = iter.Close() // err comes first
					return nil, err
				}
				if len(list) > before || from.name != "" {
					continue
				}
			}
			if err := s.notNeeded(ctx, string(part), mark); err != nil {
				_ = iter.Close() // err comes first
				return nil, err
			}
		}
		if err := iter.Close(); err != nil {
			return nil, unavailable(err)
		}
		from = place{index: -1}
	}
	return list, nil
}

// dropsOf appends the drops of a partition that are behind a place.
func (s *Store) dropsOf(ctx context.Context, from place, list []store.Drop, limit int) ([]store.Drop, error) {
	iter := s.session.Query(s.parts("SELECT name, fids FROM PARTS WHERE part = ? AND kind = ? AND name >= ?"),
		[]byte(from.part), kindDrops, []byte(from.name)).PageSize(8).IterContext(ctx)
	var name []byte
	var fids map[int]string
	for len(list) < limit && iter.Scan(&name, &fids) {
		indexes := make([]int, 0, len(fids))
		for i := range fids {
			if string(name) > from.name || i > from.index {
				indexes = append(indexes, i)
			}
		}
		slices.Sort(indexes)
		for _, i := range indexes[:min(len(indexes), limit-len(list))] {
			at := place{from.bucket, from.part, string(name), i}
			list = append(list, store.Drop{ID: at.id(), FID: fids[i]})
		}
		fids = nil
	}
	return list, unavailable(iter.Close())
}

// AddDrops implements store.Store.
func (s *Store) AddDrops(ctx context.Context, fids []string) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for chunk := range slices.Chunk(fids, fidsPerPart) {
		err := tries(ctx, func() (bool, error) {
			a := s.attempt(newPart("x"))
			c := newCAS(a.lock.part).when("state = null").set("state = ?", stateDrops)
			if err := a.drop(ctx, c, chunk); err != nil {
				return false, err
			}
			return a.decide(ctx, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Dropped implements store.Store.
func (s *Store) Dropped(ctx context.Context, drops []store.Drop) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	byPart := make(map[string][]place)
	for _, d := range drops {
		if p, err := parsePlace(d.ID); err == nil { // or it is not there
			byPart[p.part] = append(byPart[p.part], p)
		}
	}
	for part, places := range byPart {
		for chunk := range slices.Chunk(places, fidsPerRow) {
			if err := s.forget(ctx, part, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget deletes drops of one partition.
func (s *Store) forget(ctx context.Context, part string, places []place) error {
	return tries(ctx, func() (bool, error) {
		st, err := s.statics(ctx, part)
		if err != nil || !st.live {
			return true, err // without drops
		}
		c := newCAS(part).when("mark = ?", st.mark)
		c.again = true // to delete twice is to delete
		for _, p := range places {
			c.row("DELETE fids[?] FROM PARTS WHERE", []any{p.index}, kindDrops, p.name)
		}
		return s.apply(ctx, c)
	})
}

// notPending takes away a row of pending.
func (s *Store) notPending(ctx context.Context, part string, mark gocql.UUID) error {
	s.seen.forget(part + string(mark[:]))
	return s.exec(ctx, "DELETE FROM "+s.table("pending")+" WHERE bucket = ? AND part = ? AND mark = ?", bucket(part), []byte(part), mark)
}

// notNeeded takes away a row of pending whose partition has no drops, when it had none for a while. Whoever is about
// to add some has read the partition's mark, which changes before, and fails.
func (s *Store) notNeeded(ctx context.Context, part string, mark gocql.UUID) error {
	thing := part + string(mark[:])
	if !s.seen.longer(thing, clearAfter) {
		return nil
	}
	st, err := s.statics(ctx, part)
	if err != nil {
		return err
	}
	switch {
	case st.mark == mark && st.live:
		done, err := s.unmark(ctx, part, st)
		if err != nil || !done {
			s.seen.forget(thing)
			return err
		}
	case st.live: // by another mark: who was to write this one has seen it, and failed
	case !s.seen.longer(thing, fenceAfter):
		return nil
	default:
		if done, err := s.fence(ctx, part, st); err != nil || !done {
			return err
		}
	}
	return s.notPending(ctx, part, mark)
}

// unmark ends the mark of a partition that has no drops, or the partition if it has nothing else. False says that it
// has drops, or has changed meanwhile.
func (s *Store) unmark(ctx context.Context, part string, st statics) (done bool, err error) {
	has, err := s.kinds(ctx, part)
	if err != nil || has[kindDrops] {
		return false, err
	}
	if (st.state == stateDead || st.state == stateDrops) && len(has) == 0 {
		return s.deletePart(ctx, part, st)
	}
	return s.single(ctx, "UPDATE PARTS SET mark = ?, live = false WHERE part = ? IF mark = ? AND op = ?", newUUID(), []byte(part), st.mark, st.op)
}

// fence changes the mark of a partition that is not live, so that nobody can add drops who has seen the old one.
func (s *Store) fence(ctx context.Context, part string, st statics) (done bool, err error) {
	if st.state == 0 {
		return s.single(ctx, "UPDATE PARTS USING TTL ? SET state = ?, mark = ? WHERE part = ? IF state = null AND mark = null",
			abortedDays*24*3600, stateDead, newUUID(), []byte(part))
	}
	cond, args := is("mark", st.mark)
	return s.single(ctx, "UPDATE PARTS SET mark = ? WHERE part = ? IF "+cond+" AND state = ?",
		append(append([]any{newUUID(), []byte(part)}, args...), st.state)...)
}

// kinds returns which kinds of rows a partition has, without tokens that are aborted.
func (s *Store) kinds(ctx context.Context, part string) (map[int8]bool, error) {
	has := make(map[int8]bool)
	for _, kind := range []int8{kindEntry, kindDrops, kindToken, kindIndex} {
		iter := s.session.Query(s.parts("SELECT done FROM PARTS WHERE part = ? AND kind = ?"), []byte(part), kind).
			Consistency(s.serial).PageSize(100).IterContext(ctx)
		var done int8
		for !has[kind] && iter.Scan(&done) {
			has[kind] = kind != kindToken || done == committed
		}
		if !has[kind] {
			delete(has, kind)
		}
		if err := iter.Close(); err != nil {
			return nil, unavailable(err)
		}
	}
	return has, nil
}

// deletePart deletes a whole partition, if nothing has changed in it since st was read.
func (s *Store) deletePart(ctx context.Context, part string, st statics) (bool, error) {
	cond, args := is("mark", st.mark)
	c := newCAS(part).when("op = ?", st.op).when("state = ?", st.state).when(cond, args...)
	c.sets, c.args.sets = []string{"op = null"}, nil // a value of the same time would outlive the partition
	c.again = true                                   // what is gone does not come again
	c.proof = func(ctx context.Context) (bool, error) {
		now, err := s.statics(ctx, part)
		return now.state == 0, err
	}
	c.rows = append(c.rows, statement{"DELETE FROM PARTS WHERE part = ?", []any{[]byte(part)}})
	return s.apply(ctx, c)
}
