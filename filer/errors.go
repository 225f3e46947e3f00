package filer

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/httpx"
	"weed/internal/upload"
)

var (
	errParameter    = errors.New("malformed parameter")
	errDigest       = errors.New("Content-MD5 does not match the content: send it again")
	errCoding       = errors.New("Content-Encoding is not known: send the content plain or with gzip")
	errPrecondition = errors.New("the file is not as If-Match, If-None-Match or If-Unmodified-Since of the request wants it")
	errNoName       = errors.New("the path ends in a slash and the body names no file: name it in the path or the form")
	errRoot         = errors.New("the root directory stays where it is")
	errChunk        = errors.New("a part of the file is not what was stored")
	errTooManyParts = errors.New("the file has too many chunks: write it anew with larger ones (maxMB)")
	errListing      = errors.New("directories are not listed here")
	errBody         = errors.New("malformed body")
	errChanged      = errors.New("the rules have changed meanwhile: read them again")
	errLifetime     = errors.New("the file was replaced by one with another time to live meanwhile: try again")
	errNothing      = errors.New("nothing is here")
)

// errorRow says how failures of one kind are answered.
type errorRow struct {
	kind       error
	status     int
	text       string // "" shows the error's own
	retryAfter int    // seconds, 0 sends no header
	logged     bool
}

// errorTable maps errors to answers; the first row that fits counts.
var errorTable = []errorRow{
	{kind: errPrecondition, status: http.StatusPreconditionFailed},
	{kind: errSource, status: http.StatusBadRequest, text: errSource.Error()},
	{kind: errPath, status: http.StatusBadRequest},
	{kind: errReserved, status: http.StatusBadRequest},
	{kind: errParameter, status: http.StatusBadRequest},
	{kind: errDigest, status: http.StatusBadRequest},
	{kind: errBody, status: http.StatusBadRequest},
	{kind: errNoName, status: http.StatusBadRequest},
	{kind: errRoot, status: http.StatusConflict},
	{kind: errChanged, status: http.StatusConflict},
	{kind: errLifetime, status: http.StatusConflict},
	{kind: errVerifying, status: http.StatusConflict},
	{kind: errCoding, status: http.StatusUnsupportedMediaType},
	{kind: errListing, status: http.StatusForbidden},
	{kind: errTooManyParts, status: http.StatusRequestEntityTooLarge},
	{kind: errBusy, status: http.StatusServiceUnavailable, retryAfter: 1},
	{kind: errNothing, status: http.StatusNotFound},
	{kind: blob.ErrMalformed, status: http.StatusBadRequest},
	{kind: upload.ErrMalformed, status: http.StatusBadRequest},
	{kind: upload.ErrTruncated, status: http.StatusBadRequest},
	{kind: upload.ErrNoPart, status: http.StatusBadRequest},
	{kind: httprange.ErrUnsatisfiable, status: http.StatusRequestedRangeNotSatisfiable},
	{kind: errChunk, status: http.StatusInternalServerError, text: "a part of the file is missing or damaged: the server's log names it", logged: true},
	{kind: errValue, status: http.StatusInternalServerError, text: "the entry is damaged: the server's log says more", logged: true},
	{kind: store.ErrNotFound, status: http.StatusNotFound, text: "not found"},
	{kind: store.ErrNoParent, status: http.StatusNotFound, text: "a directory above does not exist any more: try again"},
	{kind: store.ErrNotDirectory, status: http.StatusConflict, text: "something on the way to this path is a file, which can hold nothing"},
	{kind: store.ErrIsDirectory, status: http.StatusConflict, text: "a directory and a file can't take each other's place"},
	{kind: store.ErrNotEmpty, status: http.StatusConflict, text: "the directory is not empty: empty it, or add ?recursive=true"},
	{kind: store.ErrConflict, status: http.StatusConflict, text: "others change this path all the time: try again"},
	{kind: store.ErrIntoItself, status: http.StatusConflict},
	{kind: store.ErrClaimLost, status: http.StatusServiceUnavailable, text: "the upload took too long: try again", retryAfter: 1},
	{kind: store.ErrUnavailable, status: http.StatusServiceUnavailable, text: "the filer's store does not answer: try again", retryAfter: 2},
	{kind: store.ErrClosed, status: http.StatusServiceUnavailable, text: "the filer ends: try again", retryAfter: 2},
	{kind: client.ErrNoFreeVolumes, status: http.StatusInsufficientStorage, text: "no volume takes the file: add volume servers or slots"},
	{kind: client.ErrNoSpace, status: http.StatusInsufficientStorage, text: "the disks of the volume servers are full"},
	{kind: client.ErrTooLarge, status: http.StatusRequestEntityTooLarge, text: "the volume servers take no chunk of this size: choose a smaller maxMB"},
	{kind: client.ErrInvalid, status: http.StatusBadRequest, text: "the masters do not know such a collection, replication, ttl or dataCenter"},
	{kind: client.ErrUnavailable, status: http.StatusServiceUnavailable, text: "the masters or volume servers that this needs do not answer: try again", retryAfter: 2},
	{kind: context.Canceled, status: http.StatusServiceUnavailable, text: "the request was cut off", retryAfter: 1},
	{kind: context.DeadlineExceeded, status: http.StatusServiceUnavailable, text: "this took too long: try again", retryAfter: 2},
}

var unknownError = errorRow{status: http.StatusInternalServerError, text: "the server failed on this request: its log says why", logged: true}

// fail answers a request that failed with err by the row that fits.
func (f *Filer) fail(w http.ResponseWriter, r *http.Request, err error) {
	row := &unknownError
	for i := range errorTable {
		if errors.Is(err, errorTable[i].kind) {
			row = &errorTable[i]
			break
		}
	}
	if row.logged {
		f.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	} else if now := time.Now().Unix(); errors.Is(err, store.ErrUnavailable) && f.warned.Swap(now) != now {
		f.log.Warn("the store fails: this is said once a second", "method", r.Method, "path", r.URL.Path, "error", err)
	} else if row.status >= 500 {
		f.log.Debug("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if row.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(row.retryAfter))
	}
	text := row.text
	if text == "" {
		text = err.Error()
	}
	answerError(w, r, row.status, text)
}

// answerError answers with {"error":"text"}.
func answerError(w http.ResponseWriter, r *http.Request, status int, text string) {
	b := append([]byte(`{"error":`), httpx.AppendString(nil, text)...)
	answerJSON(w, r, status, append(b, '}'))
}

func isConflict(err error) bool { return errors.Is(err, store.ErrConflict) }

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
