package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"weed/filer/store"
)

const (
	kindFile = 0
	kindDir  = 1
	headLen  = 9 // version and kind
)

// row is a value of the tree.
type row struct {
	version uint64
	dir     bool
	id      uint64 // of a directory
	value   []byte // valid while the transaction is
}

func parseRow(b []byte) row {
	r := row{version: binary.BigEndian.Uint64(b), dir: b[8] == kindDir, value: b[headLen:]}
	if r.dir {
		r.id, r.value = binary.BigEndian.Uint64(b[headLen:]), b[headLen+8:]
	}
	return r
}

func (r row) bytes() []byte {
	b := make([]byte, 0, headLen+8+len(r.value))
	b = binary.BigEndian.AppendUint64(b, r.version)
	if r.dir {
		b = binary.BigEndian.AppendUint64(append(b, kindDir), r.id)
	} else {
		b = append(b, kindFile)
	}
	return append(b, r.value...)
}

func (r row) record(name string) store.Record {
	return store.Record{Name: name, Dir: r.dir, Version: store.Version(r.version), Value: bytes.Clone(r.value)}
}

func rowKey(dir uint64, name string) []byte {
	b := make([]byte, 0, 8+len(name))
	return append(binary.BigEndian.AppendUint64(b, dir), name...)
}

// get returns what a directory holds under a name.
func get(tree *bbolt.Bucket, dir uint64, name string) (row, bool) {
	var room [8 + 255]byte
	key := append(binary.BigEndian.AppendUint64(room[:0], dir), name...)
	b := tree.Get(key)
	if b == nil {
		return row{}, false
	}
	return parseRow(b), true
}

// parentOf returns the id of the directory that a path is in, and the path's last segment.
func parentOf(tree *bbolt.Bucket, path store.Path) (dir uint64, name string, err error) {
	dir = rootID
	rest := string(path[1:])
	for {
		head, tail, more := strings.Cut(rest, "/")
		if !more {
			return dir, head, nil
		}
		r, ok := get(tree, dir, head)
		switch {
		case !ok:
			return 0, "", fmt.Errorf("%s: %w", path, store.ErrNoParent)
		case !r.dir:
			return 0, "", fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
		}
		dir, rest = r.id, tail
	}
}

// look returns the record at a path, with its key; ok is false if there is none.
func look(tree *bbolt.Bucket, path store.Path) (r row, key []byte, ok bool) {
	dir, name, err := parentOf(tree, path)
	if err != nil {
		return row{}, nil, false
	}
	r, ok = get(tree, dir, name)
	return r, rowKey(dir, name), ok
}

