package filer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	pathpkg "path"
	"strconv"
	"strings"

	"weed/filer/store"
	"weed/internal/httpx"
)

const (
	defaultListLimit = 100

	// Records that are in memory at a time: few at first, then as many as make batchBytes.
	firstBatch, maxBatch = 32, 1000
	batchBytes           = 8 << 20

	// listedAtOnce is how many entries all listings that go on may be asked for.
	listedAtOnce = 1_000_000
)

// nextBatch returns how many records to ask for behind a batch.
func nextBatch(list []store.Record) int {
	size := 1
	for i := range list {
		size += len(list[i].Value)
	}
	return max(1, min(maxBatch, batchBytes*len(list)/size))
}

// listing is a page of a directory that is asked for.
type listing struct {
	dir     store.Path
	limit   int
	after   string
	pattern string
}

// walk calls visit for up to limit entries of a directory that are there, and reports whether there are more.
func (f *Filer) walk(ctx context.Context, l listing, visit func(name string, e *Entry) error) (more bool, err error) {
	opts := store.ListOptions{Prefix: literalPrefix(l.pattern), After: l.after}
	batch := firstBatch
	for left := l.limit; ; {
		opts.Limit = batch
		if l.pattern == "" {
			opts.Limit = min(batch, left+1)
		}
		list, err := f.store.List(ctx, l.dir, opts)
		if err != nil {
			return false, err
		}
		now := f.now()
		for _, rec := range list {
			opts.After = rec.Name
			if l.pattern != "" {
				if ok, _ := pathpkg.Match(l.pattern, rec.Name); !ok { // checked before
					continue
				}
			}
			e, err := decodeEntry(rec.Value)
			if err != nil {
				return false, fmt.Errorf("%s: %w", join(l.dir, rec.Name), err)
			}
			if e.expired(now) {
				f.purgeLater(join(l.dir, rec.Name), rec.Version, e)
				continue
			}
			if left == 0 {
				return true, nil
			}
			left--
			if err := visit(rec.Name, e); err != nil {
				return false, err
			}
		}
		if len(list) < opts.Limit {
			return false, nil
		}
		batch = nextBatch(list)
	}
}

// literalPrefix returns what all names that fit a pattern begin with.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// list answers GET of a directory: a page for browsers, else JSON.
func (f *Filer) list(w http.ResponseWriter, r *http.Request, dir store.Path, query url.Values) error {
	if f.cfg.DisableDirListing {
		return errListing
	}
	l := listing{dir: dir, limit: min(defaultListLimit, f.cfg.DirListLimit), after: query.Get("lastFileName"), pattern: query.Get("namePattern")}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return fmt.Errorf("%w limit %.40q: give a number from 1 on", errParameter, text)
		}
		l.limit = int(min(n, uint64(f.cfg.DirListLimit)))
	}
	if _, err := pathpkg.Match(l.pattern, ""); err != nil {
		return fmt.Errorf("%w namePattern %.100q: * stands for any letters, ? for one, [a-z] for one of these, and what follows a \\ "+
			"for itself", errParameter, l.pattern)
	}
	leave, err := f.enterListing(r.Context(), l.limit)
	if err != nil {
		return err
	}
	defer leave()
	if wantsPage(r, query) {
		return f.listPage(w, r, l)
	}
	w.Header()["Content-Type"] = jsonType
	w.Header()["Vary"] = []string{"Accept"}
	out := &lateWriter{w: w}
	buffered := bufio.NewWriterSize(out, 64<<10)
	var into io.Writer = buffered
	if isPretty(r) {
		into = &indenter{out: buffered}
	}
	if err = f.writeListing(r.Context(), into, l); err == nil {
		err = buffered.Flush()
	}
	if err != nil && out.begun {
		out.breakOff(f, dir, err)
	}
	return err
}

// enterListing waits for its turn among the listings that go on: each keeps something of its entries until the client
// has taken it.
func (f *Filer) enterListing(ctx context.Context, entries int) (leave func(), err error) {
	limited, cancel := context.WithTimeout(ctx, bufferWait)
	defer cancel()
	if f.listings.Acquire(limited, int64(entries)) != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errBusy
	}
	return func() { f.listings.Release(int64(entries)) }, nil
}

// lateWriter notes whether anything was written: until then an error can be answered.
type lateWriter struct {
	w     http.ResponseWriter
	begun bool
	gone  bool // the client takes no more
}

func (l *lateWriter) Write(b []byte) (int, error) {
	l.begun = true
	n, err := l.w.Write(b)
	l.gone = l.gone || err != nil
	return n, err
}

// breakOff ends an answer that has begun. A client that is gone is nobody's fault.
func (l *lateWriter) breakOff(f *Filer, path store.Path, err error) {
	if l.gone {
		panic(http.ErrAbortHandler)
	}
	f.breakOff(path, err)
}

// writeListing writes a page as JSON. What does not depend on the size of entries is gathered meanwhile.
func (f *Filer) writeListing(ctx context.Context, out interface{ Write([]byte) (int, error) }, l listing) error {
	slashed := string(l.dir)
	if slashed != "/" {
		slashed += "/"
	}
	b := append(make([]byte, 0, 1024), `{"Path":`...)
	b = httpx.AppendString(b, slashed)
	b = append(b, `,"Entries":[`...)
	var files, dirs []byte
	count, last := 0, ""
	more, err := f.walk(ctx, l, func(name string, e *Entry) error {
		if count++; count > 1 {
			b = append(b, ',')
		}
		last = name
		b = e.appendJSON(b, join(l.dir, name))
		if e.IsDir() {
			dirs = append(httpx.AppendString(dirs, name), ',')
		} else {
			files = append(files, `{"name":`...)
			files = httpx.AppendString(files, name)
			files = append(files, `,"fid":"`...)
			if len(e.Chunks) > 0 {
				files = e.Chunks[0].FID.AppendText(files)
			}
			files = append(files, `"},`...)
		}
		_, err := out.Write(b)
		b = b[:0]
		return err
	})
	if err != nil {
		return err
	}
	b = append(b, `],"Limit":`...)
	b = strconv.AppendInt(b, int64(l.limit), 10)
	b = append(b, `,"LastFileName":`...)
	b = httpx.AppendString(b, last)
	b = append(b, `,"ShouldDisplayLoadMore":`...)
	b = strconv.AppendBool(b, more)
	b = append(b, `,"Directory":`...)
	b = httpx.AppendString(b, slashed)
	b = append(b, `,"Files":[`...)
	b = append(b, trimComma(files)...)
	b = append(b, `],"Subdirectories":[`...)
	b = append(b, trimComma(dirs)...)
	_, err = out.Write(append(b, "]}"...))
	return err
}

func trimComma(list []byte) []byte { return list[:max(len(list)-1, 0)] }
