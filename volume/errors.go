package volume

import (
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/httpx"
	"weed/internal/upload"
	"weed/storage"
)

// errorTable maps kinds of errors to answers. The first row that matches counts. An empty text stands for
// the error's own.
var errorTable = []struct {
	kind       error
	status     int
	text       string
	retryAfter int // seconds; 0 for no header
}{
	{blob.ErrMalformed, fasthttp.StatusBadRequest, "", 0},
	{errParameter, fasthttp.StatusBadRequest, "", 0},
	{errDigest, fasthttp.StatusBadRequest, "", 0},
	{errGzip, fasthttp.StatusBadRequest, "", 0},
	{errCoding, fasthttp.StatusUnsupportedMediaType, "", 0},
	{errChunk, fasthttp.StatusInternalServerError, errChunk.Error(), 0},
	{storage.ErrCorrupt, fasthttp.StatusInternalServerError, "this copy of the blob is damaged and is not served", 0},
	{errManifest, fasthttp.StatusBadRequest, "", 0},
	{errTooLarge, fasthttp.StatusRequestEntityTooLarge, "", 0},
	{upload.ErrMalformed, fasthttp.StatusBadRequest, "", 0},
	{upload.ErrTruncated, fasthttp.StatusBadRequest, "", 0},
	{upload.ErrNoPart, fasthttp.StatusBadRequest, "", 0},
	{httprange.ErrUnsatisfiable, fasthttp.StatusRequestedRangeNotSatisfiable, "", 0},
	{storage.ErrNotFound, fasthttp.StatusNotFound, "not found", 0},
	{storage.ErrNoVolume, fasthttp.StatusNotFound, "", 0},
	{storage.ErrCookie, fasthttp.StatusForbidden, "", 0},
	{storage.ErrTooLarge, fasthttp.StatusRequestEntityTooLarge, "", 0},
	{storage.ErrNoSpace, fasthttp.StatusInsufficientStorage, "the disk is full: free some room or ask for another volume", 0},
	{storage.ErrFull, fasthttp.StatusServiceUnavailable, "the volume is full: ask the master for another one", 1},
	{errCopies, fasthttp.StatusServiceUnavailable, "", 0},
	{storage.ErrReadOnly, fasthttp.StatusServiceUnavailable, "", 5},
	{storage.ErrClosed, fasthttp.StatusServiceUnavailable, "the volume is being closed: try again", 1},
	{storage.ErrVolumeExists, fasthttp.StatusConflict, "", 0},
	{storage.ErrNoSlot, fasthttp.StatusInsufficientStorage, "no free volume slot: start the server with a higher -max", 0},
	{client.ErrNotFound, fasthttp.StatusNotFound, "not found", 0},
	{client.ErrUnavailable, fasthttp.StatusServiceUnavailable, "another server that this needs does not answer: try again", 1},
}

// fail answers a request with what the table says of err, and logs what the table does not know or what an
// operator must hear of.
func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) {
	if httpx.Fail(ctx, err) {
		return
	}
	for _, row := range errorTable {
		if !errors.Is(err, row.kind) {
			continue
		}
		text := row.text
		if text == "" {
			text = err.Error()
		}
		if row.retryAfter > 0 {
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(row.retryAfter))
		}
		if row.status == fasthttp.StatusInternalServerError { // the others are said where they begin
			s.cfg.Logger.Error("request failed", "method", string(ctx.Method()), "path", string(ctx.Path()), "error", err)
		}
		httpx.Error(ctx, row.status, text)
		return
	}
	s.cfg.Logger.Error("request failed", "method", string(ctx.Method()), "path", string(ctx.Path()), "error", err)
	httpx.Error(ctx, fasthttp.StatusInternalServerError, "the server failed to do this: its log says why")
}
