package bolt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"weed/filer/store"
)

const (
	// maxBatch and maxBatchBytes bound one transaction.
	maxBatch, maxBatchBytes = 1024, 16 << 20
	maxGather               = 5 * time.Millisecond
	enough                  = 16 // changes that share a transaction: more of them save little
)

// change is something to do in a transaction.
type change struct {
	do   func(*txn) error // changes nothing if it fails
	size int              // bytes that it writes, roughly
	err  error
	done chan struct{}
}

// txn is the transaction of one batch. What it changes it sees, and nobody else before it is durable.
type txn struct {
	reader
	changed *generation
	floors  floors
}

// floors spare walks over what is gone, which stays in memory until it is gone from the file: where a queue is worked off
// from its beginning, that would be all that was done so far, each time.
type floors struct {
	keys  [buckets]string // a bucket has nothing below its key
	swept string          // key in the tree: of its directory, which was removed, all up to it is gone
}

// beyond is a floor above all keys of a queue.
const beyond = "\xff\xff\xff\xff\xff\xff\xff\xff\xff"

func (t *txn) put(b bucket, key string, value []byte) {
	t.changed.tables[b].set(key, value, false)
	t.floors.keys[b] = min(t.floors.keys[b], key)
}

func (t *txn) delete(b bucket, key string) { t.changed.tables[b].set(key, nil, true) }

// next returns a number that never comes again.
func (t *txn) next() uint64 {
	t.changed.ids++
	return t.changed.ids
}

// first returns the first entry of a queue: removed, or drops.
func (t *txn) first(b bucket) (key string, ok bool) {
	key, _, ok = t.seek(b, "", t.floors.keys[b]).next()
	if t.floors.keys[b] = key; !ok {
		t.floors.keys[b] = beyond
	}
	return key, ok
}

// commit is the committer. It takes all that waits. Where several callers change things again and again, they end up
// in turns that just miss each other, each with a sync of its own; so it waits for as many as there were a moment ago,
// no longer than two commits take, and soon they come together. Who is alone never waits.
func (s *Store) commit() {
	batch := make([]*change, 0, maxBatch)
	var expected int // callers that are about to come
	var took time.Duration
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case c := <-s.changes:
			batch = append(batch, c)
		case err := <-s.flushed:
			_ = s.thaw(err) // whoever needs the room tries again
			continue
		case <-s.quit:
			// What was accepted before the end is still done.
			select {
			case c := <-s.changes:
				batch = append(batch, c)
			default:
				s.closing = s.settle()
				return
			}
		}
		timer.Reset(min(2*took, maxGather))
		batch = s.gather(batch, expected, timer.C)
		begun := time.Now()
		s.apply(batch)
		took = time.Since(begun)
		expected = min(len(batch)+len(s.changes), enough)
		clear(batch)
		batch = batch[:0]
	}
}

// gather adds what waits to a batch, and waits until it has as many changes as are expected, or the time is over.
func (s *Store) gather(batch []*change, expected int, over <-chan time.Time) []*change {
	size := batch[0].size
	for len(batch) < maxBatch && size < maxBatchBytes && !s.cfg.plain {
		select {
		case c := <-s.changes:
			batch, size = append(batch, c), size+c.size
			continue
		default:
		}
		if len(batch) >= expected {
			break
		}
		select {
		case c := <-s.changes:
			batch, size = append(batch, c), size+c.size
		case <-over:
			return batch
		case <-s.quit:
			return batch
		}
	}
	return batch
}

// apply makes a batch one transaction and answers its callers.
func (s *Store) apply(batch []*change) {
	g := &generation{last: s.active.last + 1, ids: s.active.ids, drops: s.active.drops}
	t := &txn{reader: reader{layers: [3]*generation{g, s.active, s.frozen}, db: s.db}, changed: g, floors: s.floors}
	for _, c := range batch {
		c.err = c.do(t)
	}
	t.close() // before anything waits for the file, which may wait for its readers
	err := t.err
	if err == nil && !g.isEmpty() {
		err = s.keep(g)
	}
	if err == nil {
		s.mu.Lock()
		s.floors = t.floors
		s.mu.Unlock()
	}
	// Numbers do not come again even if the transaction has failed: it may be there after a crash.
	s.active.ids, s.active.drops = max(s.active.ids, g.ids), max(s.active.drops, g.drops)
	for _, c := range batch {
		if err != nil {
			c.err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		close(c.done)
	}
}

// keep makes a transaction durable and lets readers see it.
func (s *Store) keep(g *generation) error {
	if s.cfg.plain {
		if err := s.flush(g); err != nil {
			return err
		}
		s.active.last = g.last
		return nil
	}
	if err := s.journal.cut(); err != nil {
		return err
	}
	record := s.journal.encode(g)
	if err := s.makeRoom(len(record)); err != nil {
		return err
	}
	if err := s.journal.append(record); err != nil {
		return err
	}
	s.mu.Lock()
	s.active.add(g)
	s.mu.Unlock()
	return nil
}

// makeRoom goes to the other log if a record of n bytes does not fit into this one. It waits until that log's changes
// are in the file.
func (s *Store) makeRoom(n int) error {
	if s.journal.fits(n) {
		return nil
	}
	if s.frozen != nil {
		if !s.flushing { // it has failed
			s.beginFlush()
		}
		if err := s.thaw(<-s.flushed); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.frozen = s.active
	s.active = &generation{last: s.frozen.last, ids: s.frozen.ids, drops: s.frozen.drops}
	s.mu.Unlock()
	s.journal.turn()
	s.beginFlush()
	return nil
}

// beginFlush writes the frozen generation into the file in the background.
func (s *Store) beginFlush() {
	s.flushing = true
	g := s.frozen
	s.group.Go(func() { s.flushed <- s.flush(g) })
}

// thaw takes the outcome of a flush.
func (s *Store) thaw(err error) error {
	s.flushing = false
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.frozen = nil
	s.mu.Unlock()
	return nil
}

// settle puts all that is only in the logs into the file. What fails is still in the logs.
func (s *Store) settle() error {
	if s.flushing {
		_ = s.thaw(<-s.flushed) // if that has failed it is tried again
	}
	if s.frozen != nil {
		if err := s.flush(s.frozen); err != nil {
			return err
		}
	}
	if s.active.isEmpty() {
		return nil
	}
	return s.flush(s.active)
}

// flush makes a generation a transaction of the file.
func (s *Store) flush(g *generation) error {
	if s.cfg.fault != nil {
		if err := s.cfg.fault(g); err != nil {
			return err
		}
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for i := range g.tables {
			if err := flushTable(tx.Bucket(bucketNames[i]), &g.tables[i]); err != nil {
				return err
			}
		}
		return errors.Join(tx.Bucket(bucketNames[treeBucket]).SetSequence(g.ids), tx.Bucket(bucketNames[dropsBucket]).SetSequence(g.drops),
			tx.Bucket(metaBucket).Put(doneKey, key64(g.last)))
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.db.Path(), err)
	}
	return nil
}

func flushTable(b *bbolt.Bucket, t *table) error {
	for n := t.heads[0]; n != nil; n = n.next {
		var err error
		if n.gone {
			err = b.Delete([]byte(n.key))
		} else {
			err = b.Put([]byte(n.key), n.value)
		}
		if err != nil {
			return fmt.Errorf("key %.40q: %w", strings.ToValidUTF8(n.key, "?"), err)
		}
	}
	return nil
}
