package filer

import (
	"net/http"
	"strings"

	"weed/filer/store"
	"weed/internal/httprange"
)

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
