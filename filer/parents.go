package filer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"weed/filer/store"
)

// putRecord is store.Put that makes the directories above.
func (f *Filer) putRecord(ctx context.Context, path store.Path, was store.Version, rec store.Record, effects store.Effects) (store.Version, error) {
	return f.withParents(ctx, path, func() (store.Version, error) { return f.store.Put(ctx, path, was, rec, effects) })
}

// withParents does what needs the parent of path, and makes that when it is missing. Somebody who removes directories
// as fast as they are made wins in the end.
func (f *Filer) withParents(ctx context.Context, path store.Path, do func() (store.Version, error)) (store.Version, error) {
	for tries := 0; ; tries++ {
		version, err := do()
		missing := errors.Is(err, store.ErrNoParent) || errors.Is(err, store.ErrNotDirectory)
		if !missing || tries == maxConflicts {
			return version, err
		}
		if err := f.ensureDir(ctx, parent(path)); err != nil {
			return 0, err
		}
	}
}

// ensureDir makes a directory and those above it. Errors: store.ErrNotDirectory if a file is in the way.
func (f *Filer) ensureDir(ctx context.Context, path store.Path) error {
	for tries := 0; ; tries++ {
		err := f.ensureOnce(ctx, path)
		raced := errors.Is(err, store.ErrNoParent) || isConflict(err)
		if !raced || tries == maxConflicts {
			return err
		}
	}
}

func (f *Filer) ensureOnce(ctx context.Context, path store.Path) error {
	if path == "/" {
		return nil
	}
	e, version, err := f.find(ctx, path)
	switch {
	case err == nil && e.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
	case !isNotFound(err):
		return err
	}
	if e != nil { // expired
		if err := f.store.Remove(ctx, path, version, store.Effects{Drops: e.fids()}); err != nil && !isNotFound(err) {
			return err
		}
	}
	if err := f.ensureOnce(ctx, parent(path)); err != nil {
		return err
	}
	now := f.now()
	dir := Entry{Mtime: now, Crtime: now, Mode: fs.ModeDir | defaultDirMode}
	_, err = f.store.Put(ctx, path, 0, store.Record{Dir: true, Value: dir.encode()}, store.Effects{})
	return err
}
