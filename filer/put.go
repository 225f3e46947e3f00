package filer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/httpx"
	"weed/internal/upload"
)

const (
	defaultFileMode = fs.FileMode(0o644)
	defaultDirMode  = fs.FileMode(0o755)

	tagPrefix   = "Seaweed-" // header fields that are kept with a file
	maxTagBytes = 32 << 10   // of all tags of an entry

	maxConflicts = 1000 // changes of one path by others that a write lives through
)

// request is what a PUT or POST asks for.
type request struct {
	path       store.Path
	conditions httprange.Conditions
	append     bool
	mode       fs.FileMode
	hasMode    bool
	mtime      time.Time // zero: when it is written
	place      place
	ttl        blob.TTL
	chunkBytes int64
	tags       map[string]string
	started    time.Time // the time to live counts from here, as that of the first chunk does

	kept *Entry // what was written
}

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

// nameIn makes the path of a content that is put into a directory.
func (q *request) nameIn(dir store.Path, c *content) error {
	if c.name == "" {
		return errNoName
	}
	if c.cut {
		return fmt.Errorf("%w: a name is longer than %d bytes", errPath, maxNameBytes)
	}
	path, _, err := parsePath(string(join(dir, c.name)))
	if err == nil && isReserved(path) {
		err = errReserved
	}
	q.path = path
	return err
}

// parse reads the parameters and header fields of a write. Where a file goes is left to place.
func (f *Filer) parse(q *request, r *http.Request) error {
	q.chunkBytes, q.mode = f.cfg.ChunkBytes, defaultFileMode
	q.conditions = writeConditions(r.Header)
	var err error
	if q.tags, err = tagsOf(r.Header); err != nil || r.URL.RawQuery == "" {
		return err
	}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errParameter // route has looked
	}
	switch op := v.Get("op"); op {
	case "":
	case "append":
		q.append = true
	default:
		return fmt.Errorf("%w op %.40q: append is the only one", errParameter, op)
	}
	if text := v.Get("maxMB"); text != "" {
		most := max(f.cfg.ChunkBytes, f.cfg.BufferBytes/3) >> 20
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("%w maxMB %.40q: give 1 to %d", errParameter, text, most)
		}
		q.chunkBytes = n << 20
	}
	if text := v.Get("mode"); text != "" {
		n, err := strconv.ParseUint(text, 8, 32)
		if err != nil || n > 0o777 {
			return fmt.Errorf("%w mode %.40q: give permissions as octal digits, such as 644", errParameter, text)
		}
		q.mode, q.hasMode = fs.FileMode(n), true
	}
	if text := v.Get("ts"); text != "" {
		if q.mtime, err = parseTime(text); err != nil {
			return err
		}
	}
	if q.ttl, err = blob.ParseTTL(v.Get("ttl")); err != nil {
		return err
	}
	q.place.collection, q.place.replication, q.place.dataCenter = v.Get("collection"), v.Get("replication"), v.Get("dataCenter")
	if _, err = blob.ParsePlacement(q.place.replication); err != nil {
		return err
	}
	return blob.CheckCollection(q.place.collection)
}

// maxUnixSeconds is the last second that a record can tell.
const maxUnixSeconds = math.MaxInt64/1_000_000_000 - 1

// parseTime reads unix seconds, with or without decimals.
func parseTime(text string) (time.Time, error) {
	whole, part, decimal := strings.Cut(text, ".")
	seconds, err := strconv.ParseUint(whole, 10, 63)
	nanoseconds := uint64(0)
	if err == nil && decimal && len(part) <= 9 {
		nanoseconds, err = strconv.ParseUint((part + "000000000")[:9], 10, 63)
	}
	if err != nil || seconds > maxUnixSeconds || decimal && (part == "" || len(part) > 9) {
		return time.Time{}, fmt.Errorf("%w ts %.40q: give unix seconds, such as 1700000000 or 1700000000.25", errParameter, text)
	}
	return time.Unix(int64(seconds), int64(nanoseconds)), nil
}

