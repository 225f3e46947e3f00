package filer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"weed/filer/store"
)

// delete answers DELETE: of a file, a directory, or with ?tagging of tags.
func (f *Filer) delete(w http.ResponseWriter, r *http.Request, path store.Path) {
	q := r.URL.Query()
	var err error
	if q.Has("tagging") {
		err = f.changeTags(r.Context(), path, func(e *Entry) {
			tags := make(map[string]string)
			for k, v := range e.Extended {
				if !isNamed(q.Get("tagging"), k) {
					tags[k] = v
				}
			}
			e.Extended = tags
		})
	} else {
		err = f.remove(r, path, isTrue(q.Get("recursive")))
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	answerJSON(w, r, http.StatusAccepted, []byte(`{"error":""}`))
}

// isNamed reports whether a tag is one of a comma list of names, given with or without their prefix; "" means all.
func isNamed(list, tag string) bool {
	if list == "" {
		return true
	}
	for name := range strings.SplitSeq(list, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if tag == name || tag == tagPrefix+name {
			return true
		}
	}
	return false
}

// remove deletes what is at a path, if that fits the request's conditions. What is not there is no error.
func (f *Filer) remove(r *http.Request, path store.Path, recursive bool) error {
	if path == "/" {
		return errRoot
	}
	if isReserved(path) {
		return errReserved
	}
	ctx, q := r.Context(), request{path: path, conditions: writeConditions(r.Header)}
	for tries := 0; ; tries++ {
		e, version, err := f.find(ctx, path)
		if (err == nil || isNotFound(err)) && !conditionsHold(&q, r.Method, e, err == nil) {
			return errPrecondition
		}
		switch {
		case e == nil && isNotFound(err):
			return nil
		case e == nil:
			return err
		case e.IsDir() && recursive:
			if err = f.store.RemoveTree(ctx, path, version); err == nil {
				f.drops.sweepSoon()
			}
		default:
			err = f.store.Remove(ctx, path, version, store.Effects{Drops: e.fids()})
			if err == nil {
				f.drops.poke()
			}
		}
		switch {
		case err == nil || isNotFound(err):
			return nil
		case isConflict(err) && tries < maxConflicts:
		case errors.Is(err, store.ErrNotEmpty) && tries < maxConflicts:
			gone, e := f.removeExpired(ctx, path)
			if e != nil || !gone {
				return errors.Join(e, err)
			}
		default:
			return err
		}
	}
}

// removeExpired takes the entries of a directory away that nobody sees any more, and reports whether those were all.
func (f *Filer) removeExpired(ctx context.Context, dir store.Path) (all bool, err error) {
	opts := store.ListOptions{Limit: 100}
	for {
		list, err := f.store.List(ctx, dir, opts)
		if err != nil {
			if isNotFound(err) {
				return true, nil
			}
			return false, err
		}
		for _, rec := range list {
			e, err := decodeEntry(rec.Value)
			if err != nil {
				return false, fmt.Errorf("%s: %w", join(dir, rec.Name), err)
			}
			if !e.expired(f.now()) {
				return false, nil
			}
			err = f.store.Remove(ctx, join(dir, rec.Name), rec.Version, store.Effects{Drops: e.fids()})
			if err != nil && !isNotFound(err) && !isConflict(err) {
				return false, err
			}
			opts.After = rec.Name
		}
		if len(list) < opts.Limit {
			return true, nil
		}
	}
}

// purge is an expired entry that somebody came across.
type purge struct {
	path    store.Path
	version store.Version
	drops   []string
}

// purgeLater has an expired entry removed in the background. When there are too many, somebody else will come across
// them.
func (f *Filer) purgeLater(path store.Path, version store.Version, e *Entry) {
	select {
	case f.purge <- purge{path, version, e.fids()}:
	default:
	}
}

// purgeExpired removes what purgeLater was told, until ctx ends.
func (f *Filer) purgeExpired(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-f.purge:
			_ = f.removeExpiredEntry(ctx, p) // if that fails it is there next time
		}
	}
}

// tag adds tags to a file or directory.
func (f *Filer) tag(w http.ResponseWriter, r *http.Request, path store.Path) {
	tags, err := tagsOf(r.Header)
	if err == nil && len(tags) == 0 {
		err = fmt.Errorf("%w: give tags as header fields, %sName: value", errParameter, tagPrefix)
	}
	if err == nil {
		err = f.changeTags(r.Context(), path, func(e *Entry) { e.Extended = merge(e.Extended, tags) })
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	answerJSON(w, r, http.StatusAccepted, []byte(`{"error":""}`))
}

// changeTags changes an entry's tags, whatever else happens to it meanwhile.
func (f *Filer) changeTags(ctx context.Context, path store.Path, change func(*Entry)) error {
	if path == "/" {
		return errRoot
	}
	if isReserved(path) {
		return errReserved
	}
	for tries := 0; ; tries++ {
		e, version, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		change(e)
		if err := checkTags(e.Extended); err != nil {
			return err
		}
		_, err = f.store.Put(ctx, path, version, store.Record{Dir: e.IsDir(), Value: e.encode()}, store.Effects{})
		if !isConflict(err) || tries == maxConflicts {
			return err
		}
	}
}
