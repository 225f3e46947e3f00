package filer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"weed/filer/store"
)

const maxEntryLine = 64 << 20 // bytes of one entry as JSON

// serveEntries answers /.weed/entries: all entries below a path as lines of JSON, or takes such lines in.
func (f *Filer) serveEntries(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		f.load(w, r)
		return
	}
	text := r.URL.Query().Get("path")
	if text == "" {
		text = "/"
	}
	path, _, err := parsePath(text)
	if err == nil {
		err = f.dump(w, r, path)
	}
	if err != nil {
		f.fail(w, r, err)
	}
}

// dump sends the entry of a file, or all that is below a directory: each directory before what it holds, names in
// byte order.
func (f *Filer) dump(w http.ResponseWriter, r *http.Request, path store.Path) error {
	e, _, err := f.find(r.Context(), path)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return nil
	}
	late := &lateWriter{w: w}
	out := bufio.NewWriterSize(late, 64<<10)
	var line []byte
	emit := func(path store.Path, e *Entry) error {
		line = append(e.appendJSON(line[:0], path), '\n')
		_, err := out.Write(line)
		return err
	}
	if e.IsDir() {
		err = f.visitTree(r.Context(), path, emit)
	} else {
		err = emit(path, e)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil && late.begun {
		late.breakOff(f, path, err)
	}
	if err != nil {
		w.Header().Del("Content-Type")
	}
	return err
}

// visitTree calls visit for all entries below a directory that have not expired.
func (f *Filer) visitTree(ctx context.Context, dir store.Path, visit func(store.Path, *Entry) error) error {
	return visitRecords(ctx, f.store.List, dir, func(path store.Path, rec *store.Record) error {
		e, err := decodeEntry(rec.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if e.expired(f.now()) {
			return nil
		}
		return visit(path, e)
	})
}

// lister is store.Store.List.
type lister func(context.Context, store.Path, store.ListOptions) ([]store.Record, error)

// visitRecords calls visit for all records below a directory, each directory before what it holds, names in byte order.
// Memory: a page for each level. What is removed meanwhile is left out, and what is moved meanwhile may be.
func visitRecords(ctx context.Context, lists lister, dir store.Path, visit func(store.Path, *store.Record) error) error {
	opts := store.ListOptions{Limit: firstBatch}
	for {
		list, err := lists(ctx, dir, opts)
		if isNotFound(err) || errors.Is(err, store.ErrNotDirectory) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range list {
			rec := &list[i]
			opts.After = rec.Name
			path := join(dir, rec.Name)
			if err := visit(path, rec); err != nil {
				return err
			}
			if rec.Dir {
				if err := visitRecords(ctx, lists, path, visit); err != nil {
					return err
				}
			}
		}
		if len(list) < opts.Limit {
			return nil
		}
		opts.Limit = nextBatch(list)
	}
}

// loaded is the answer to entries that were taken in.
type loaded struct {
	Files       int    `json:"files"`
	Directories int    `json:"directories"`
	Failed      int    `json:"failed"`
	FirstError  string `json:"firstError,omitempty"`
}

// loadersAtOnce entries of one request are written at the same time: they share the store's syncs.
const loadersAtOnce = 32

// loader writes the entries of one request.
type loader struct {
	f     *Filer
	group sync.WaitGroup
	room  chan struct{} // loadersAtOnce

	mu     sync.Mutex
	result loaded
	fatal  error // the store is away
}

// add writes an entry in the background, unless err says that there is none.
func (l *loader) add(ctx context.Context, path store.Path, e *Entry, err error) {
	if err != nil {
		l.count(e, err)
		return
	}
	l.room <- struct{}{}
	l.group.Go(func() {
		l.count(e, l.f.loadEntry(ctx, path, e))
		<-l.room
	})
}

func (l *loader) count(e *Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		l.fatal = err
	case err != nil:
		if l.result.Failed++; l.result.Failed == 1 {
			l.result.FirstError = err.Error()
		}
	case e.IsDir():
		l.result.Directories++
	default:
		l.result.Files++
	}
}

func (l *loader) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// load takes entries in, line by line: they replace what is at their paths, with the chunks that they name. A line
// that does not fit is counted, and the others go on; a store that is away ends it.
func (f *Filer) load(w http.ResponseWriter, r *http.Request) {
	lines := bufio.NewScanner(f.newBodyReader(w, r))
	lines.Buffer(make([]byte, 64<<10), maxEntryLine)
	l := loader{f: f, room: make(chan struct{}, loadersAtOnce)}
	for l.failure() == nil && lines.Scan() {
		if len(lines.Bytes()) > 0 {
			path, e, err := parseEntry(lines.Bytes())
			l.add(r.Context(), path, e, err)
		}
	}
	l.group.Wait()
	f.drops.poke()
	switch err := lines.Err(); {
	case l.fatal != nil:
		f.fail(w, r, l.fatal)
	case errors.Is(err, bufio.ErrTooLong):
		f.fail(w, r, fmt.Errorf("%w: a line is longer than %d bytes", errBody, maxEntryLine))
	case err != nil:
		f.fail(w, r, fmt.Errorf("%w: %w", errSource, err))
	default:
		answerValue(w, r, http.StatusOK, &l.result)
	}
}

func (f *Filer) loadEntry(ctx context.Context, path store.Path, e *Entry) error {
	if path == "/" {
		return nil
	}
	for tries := 0; ; tries++ {
		old, version, err := f.find(ctx, path)
		if err != nil && !isNotFound(err) {
			return err
		}
		if old != nil && old.IsDir() != e.IsDir() {
			return fmt.Errorf("%s: %w", path, store.ErrIsDirectory)
		}
		effects := store.Effects{Drops: without(old.fids(), e.fids())}
		err = f.relocate(path, false, func() error {
			_, err := f.putRecord(ctx, path, version, store.Record{Dir: e.IsDir(), Value: e.encode()}, effects)
			return err
		})
		if !isConflict(err) || tries == maxConflicts {
			return err
		}
	}
}

// without returns what of a list is not in another one.
func without(list, kept []string) []string {
	if len(list) == 0 {
		return nil
	}
	in := make(map[string]bool, len(kept))
	for _, k := range kept {
		in[k] = true
	}
	var rest []string
	for _, one := range list {
		if !in[one] {
			rest = append(rest, one)
		}
	}
	return rest
}
