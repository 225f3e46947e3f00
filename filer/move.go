package filer

import (
	"context"
	"errors"
	"net/http"

	"weed/filer/store"
)

// move answers POST /new?mv.from=/old: it renames a file or a directory. A new path that ends in a slash is the
// directory to move into.
func (f *Filer) move(w http.ResponseWriter, r *http.Request, to store.Path, dir bool, text string) {
	from, _, err := parsePath(text)
	if err == nil && dir {
		to = join(to, baseName(from))
	}
	switch {
	case err != nil:
	case from == "/" || to == "/":
		err = errRoot
	case isReserved(to) || isReserved(from):
		err = errReserved
	default:
		err = f.rename(r, from, to)
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *Filer) rename(r *http.Request, from, to store.Path) error {
	ctx, q := r.Context(), request{path: to, conditions: writeConditions(r.Header)}
	for tries := 0; ; tries++ {
		e, version, err := f.find(ctx, from)
		if err != nil {
			return err
		}
		if from == to {
			return nil
		}
		err = f.renameOnce(ctx, &q, r.Method, from, version, e.IsDir())
		if !isConflict(err) || tries == maxConflicts {
			return err
		}
	}
}

func (f *Filer) renameOnce(ctx context.Context, q *request, method string, from store.Path, version store.Version, dir bool) error {
	old, target, err := f.find(ctx, q.path)
	if err = f.checkTarget(q, method, old, err); err != nil && !isNotFound(err) {
		return err
	}
	if dir && err == nil {
		return store.ErrIsDirectory
	}
	if dir && target != 0 { // a directory can't take the place of an expired file
		err := f.store.Remove(ctx, q.path, target, store.Effects{Drops: old.fids()})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		old, target = nil, 0
	}
	effects := store.Effects{Drops: old.fids()}
	if err = f.renameTo(ctx, from, version, q.path, target, effects); err == nil && len(effects.Drops) > 0 {
		f.drops.poke()
	}
	return err
}

// renameTo is store.Rename that makes the directories above, and that is noted by who walks the tree.
func (f *Filer) renameTo(ctx context.Context, from store.Path, version store.Version, to store.Path, target store.Version, effects store.Effects) error {
	_, err := f.withParents(ctx, to, func() (moved store.Version, err error) {
		err = f.relocate(to, true, func() error {
			moved, err = f.store.Rename(ctx, from, version, to, target, nil, effects)
			return err
		})
		return moved, err
	})
	return err
}