// isEmpty reports whether a directory holds nothing.
func isEmpty(tree *bbolt.Bucket, dir uint64) bool {
	prefix := key64(dir)
	k, _ := tree.Cursor().Seek(prefix)
	return !bytes.HasPrefix(k, prefix)
}

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, path store.Path) (rec store.Record, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		dir, name, err := parentOf(tx.Bucket(treeBucket), path)
		if err == nil {
			if r, ok := get(tx.Bucket(treeBucket), dir, name); ok {
				rec = r.record(name)
				return nil
			}
		}
		return fmt.Errorf("%s: %w", path, store.ErrNotFound)
	})
	return rec, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, path store.Path, opts store.ListOptions) (list []store.Record, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		tree := tx.Bucket(treeBucket)
		id := uint64(rootID)
		if path != "/" {
			r, _, ok := look(tree, path)
			switch {
			case !ok:
				return fmt.Errorf("%s: %w", path, store.ErrNotFound)
			case !r.dir:
				return fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
			}
			id = r.id
		}
		prefix := rowKey(id, opts.Prefix)
		from := prefix
		if after := rowKey(id, opts.After); bytes.Compare(after, from) > 0 {
			from = after
		}
		cursor := tree.Cursor()
		k, v := cursor.Seek(from)
		if !opts.Inclusive && opts.After != "" && k != nil && string(k[min(8, len(k)):]) == opts.After && bytes.HasPrefix(k, prefix) {
			k, v = cursor.Next()
		}
		for ; k != nil && bytes.HasPrefix(k, prefix) && len(list) < opts.Limit; k, v = cursor.Next() {
			list = append(list, parseRow(v).record(string(k[8:])))
		}
		return nil
	})
	return list, err
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (store.Version, error) {
	var version store.Version
	record.Value, effects = bytes.Clone(record.Value), own(effects)
	err := s.change(ctx, len(record.Value)+len(path)+32*len(effects.Drops), func(t *txn) error {
		dir, name, err := parentOf(t.tree, path)
		if err != nil {
			return err
		}
		old, ok := get(t.tree, dir, name)
		switch {
		case old.version != uint64(was):
			return fmt.Errorf("%s: %w", path, store.ErrConflict)
		case ok && old.dir != record.Dir:
			return fmt.Errorf("%s: %w", path, store.ErrIsDirectory)
		}
		r := row{dir: record.Dir, id: old.id, value: record.Value}
		if err := t.effect(effects); err != nil {
			return err
		}
		if r.version, err = t.next(); err != nil {
			return err
		}
		if r.dir && !ok {
			r.id = r.version
		}
		version = store.Version(r.version)
		return broken(t.tree.Put(rowKey(dir, name), r.bytes()))
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// Remove implements store.Store.
func (s *Store) Remove(ctx context.Context, path store.Path, was store.Version, effects store.Effects) error {
	effects = own(effects)
	return s.change(ctx, 32*(1+len(effects.Drops)), func(t *txn) error {
		r, key, ok := look(t.tree, path)
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", path, store.ErrNotFound)
		case r.version != uint64(was):
			return fmt.Errorf("%s: %w", path, store.ErrConflict)
		case r.dir && !isEmpty(t.tree, r.id):
			return fmt.Errorf("%s: %w", path, store.ErrNotEmpty)
		}
		if err := t.effect(effects); err != nil {
			return err
		}
		return broken(t.tree.Delete(key))
	})
}

// RemoveTree implements store.Store.
func (s *Store) RemoveTree(ctx context.Context, path store.Path, was store.Version) error {
	return s.change(ctx, 64, func(t *txn) error {
		r, key, ok := look(t.tree, path)
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", path, store.ErrNotFound)
		case !r.dir:
			return fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
		case r.version != uint64(was):
			return fmt.Errorf("%s: %w", path, store.ErrConflict)
		}
		if err := t.removed.Put(key64(r.id), nil); err != nil {
			return broken(err)
		}
		return broken(t.tree.Delete(key))
	})
}

// Rename implements store.Store.
func (s *Store) Rename(ctx context.Context, from store.Path, was store.Version, to store.Path, target store.Version, value []byte, effects store.Effects) (store.Version, error) {
	var version store.Version
	value, effects = bytes.Clone(value), own(effects)
	err := s.change(ctx, len(value)+len(to)+64+32*len(effects.Drops), func(t *txn) error {
		r, key, ok := look(t.tree, from)
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", from, store.ErrNotFound)
		case r.version != uint64(was):
			return fmt.Errorf("%s: %w", from, store.ErrConflict)
		case r.dir && (to == from || strings.HasPrefix(string(to), string(from)+"/")):
			return fmt.Errorf("%s to %s: %w", from, to, store.ErrIntoItself)
		}
		dir, name, err := parentOf(t.tree, to)
		if err != nil {
			return err
		}
		old, ok := get(t.tree, dir, name)
		switch {
		case old.version != uint64(target):
			return fmt.Errorf("%s: %w", to, store.ErrConflict)
		case ok && (old.dir || r.dir):
			return fmt.Errorf("%s: %w", to, store.ErrIsDirectory)
		}
		if err := t.effect(effects); err != nil {
			return err
		}
		r.value = bytes.Clone(r.value) // it does not outlive the change of its page
		if value != nil {
			r.value = value
		}
		if r.version, err = t.next(); err != nil {
			return err
		}
		version = store.Version(r.version)
		moves := uint64(0)
		if v := t.settings.Get([]byte(movesName)); v != nil {
			moves = binary.BigEndian.Uint64(v)
		}
		if err := t.settings.Put([]byte(movesName), key64(moves+1)); err != nil {
			return broken(err)
		}
		if err := t.tree.Delete(key); err != nil {
			return broken(err)
		}
		return broken(t.tree.Put(rowKey(dir, name), r.bytes()))
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// movesName is a setting of the store's own: its version is the number of renames.
const movesName = "\x00moves"

// Moves implements store.Store.
func (s *Store) Moves(ctx context.Context) (uint64, error) {
	_, n, err := s.Setting(ctx, movesName)
	return uint64(n), err
}

// Sweep implements store.Store. Records that it can't read go as well, and are part of its error: what is removed gets
// less all the same.
func (s *Store) Sweep(ctx context.Context, limit int) (store.Swept, error) {
	var done store.Swept // written by the committer, which may outlive this call
	var unread error
	err := s.change(ctx, 64*limit, func(t *txn) error {
		for done.Records < limit {
			id, _ := t.removed.Cursor().First()
			if id == nil {
				return nil
			}
			id = bytes.Clone(id)
			n, bad, err := s.sweepDir(t, id, limit-done.Records)
			unread = errors.Join(unread, bad)
			if err != nil {
				return err
			}
			if done.Records += n; n == 0 { // it is empty
				if err := t.removed.Delete(id); err != nil {
					return broken(err)
				}
			}
		}
		id, _ := t.removed.Cursor().First()
		done.More = id != nil
		return nil
	})
	if err != nil {
		return store.Swept{}, err
	}
	return done, unread
}

// sweepDir takes up to limit records out of a removed directory, and returns how many there were. unread names those
// whose chunks are unknown.
func (s *Store) sweepDir(t *txn, id []byte, limit int) (n int, unread, err error) {
	var keys [][]byte
	var drops []string
	var below []uint64
	cursor := t.tree.Cursor()
	for k, v := cursor.Seek(id); bytes.HasPrefix(k, id) && len(keys) < limit; k, v = cursor.Next() {
		r := parseRow(v)
		if r.dir {
			below = append(below, r.id)
		} else {
			fids, err := s.opts.FIDs(r.value)
			if err != nil {
				unread = errors.Join(unread, fmt.Errorf("removed record %x: its chunks stay where they are: %w", k, err))
			}
			drops = append(drops, fids...)
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, dir := range below {
		if err := t.removed.Put(key64(dir), nil); err != nil {
			return 0, unread, broken(err)
		}
	}
	for _, k := range keys {
		if err := t.tree.Delete(k); err != nil {
			return 0, unread, broken(err)
		}
	}
	return len(keys), unread, t.addDrops(drops)
}
