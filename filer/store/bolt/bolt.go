// Package bolt is the filer's embedded store: one bbolt file, used by one filer at a time.
//
// It owns the file and one goroutine, the committer, which makes all changes that wait at a moment one transaction:
// they share its syncs. A change is checked before it touches anything, so one that fails leaves no trace in the
// transaction that it shares. Reads see the last transaction that was committed.
//
// # Layout
//
//	tree      directory id (8) + name   version (8), kind (1), id of the directory (8, of directories), value
//	removed   directory id (8)          nothing: the directories whose records are still to be swept
//	drops     number (8)                fid
//	claims    claim's id                the claim as JSON
//	used      claim's id                a bit for each fid, set when it is used
//	settings  name                      version (8), value
//	meta      "format"                  number of this layout (8)
//
// Numbers are big-endian. The root's id is 1; ids and versions come from the sequence of tree, and never come again.
// FORMAT.md is the reference. A rename moves one key, whatever is below it.
//
//	s, err := bolt.Open(dir, store.Options{FIDs: filer.FIDs})
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"weed/filer/store"
)

const (
	fileName = "filer.db"
	rootID   = 1
	// maxBatch and maxBatchBytes bound one transaction.
	maxBatch, maxBatchBytes = 1024, 16 << 20
	lockWait                = 2 * time.Second
	maxGather               = 5 * time.Millisecond
	maxKeyBytes             = 1024 // of claims' IDs and settings' names
	format                  = 1
	enough                  = 16 // changes that share a commit: more of them save little
)

var (
	treeBucket     = []byte("tree")
	removedBucket  = []byte("removed")
	dropsBucket    = []byte("drops")
	claimsBucket   = []byte("claims")
	usedBucket     = []byte("used")
	settingsBucket = []byte("settings")
	metaBucket     = []byte("meta")
	formatKey      = []byte("format")
)

// Store is a store.Store on one bbolt file.
type Store struct {
	db      *bbolt.DB
	opts    store.Options
	changes chan *change
	quit    chan struct{} // closed by Close
	once    sync.Once
	group   sync.WaitGroup
	closing error
}

var _ store.Store = (*Store)(nil)

// change is something to do in a transaction.
type change struct {
	do   func(*txn) error // changes nothing if it fails
	size int              // bytes that it writes, roughly
	err  error
	done chan struct{}
}

// txn is the transaction of one batch.
type txn struct {
	tree, removed, drops, claims, used, settings *bbolt.Bucket
}

// Open opens the store in a directory, which is made if it is not there. One that another process uses is an error.
func Open(dir string, opts store.Options) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, boltErrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another filer uses it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if err := checkFormat(tx); err != nil {
			return err
		}
		for _, name := range [][]byte{treeBucket, removedBucket, dropsBucket, claimsBucket, usedBucket, settingsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if tree := tx.Bucket(treeBucket); tree.Sequence() < rootID {
			return tree.SetSequence(rootID)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	s := &Store{db: db, opts: opts, changes: make(chan *change, maxBatch), quit: make(chan struct{})}
	s.group.Go(s.commit)
	return s, nil
}

// checkFormat refuses a file of a later layout and marks one that is new, or older than the mark.
func checkFormat(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	switch b := meta.Get(formatKey); {
	case b == nil:
		return meta.Put(formatKey, key64(format))
	case len(b) != 8:
		return fmt.Errorf("its format is marked with %x, which is no number", b)
	case binary.BigEndian.Uint64(b) != format:
		return fmt.Errorf("its format is %d, this version of weed knows %d only", binary.BigEndian.Uint64(b), format)
	}
	return nil
}

// checkKey refuses what bbolt would fail on in the middle of a transaction.
func checkKey(what, key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("%s %.40q: its name has %d bytes, give 1 to %d", what, key, len(key), maxKeyBytes)
	}
	return nil
}

// commit is the committer. It takes all that waits. Where several callers change things again and again, they end up
// in turns that just miss each other, each with syncs of its own; so it waits for as many as there were a moment ago,
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
		case <-s.quit:
			// What was accepted before the end is still done.
			select {
			case c := <-s.changes:
				batch = append(batch, c)
			default:
				return
			}
		}
		timer.Reset(min(2*took, maxGather))
		size := batch[0].size
	gather:
		for len(batch) < maxBatch && size < maxBatchBytes {
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
			case <-timer.C:
				break gather
			case <-s.quit:
				break gather
			}
		}
		begun := time.Now()
		s.apply(batch)
		took = time.Since(begun)
		expected = min(len(batch)+len(s.changes), enough)
		clear(batch)
		batch = batch[:0]
	}
}

// apply makes a batch one transaction and answers its callers.
func (s *Store) apply(batch []*change) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		t := txn{tree: tx.Bucket(treeBucket), removed: tx.Bucket(removedBucket), drops: tx.Bucket(dropsBucket),
			claims: tx.Bucket(claimsBucket), used: tx.Bucket(usedBucket), settings: tx.Bucket(settingsBucket)}
		for _, c := range batch {
			if c.err = c.do(&t); errors.Is(c.err, errBroken) {
				return c.err
			}
		}
		return nil
	})
	for _, c := range batch {
		if err != nil {
			c.err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		close(c.done)
	}
}

// errBroken marks a failure of bbolt in the middle of a change: its whole transaction is given up.
var errBroken = errors.New("write to the store")

func broken(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// change waits until do has been carried out and is durable.
func (s *Store) change(ctx context.Context, size int, do func(*txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{do: do, size: size, done: make(chan struct{})}
	select {
	case <-s.quit:
		return store.ErrClosed
	default:
	}
	select {
	case s.changes <- c:
	case <-s.quit:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
	}
	s.group.Wait() // the committer ends after what it has accepted
	select {
	case <-c.done:
		return c.err
	default:
		return store.ErrClosed
	}
}

// view reads what is committed.
func (s *Store) view(ctx context.Context, do func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.View(do)
	if errors.Is(err, boltErrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, func(*bbolt.Tx) error { return nil })
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.quit)
		s.group.Wait()
		s.closing = s.db.Close()
	})
	return s.closing
}

func key64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) (value []byte, version store.Version, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		if v := tx.Bucket(settingsBucket).Get([]byte(name)); v != nil {
			version, value = store.Version(binary.BigEndian.Uint64(v)), append([]byte{}, v[8:]...)
		}
		return nil
	})
	return value, version, err
}

// SetSetting implements store.Store.
func (s *Store) SetSetting(ctx context.Context, name string, was store.Version, value []byte) (store.Version, error) {
	var version store.Version
	if err := checkKey("setting", name); err != nil {
		return 0, err
	}
	value = bytes.Clone(value)
	err := s.change(ctx, len(value), func(t *txn) error {
		var now uint64
		if v := t.settings.Get([]byte(name)); v != nil {
			now = binary.BigEndian.Uint64(v)
		}
		if now != uint64(was) {
			return fmt.Errorf("setting %s: %w", name, store.ErrConflict)
		}
		next, err := t.next()
		if err != nil {
			return err
		}
		version = store.Version(next)
		return broken(t.settings.Put([]byte(name), append(key64(next), value...)))
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// next returns a number that never comes again.
func (t *txn) next() (uint64, error) {
	n, err := t.tree.NextSequence()
	return n, broken(err)
}
