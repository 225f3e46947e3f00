// Package bolt is the filer's embedded store: one bbolt file, used by one filer at a time.
//
// It owns the file, two logs, and one goroutine, the committer. The committer makes all changes that wait at a moment
// one transaction, and appends that to a log: they share its sync, and are durable with it. What is in a log is kept in
// memory, too, where reads find it over what is in the file. When a log is full, the other one takes its turn, and all
// that it holds goes into the file as one transaction, which costs far less than many small ones. A change is checked
// before it touches anything, so one that fails leaves no trace in the transaction that it shares. Reads see one moment,
// and only what is durable.
//
// The logs are bounded: changes wait while both are full. After a crash Open puts what they hold into the file. A
// transaction that was torn by the crash ends them; one that is damaged with later ones behind it is an error, and
// nothing is touched then.
//
// FORMAT.md tells the buckets of the file and the records of the logs. A rename moves one key, whatever is below it.
//
//	s, err := bolt.Open(dir, store.Options{FIDs: filer.FIDs})
package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
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
	"weed/internal/vfs"
)

const (
	fileName    = "filer.db"
	rootID      = 1
	lockWait    = 2 * time.Second
	maxKeyBytes = 1024 // of claims' IDs and settings' names
	format      = 2    // the same as 1, with a log
)

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	doneKey    = []byte("done")
	saltKey    = []byte("salt")
)

// Store is a store.Store on one bbolt file and its logs.
type Store struct {
	cfg     config
	db      *bbolt.DB
	opts    store.Options
	changes chan *change
	flushed chan error    // of the frozen generation
	quit    chan struct{} // closed by Close
	once    sync.Once
	group   sync.WaitGroup
	closing error

	// Changed by the committer alone, which holds mu meanwhile.
	mu     sync.RWMutex
	active *generation // what is durable in the log that is written to
	frozen *generation // what is on its way into the file; nil if there is nothing
	floors floors

	// Used by the committer alone.
	journal  *journal
	flushing bool // frozen is being written; its outcome comes by flushed
}

var _ store.Store = (*Store)(nil)

// config is what tests and yardsticks change.
type config struct {
	disk     vfs.FS // of the logs
	logBytes int64
	plain    bool                    // without logs: each change is a transaction of the file
	noSync   bool                    // the file's transactions need not survive a crash of the machine
	fault    func(*generation) error // called before a generation is written into the file
}

// Open opens the store in a directory, which is made if it is not there. One that another process uses is an error, and
// so are logs that have lost something that was durable.
func Open(dir string, opts store.Options) (*Store, error) {
	return openWith(dir, opts, config{disk: vfs.OS, logBytes: logBytes})
}

// OpenPlain opens a store that makes each change one transaction of the file, without its logs. It is a yardstick: as
// safe as the other, and slower.
func OpenPlain(dir string, opts store.Options) (*Store, error) {
	return openWith(dir, opts, config{disk: vfs.OS, logBytes: logBytes, plain: true})
}

func openWith(dir string, opts store.Options, cfg config) (*Store, error) {
	if err := makeDir(cfg.disk, dir); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: lockWait, NoSync: cfg.noSync,
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, boltErrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another filer uses it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{cfg: cfg, db: db, opts: opts, changes: make(chan *change, maxBatch), flushed: make(chan error, 1),
		quit: make(chan struct{})}
	var done, salt uint64
	if err = db.Update(func(tx *bbolt.Tx) (err error) { done, salt, err = prepare(tx); return err }); err != nil {
		err = fmt.Errorf("prepare %s: %w", path, err)
	} else {
		err = s.recover(dir, done, salt)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.group.Go(s.commit)
	return s, nil
}

// makeDir makes a directory and those above it durably: what is in it can't outlive its name.
func makeDir(disk vfs.FS, dir string) error {
	above := []string{filepath.Dir(dir)} // always: the one who made it may have had no time to sync
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := disk.Stat(at); !errors.Is(err, os.ErrNotExist) {
			break
		}
		above = append(above, filepath.Dir(at))
	}
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, parent := range above {
		// One that was there may be another user's.
		if err := disk.SyncDir(parent); err != nil && (i > 0 || !errors.Is(err, os.ErrPermission)) {
			return err
		}
	}
	return nil
}

// prepare makes what a file needs. It returns the number of the last transaction that is in the file, and the salt of
// the logs.
func prepare(tx *bbolt.Tx) (done, salt uint64, err error) {
	if err := checkFormat(tx); err != nil {
		return 0, 0, err
	}
	for _, name := range bucketNames {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return 0, 0, err
		}
	}
	if tree := tx.Bucket(bucketNames[treeBucket]); tree.Sequence() < rootID {
		if err := tree.SetSequence(rootID); err != nil {
			return 0, 0, err
		}
	}
	meta := tx.Bucket(metaBucket)
	if b := meta.Get(doneKey); len(b) == 8 {
		done = binary.BigEndian.Uint64(b)
	}
	b := meta.Get(saltKey)
	if len(b) != 8 {
		b = make([]byte, 8)
		_, _ = rand.Read(b) // never fails
		if err := meta.Put(saltKey, b); err != nil {
			return 0, 0, err
		}
	}
	return done, binary.BigEndian.Uint64(b), nil
}

// recover puts what the logs hold into the file, whose last transaction is number done.
func (s *Store) recover(dir string, done, salt uint64) error {
	j, err := openJournal(s.cfg.disk, dir, s.cfg.logBytes)
	if err != nil {
		return err
	}
	j.salt = salt
	g, err := j.replay(done)
	if err == nil && g.last > done {
		err = s.flush(g)
	}
	if err == nil {
		s.journal, s.active = j, &generation{last: g.last}
		err = s.db.View(func(tx *bbolt.Tx) error {
			s.active.ids, s.active.drops = tx.Bucket(bucketNames[treeBucket]).Sequence(), tx.Bucket(bucketNames[dropsBucket]).Sequence()
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, j.close())
	}
	return nil
}

// checkFormat refuses a file of a later layout and marks one that is new or older.
func checkFormat(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	b := meta.Get(formatKey)
	switch {
	case b == nil:
	case len(b) != 8:
		return fmt.Errorf("its format is marked with %x, which is no number", b)
	case binary.BigEndian.Uint64(b) == format:
		return nil
	case binary.BigEndian.Uint64(b) != 1:
		return fmt.Errorf("its format is %d, this version of weed knows 1 to %d only", binary.BigEndian.Uint64(b), format)
	}
	return meta.Put(formatKey, key64(format))
}

// checkKey refuses what bbolt would fail on in the middle of a transaction.
func checkKey(what, key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("%s %.40q: its name has %d bytes, give 1 to %d", what, key, len(key), maxKeyBytes)
	}
	return nil
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

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, func(*reader) error { return nil })
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.quit)
		s.group.Wait()
		s.closing = errors.Join(s.closing, s.journal.close(), s.db.Close())
	})
	return s.closing
}

func key64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) (value []byte, version store.Version, err error) {
	err = s.view(ctx, func(r *reader) error {
		if v := r.get(settingsBucket, []byte(name)); v != nil {
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
		if v := t.get(settingsBucket, []byte(name)); v != nil {
			now = binary.BigEndian.Uint64(v)
		}
		if now != uint64(was) {
			return fmt.Errorf("setting %s: %w", name, store.ErrConflict)
		}
		next := t.next()
		version = store.Version(next)
		t.put(settingsBucket, name, append(key64(next), value...))
		return nil
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}