// place fills in what the request leaves open: the rule of the longest prefix, then the filer's defaults. What is appended
// to old lives as long as that: a file never outlives a part of it.
func (f *Filer) place(q *request, old *Entry) {
	rule := f.rules.Load().of(q.path)
	for _, d := range [...]struct {
		field      *string
		rule, last string
	}{
		{&q.place.collection, rule.Collection, f.cfg.Collection},
		{&q.place.replication, rule.Replication, f.cfg.Replication},
	} {
		if *d.field == "" {
			*d.field = d.rule
		}
		if *d.field == "" {
			*d.field = d.last
		}
	}
	if q.ttl.IsZero() {
		q.ttl, _ = blob.ParseTTL(rule.TTL) // checked when it was set
	}
	if q.append && old != nil && !old.expired(f.now()) {
		q.ttl = old.TTL
	}
	q.place.ttl = q.ttl.String()
}

func writeConditions(h http.Header) httprange.Conditions {
	return httprange.Conditions{
		IfMatch:           listField(h, "If-Match"),
		IfNoneMatch:       listField(h, "If-None-Match"),
		IfUnmodifiedSince: listField(h, "If-Unmodified-Since"),
	}
}

// listField joins the lines of a field (RFC 9110 section 5.3).
func listField(h http.Header, name string) []byte {
	switch lines := h[name]; len(lines) {
	case 0:
		return nil
	case 1:
		return []byte(lines[0])
	default:
		return []byte(strings.Join(lines, ", "))
	}
}

// tagsOf gathers the Seaweed-* fields of a request's head.
func tagsOf(h http.Header) (map[string]string, error) {
	var tags map[string]string
	size := 0
	for name, values := range h {
		if len(name) <= len(tagPrefix) || !strings.HasPrefix(name, tagPrefix) {
			continue
		}
		if tags == nil {
			tags = make(map[string]string)
		}
		tags[name] = values[0]
		if size += len(name) + len(values[0]); size > maxTagBytes {
			return nil, fmt.Errorf("%w: more than %d bytes of %s* fields", errParameter, maxTagBytes, tagPrefix)
		}
	}
	return tags, nil
}

// checkTags refuses more than an answer's head can carry.
func checkTags(tags map[string]string) error {
	size := 0
	for k, v := range tags {
		size += len(k) + len(v)
	}
	if size > maxTagBytes {
		return fmt.Errorf("%w: more than %d bytes of tags", errParameter, maxTagBytes)
	}
	return nil
}

// blobMime is the type that a file's only chunk is stored with, so that a volume server can serve it, and compress
// what is worth it.
func blobMime(sent string, q *request) string {
	if sent == "" {
		sent = upload.TypeByName(baseName(q.path))
	}
	if strings.HasPrefix(strings.ToLower(sent), "multipart/form-data") {
		return ""
	}
	return sent
}

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

// checkTarget refuses a write to what is at its path: old, and what find said about it.
func (f *Filer) checkTarget(q *request, method string, old *Entry, err error) error {
	if err != nil && !isNotFound(err) {
		return err
	}
	if err == nil && old.IsDir() {
		return store.ErrIsDirectory
	}
	if !conditionsHold(q, method, old, err == nil) {
		return errPrecondition
	}
	return err
}

// directoryTag stands for the entity tag of a directory: it has none that a client could name, so only `*` matches.
const directoryTag = "\"\x00\""

// conditionsHold evaluates the conditions of a change to e, or to nothing if it is not there.
func conditionsHold(q *request, method string, e *Entry, there bool) bool {
	c := &q.conditions
	if len(c.IfMatch)+len(c.IfNoneMatch)+len(c.IfUnmodifiedSince) == 0 {
		return true
	}
	etag, modified := "", int64(0)
	if there {
		etag, modified = directoryTag, e.Mtime.Unix()
		if !e.IsDir() {
			etag = e.etag()
		}
	}
	return httprange.Evaluate(method, *c, etag, modified) != httprange.PreconditionFailed
}

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

func merge(tags, more map[string]string) map[string]string {
	if len(more) == 0 {
		return tags
	}
	all := make(map[string]string, len(tags)+len(more))
	maps.Copy(all, tags)
	maps.Copy(all, more)
	return all
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
