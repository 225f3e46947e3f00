package filer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"weed/filer/store"
	"weed/internal/httpx"
)

const (
	defaultFileMode = fs.FileMode(0o644)
	defaultDirMode  = fs.FileMode(0o755)

	maxConflicts = 1000 // changes of one path by others that a write lives through
)

// put stores a file, appends to one, or makes a directory.
func (f *Filer) put(w http.ResponseWriter, r *http.Request, path store.Path, dir bool) {
	ctx := r.Context()
	if dir && r.ContentLength == 0 && r.Header.Get("Content-Disposition") == "" {
		f.makeDir(w, r, path)
		return
	}
	q := &request{path: path, started: f.now()}
	err := f.parse(q, r)
	var old *Entry
	var version store.Version
	if err == nil && !dir { // what can be refused is refused before the body comes
		old, version, err = f.find(ctx, path)
		if err = f.checkTarget(q, r.Method, old, err); errors.Is(err, store.ErrNotFound) {
			err = nil
		}
	}
	var c *content
	if err == nil {
		c, err = f.open(ctx, w, r)
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	defer c.close()
	if dir {
		if err = q.nameIn(path, c); err == nil {
			old, version, err = f.find(ctx, q.path)
			if err = f.checkTarget(q, r.Method, old, err); errors.Is(err, store.ErrNotFound) {
				err = nil
			}
		}
		if err != nil {
			f.fail(w, r, err)
			return
		}
	}
	f.place(q, old)
	in, err := f.ingest(ctx, c.r, c.size, q.place, q.chunkBytes, blobMime(c.mime, q))
	if err == nil {
		if err = c.finish(in.md5); err == nil {
			err = f.keep(ctx, q, r.Method, c.mime, &in, old, version)
		} else {
			f.claims.abandon(in.slots...)
		}
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	e := entryWritten{name: baseName(q.path), size: in.size}
	w.Header()["ETag"] = []string{q.kept.etag()}
	answerJSON(w, r, http.StatusCreated, e.json())
}

type entryWritten struct {
	name string
	size int64
}

func (e entryWritten) json() []byte {
	b := append(make([]byte, 0, 64), `{"name":`...)
	b = httpx.AppendString(b, e.name)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, e.size, 10)
	return append(b, '}')
}

// maxUnixSeconds is the last second that a record can tell.
const maxUnixSeconds = math.MaxInt64/1_000_000_000 - 1

// find returns the entry at a path; one that has expired is not there, but has its version, and its chunks are
// returned along with store.ErrNotFound.
func (f *Filer) find(ctx context.Context, path store.Path) (*Entry, store.Version, error) {
	if path == "/" {
		return &Entry{Mode: fs.ModeDir | defaultDirMode}, 0, nil
	}
	rec, err := f.store.Find(ctx, path)
	if err != nil {
		return nil, 0, err
	}
	e, err := decodeEntry(rec.Value)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if e.expired(f.now()) {
		return e, rec.Version, store.ErrNotFound
	}
	return e, rec.Version, nil
}

// directoryTag stands for the entity tag of a directory: it has none that a client could name, so only `*` matches.
const directoryTag = "\"\x00\""

// keep writes the entry of a content that was uploaded, and settles its slots, whatever comes of it. old and version
// are what was at the path before the upload.
func (f *Filer) keep(ctx context.Context, q *request, method, mime string, in *ingested, old *Entry, version store.Version) error {
	uses := make([]store.Use, len(in.slots))
	for i, s := range in.slots {
		uses[i] = s.use()
	}
	for tries := 0; ; tries++ {
		e, effects, err := f.compose(q, mime, in, old)
		if err == nil {
			effects.Uses = uses
			_, err = f.putRecord(ctx, q.path, version, store.Record{Value: e.encode()}, effects)
		}
		switch {
		case err == nil:
			f.claims.settle(in.slots...)
			if len(effects.Drops) > 0 {
				f.drops.poke()
			}
			q.kept = e
			return nil
		case errors.Is(err, store.ErrClaimLost):
			f.claims.giveUpAll(f.now())
		case isConflict(err) && tries < maxConflicts:
			old, version, err = f.find(ctx, q.path)
			if err = f.checkTarget(q, method, old, err); err == nil || isNotFound(err) {
				continue
			}
		}
		f.claims.abandon(in.slots...)
		return err
	}
}

// compose makes the entry that a write leaves behind, in place of old, which may be nil or expired.
func (f *Filer) compose(q *request, mime string, in *ingested, old *Entry) (*Entry, store.Effects, error) {
	now := f.now()
	mtime := q.mtime
	if mtime.IsZero() {
		mtime = now
	}
	var effects store.Effects
	if old != nil && old.expired(now) {
		effects.Drops = old.fids()
		old = nil
	}
	if q.append && old != nil {
		if q.ttl != old.TTL { // it was replaced during the upload
			return nil, effects, errLifetime
		}
		e := *old
		e.Mtime = mtime
		e.Chunks = slices.Concat(old.Chunks, in.chunks)
		switch {
		case len(old.Chunks) == 0:
			e.MD5 = in.md5[:]
		case len(in.chunks) > 0:
			e.MD5 = nil
		}
		e.Extended = merge(old.Extended, q.tags)
		return &e, effects, errors.Join(checkTags(e.Extended), tooLarge(&e))
	}
	e := &Entry{Mtime: mtime, Crtime: now, Mode: q.mode, Mime: mime + in.mime, Replication: q.place.replication,
		Collection: q.place.collection, TTL: q.ttl, MD5: in.md5[:], Extended: q.tags, Chunks: in.chunks}
	if d := q.ttl.Duration(); d > 0 {
		e.Expires = q.started.Add(d).Unix()
	}
	if old != nil {
		e.Crtime, e.UID, e.GID = old.Crtime, old.UID, old.GID
		if !q.hasMode {
			e.Mode = old.Mode
		}
		effects.Drops = append(effects.Drops, old.fids()...)
	}
	return e, effects, tooLarge(e)
}

// tooLarge refuses an entry whose value may exceed what a store takes.
func tooLarge(e *Entry) error {
	const chunkBytes = 48 // at most
	if len(e.Chunks)*chunkBytes > store.MaxValueBytes-128<<10 {
		return errTooManyParts
	}
	return nil
}

// makeDir answers a request for a directory, which may be there.
func (f *Filer) makeDir(w http.ResponseWriter, r *http.Request, path store.Path) {
	if err := f.ensureDir(r.Context(), path); err != nil {
		f.fail(w, r, err)
		return
	}
	answerJSON(w, r, http.StatusCreated, entryWritten{name: baseName(path)}.json())
}

// unixSeconds is a time as Last-Modified tells it: not later than the answer's own date.
func unixSeconds(t, now time.Time) int64 { return min(t.Unix(), now.Unix()) }
