package bolt

import (
	"context"
	"errors"
	"math"
	"strings"

	"go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"weed/filer/store"
)

// bucket is the number of a bucket, as the log names it.
type bucket byte

const (
	treeBucket bucket = iota
	removedBucket
	dropsBucket
	claimsBucket
	usedBucket
	settingsBucket
	buckets = iota
)

// bucketNames are those in the file.
var bucketNames = [buckets][]byte{[]byte("tree"), []byte("removed"), []byte("drops"), []byte("claims"), []byte("used"), []byte("settings")}

// unlimited is the limit of a page that takes all.
const unlimited = math.MaxInt

// reader sees the store at one moment: the changes that are not in the file yet, newest first, over the file.
type reader struct {
	layers [3]*generation // nil where there is none
	db     *bbolt.DB
	tx     *bbolt.Tx // begun when it is needed
	files  [buckets]*bbolt.Bucket
	err    error  // of beginning it; what was read since is worth nothing
	unlock func() // lets the committer go on; nil if it does not wait
}

// read begins to read what is durable. Until the reader is closed, or has turned to a page, nothing changes, so that
// is to be soon.
func (s *Store) read(ctx context.Context) (*reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-s.quit:
		return nil, store.ErrClosed
	default:
	}
	s.mu.RLock()
	return &reader{layers: [3]*generation{s.active, s.frozen}, db: s.db, unlock: s.mu.RUnlock}, nil
}

// view lets do read what is durable. do is quick.
func (s *Store) view(ctx context.Context, do func(*reader) error) error {
	r, err := s.read(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	if err := do(r); r.err == nil {
		return err
	}
	return r.failure()
}

// failure says why the file could not be read, nil if it could.
func (r *reader) failure() error {
	if errors.Is(r.err, boltErrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return r.err
}

func (r *reader) close() {
	if r.tx != nil {
		_ = r.tx.Rollback() // of a transaction that only reads
		r.tx, r.files = nil, [buckets]*bbolt.Bucket{}
	}
	r.release()
}

func (r *reader) release() {
	if r.unlock != nil {
		r.unlock()
		r.unlock = nil
	}
}

// file returns a bucket of the file, nil if that can't be read.
func (r *reader) file(b bucket) *bbolt.Bucket {
	if r.tx == nil && r.err == nil {
		r.tx, r.err = r.db.Begin(false)
	}
	if r.err != nil {
		return nil
	}
	if r.files[b] == nil {
		r.files[b] = r.tx.Bucket(bucketNames[b])
	}
	return r.files[b]
}

// get returns a value, nil if there is none. It is valid while the reader is open, and must not be changed.
func (r *reader) get(b bucket, key []byte) []byte {
	for _, g := range r.layers {
		if g == nil {
			continue
		}
		if n := g.tables[b].get(key); n != nil {
			if n.gone {
				return nil
			}
			return n.value
		}
	}
	if file := r.file(b); file != nil {
		return file.Get(key)
	}
	return nil
}

func (r *reader) merge(b bucket, from string) (m merge) {
	for i, g := range r.layers {
		if g != nil {
			m[i] = g.tables[b].seek(from)
		}
	}
	return m
}

// cursor goes through the entries with a prefix, in order of their keys. It is valid while the reader is open and the
// bucket is not changed.
type cursor struct {
	prefix string
	merge  merge
	file   *bbolt.Cursor
	k, v   []byte // the file's next entry
}

// seek returns a cursor at the first key that is not less than from.
func (r *reader) seek(b bucket, prefix, from string) *cursor {
	c := &cursor{prefix: prefix, merge: r.merge(b, from)}
	if file := r.file(b); file != nil {
		c.file = file.Cursor()
		c.k, c.v = c.file.Seek([]byte(from))
	}
	return c
}

// page is seek for up to limit entries, and lets changes go on meanwhile, which the page does not show. Nothing else
// can be read afterwards.
func (r *reader) page(b bucket, prefix, from string, limit int) *cursor {
	m := r.merge(b, from)
	chain := m.copy(prefix, limit)
	_ = r.file(b) // begins the transaction
	r.release()
	r.layers = [3]*generation{}
	c := r.seek(b, prefix, from)
	c.merge[0] = chain
	return c
}

// next returns the next entry.
func (c *cursor) next() (key string, value []byte, ok bool) {
	for {
		n := c.merge.peek()
		if c.k != nil && (n == nil || string(c.k) < n.key) {
			if !strings.HasPrefix(string(c.k), c.prefix) {
				return "", nil, false
			}
			key, value = string(c.k), c.v
			c.k, c.v = c.file.Next()
			return key, value, true
		}
		if n == nil || !strings.HasPrefix(n.key, c.prefix) {
			return "", nil, false
		}
		if c.k != nil && string(c.k) == n.key {
			c.k, c.v = c.file.Next()
		}
		c.merge.skip(n.key)
		if !n.gone {
			return n.key, n.value, true
		}
	}
}
