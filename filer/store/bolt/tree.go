package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"weed/filer/store"
)

const (
	kindFile = 0
	kindDir  = 1
	headLen  = 9 // version and kind
)

// pathError is a failure of a path. Most files are looked for before they are made, so it has to be cheap.
type pathError struct {
	path store.Path
	kind error
}

func (e pathError) Error() string { return string(e.path) + ": " + e.kind.Error() }
func (e pathError) Unwrap() error { return e.kind }

// row is a value of the tree.
type row struct {
	version uint64
	dir     bool
	id      uint64 // of a directory
	value   []byte // valid while the reader is, not to be changed
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

func rowKey(dir uint64, name string) string {
	b := make([]byte, 0, 8+len(name))
	return string(append(binary.BigEndian.AppendUint64(b, dir), name...))
}

// get returns what a directory holds under a name.
func (r *reader) row(dir uint64, name string) (row, bool) {
	var room [8 + 255]byte
	key := append(binary.BigEndian.AppendUint64(room[:0], dir), name...)
	b := r.get(treeBucket, key)
	if b == nil {
		return row{}, false
	}
	return parseRow(b), true
}

// parentOf returns the id of the directory that a path is in, and the path's last segment.
func (r *reader) parentOf(path store.Path) (dir uint64, name string, err error) {
	dir = rootID
	rest := string(path[1:])
	for {
		head, tail, more := strings.Cut(rest, "/")
		if !more {
			return dir, head, nil
		}
		d, ok := r.row(dir, head)
		switch {
		case !ok:
			return 0, "", pathError{path, store.ErrNoParent}
		case !d.dir:
			return 0, "", pathError{path, store.ErrNotDirectory}
		}
		dir, rest = d.id, tail
	}
}

// look returns the record at a path, with its key; ok is false if there is none.
func (r *reader) look(path store.Path) (found row, key string, ok bool) {
	dir, name, err := r.parentOf(path)
	if err != nil {
		return row{}, "", false
	}
	found, ok = r.row(dir, name)
	return found, rowKey(dir, name), ok
}

// isEmpty reports whether a directory holds nothing.
func (r *reader) isEmpty(dir uint64) bool {
	prefix := string(key64(dir))
	_, _, ok := r.seek(treeBucket, prefix, prefix).next()
	return !ok
}

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, path store.Path) (rec store.Record, err error) {
	err = s.view(ctx, func(r *reader) error {
		dir, name, err := r.parentOf(path)
		if err == nil {
			if found, ok := r.row(dir, name); ok {
				rec = found.record(name)
				return nil
			}
		}
		return pathError{path, store.ErrNotFound}
	})
	return rec, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, path store.Path, opts store.ListOptions) (list []store.Record, err error) {
	r, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	id := uint64(rootID)
	if path != "/" {
		d, _, ok := r.look(path)
		switch {
		case r.err != nil:
			return nil, r.failure()
		case !ok:
			return nil, pathError{path, store.ErrNotFound}
		case !d.dir:
			return nil, pathError{path, store.ErrNotDirectory}
		}
		id = d.id
	}
	from := rowKey(id, opts.After)
	if !opts.Inclusive && opts.After != "" {
		from += "\x00" // the next key
	}
	prefix := rowKey(id, opts.Prefix)
	c := r.page(treeBucket, prefix, max(from, prefix), opts.Limit)
	for len(list) < opts.Limit {
		k, v, ok := c.next()
		if !ok {
			break
		}
		list = append(list, parseRow(v).record(k[8:]))
	}
	return list, r.failure()
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (store.Version, error) {
	var version store.Version
	record.Value, effects = bytes.Clone(record.Value), own(effects)
	err := s.change(ctx, len(record.Value)+len(path)+32*len(effects.Drops), func(t *txn) error {
		dir, name, err := t.parentOf(path)
		if err != nil {
			return err
		}
		old, ok := t.row(dir, name)
		switch {
		case old.version != uint64(was):
			return pathError{path, store.ErrConflict}
		case ok && old.dir != record.Dir:
			return pathError{path, store.ErrIsDirectory}
		}
		r := row{dir: record.Dir, id: old.id, value: record.Value}
		if err := t.effect(effects); err != nil {
			return err
		}
		r.version = t.next()
		if r.dir && !ok {
			r.id = r.version
		}
		version = store.Version(r.version)
		t.put(treeBucket, rowKey(dir, name), r.bytes())
		return nil
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
		r, key, ok := t.look(path)
		switch {
		case !ok:
			return pathError{path, store.ErrNotFound}
		case r.version != uint64(was):
			return pathError{path, store.ErrConflict}
		case r.dir && !t.isEmpty(r.id):
			return pathError{path, store.ErrNotEmpty}
		}
		if err := t.effect(effects); err != nil {
			return err
		}
		t.delete(treeBucket, key)
		return nil
	})
}

// RemoveTree implements store.Store.
func (s *Store) RemoveTree(ctx context.Context, path store.Path, was store.Version) error {
	return s.change(ctx, 64, func(t *txn) error {
		r, key, ok := t.look(path)
		switch {
		case !ok:
			return pathError{path, store.ErrNotFound}
		case !r.dir:
			return pathError{path, store.ErrNotDirectory}
		case r.version != uint64(was):
			return pathError{path, store.ErrConflict}
		}
		t.put(removedBucket, string(key64(r.id)), nil)
		t.delete(treeBucket, key)
		return nil
	})
}

// Rename implements store.Store.
func (s *Store) Rename(ctx context.Context, from store.Path, was store.Version, to store.Path, target store.Version, value []byte, effects store.Effects) (store.Version, error) {
	var version store.Version
	value, effects = bytes.Clone(value), own(effects)
	err := s.change(ctx, len(value)+len(to)+64+32*len(effects.Drops), func(t *txn) error {
		r, key, ok := t.look(from)
		switch {
		case !ok:
			return pathError{from, store.ErrNotFound}
		case r.version != uint64(was):
			return pathError{from, store.ErrConflict}
		case r.dir && (to == from || strings.HasPrefix(string(to), string(from)+"/")):
			return fmt.Errorf("%s to %s: %w", from, to, store.ErrIntoItself)
		}
		dir, name, err := t.parentOf(to)
		if err != nil {
			return err
		}
		old, ok := t.row(dir, name)
		switch {
		case old.version != uint64(target):
			return pathError{to, store.ErrConflict}
		case ok && (old.dir || r.dir):
			return pathError{to, store.ErrIsDirectory}
		}
		if err := t.effect(effects); err != nil {
			return err
		}
		if value != nil {
			r.value = value
		}
		r.version = t.next()
		version = store.Version(r.version)
		moves := uint64(0)
		if v := t.get(settingsBucket, []byte(movesName)); v != nil {
			moves = binary.BigEndian.Uint64(v)
		}
		t.put(settingsBucket, movesName, key64(moves+1))
		t.delete(treeBucket, key)
		t.put(treeBucket, rowKey(dir, name), r.bytes())
		return nil
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
			id, ok := t.first(removedBucket)
			if !ok {
				return nil
			}
			n, bad := s.sweepDir(t, id, limit-done.Records)
			unread = errors.Join(unread, bad)
			if done.Records += n; n == 0 { // it is empty
				t.delete(removedBucket, id)
			}
		}
		_, done.More = t.first(removedBucket)
		return nil
	})
	if err != nil {
		return store.Swept{}, err
	}
	return done, unread
}

// sweepDir takes up to limit records out of a removed directory, and returns how many there were. unread names those
// whose chunks are unknown.
func (s *Store) sweepDir(t *txn, id string, limit int) (n int, unread error) {
	var keys, fids []string
	from := id
	if strings.HasPrefix(t.floors.swept, id) {
		from = t.floors.swept
	}
	for c := t.seek(treeBucket, id, from); len(keys) < limit; {
		k, v, ok := c.next()
		if !ok {
			break
		}
		r := parseRow(v)
		keys = append(keys, k)
		if r.dir {
			t.put(removedBucket, string(key64(r.id)), nil)
			continue
		}
		chunks, err := s.opts.FIDs(r.value)
		if err != nil {
			unread = errors.Join(unread, fmt.Errorf("removed record %x: its chunks stay where they are: %w", k, err))
		}
		fids = append(fids, chunks...)
	}
	for _, k := range keys {
		t.delete(treeBucket, k)
		t.floors.swept = k
	}
	t.addDrops(fids)
	return len(keys), unread
}
