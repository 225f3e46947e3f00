package filer

import (
	"context"
	"errors"
	"sync"

	"weed/filer/store"
)

// moves tells those who walk the tree what has changed its place meanwhile: they may have missed it.
type moves struct {
	// place is held for reading while a record changes its place, and for writing to look at the number of moves.
	place sync.RWMutex
	watch *moveWatch // guarded by place; nil while nobody walks
}

// maxMoved bounds the paths of one walk.
const maxMoved = 100_000

// moveWatch is one walk that wants to know.
type moveWatch struct {
	begun uint64 // store.Moves when it began

	mu      sync.Mutex
	renames uint64 // through this filer since then, those of unknown outcome among them
	paths   []store.Path
	lost    bool // there were more than maxMoved
}

func (w *moveWatch) note(path store.Path, rename bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rename {
		w.renames++
	}
	if len(w.paths) < maxMoved {
		w.paths = append(w.paths, path)
	} else {
		w.lost = true
	}
}

// relocate does what brings records to a path that were somewhere else before: a rename, or a load of entries.
func (f *Filer) relocate(to store.Path, rename bool, do func() error) error {
	f.moves.place.RLock()
	defer f.moves.place.RUnlock()
	err := do()
	sure := isConflict(err) || isNotFound(err) || errors.Is(err, store.ErrNoParent) || errors.Is(err, store.ErrNotDirectory) ||
		errors.Is(err, store.ErrIsDirectory) || errors.Is(err, store.ErrIntoItself)
	if w := f.moves.watch; w != nil && !sure {
		w.note(to, rename)
	}
	return err
}

// watchMoves begins to note what changes its place. One watches at a time.
func (f *Filer) watchMoves(ctx context.Context) (*moveWatch, error) {
	f.moves.place.Lock()
	defer f.moves.place.Unlock()
	n, err := f.store.Moves(ctx)
	if err != nil {
		return nil, err
	}
	f.moves.watch = &moveWatch{begun: n}
	return f.moves.watch, nil
}

func (f *Filer) unwatchMoves() {
	f.moves.place.Lock()
	defer f.moves.place.Unlock()
	f.moves.watch = nil
}

// takeMoved returns the paths that records have come to since the last call. unknown says that there were moves that
// this filer does not know of: other filers', or too many.
func (f *Filer) takeMoved(ctx context.Context, w *moveWatch) (paths []store.Path, unknown bool, err error) {
	f.moves.place.Lock()
	defer f.moves.place.Unlock()
	n, err := f.store.Moves(ctx)
	if err != nil {
		return nil, false, err
	}
	paths, w.paths = w.paths, nil
	return paths, w.lost || n-w.begun > w.renames, nil
}
