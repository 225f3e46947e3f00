package filer

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/upload"
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
