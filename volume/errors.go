package volume

import (
	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/httpx"
	"weed/internal/upload"
	"weed/replication"
	"weed/storage"
)

// errorTable maps kinds of errors to answers.
var errorTable = httpx.ErrorTable{
	{Kind: blob.ErrMalformed, Status: fasthttp.StatusBadRequest},
	{Kind: errParameter, Status: fasthttp.StatusBadRequest},
	{Kind: errKey, Status: fasthttp.StatusBadRequest},
	{Kind: errDigest, Status: fasthttp.StatusBadRequest},
	{Kind: errGzip, Status: fasthttp.StatusBadRequest},
	{Kind: errCoding, Status: fasthttp.StatusUnsupportedMediaType},
	{Kind: errChunk, Status: fasthttp.StatusInternalServerError, Text: errChunk.Error(), Logged: true},
	{Kind: storage.ErrCorrupt, Status: fasthttp.StatusInternalServerError, Text: "this copy of the blob is damaged and is not served", Logged: true},
	{Kind: errPrecondition, Status: fasthttp.StatusPreconditionFailed},
	{Kind: errManifest, Status: fasthttp.StatusBadRequest},
	{Kind: errImageLarge, Status: fasthttp.StatusUnprocessableEntity},
	{Kind: errImageTime, Status: fasthttp.StatusUnprocessableEntity},
	{Kind: errImageBusy, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 1},
	{Kind: errTooLarge, Status: fasthttp.StatusRequestEntityTooLarge},
	{Kind: upload.ErrMalformed, Status: fasthttp.StatusBadRequest},
	{Kind: upload.ErrTruncated, Status: fasthttp.StatusBadRequest},
	{Kind: upload.ErrNoPart, Status: fasthttp.StatusBadRequest},
	{Kind: httprange.ErrUnsatisfiable, Status: fasthttp.StatusRequestedRangeNotSatisfiable},
	{Kind: storage.ErrNotFound, Status: fasthttp.StatusNotFound, Text: "not found"},
	{Kind: storage.ErrNoVolume, Status: fasthttp.StatusNotFound},
	{Kind: storage.ErrCookie, Status: fasthttp.StatusForbidden},
	{Kind: storage.ErrTooLarge, Status: fasthttp.StatusRequestEntityTooLarge},
	{Kind: storage.ErrNoSpace, Status: fasthttp.StatusInsufficientStorage, Text: "the disk is full: free some room or ask for another volume"},
	{Kind: storage.ErrFull, Status: fasthttp.StatusServiceUnavailable, Text: "the volume is full: ask the master for another one", RetryAfterSeconds: 1},
	{Kind: replication.ErrCopies, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 5},
	{Kind: replication.ErrNotPrimary, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 1,
		Text: "another copy of the volume has just taken the lead: try again"},
	{Kind: storage.ErrUnsettled, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 1},
	{Kind: storage.ErrOutcomeUnknown, Status: fasthttp.StatusGatewayTimeout},
	{Kind: storage.ErrWait, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 1, Text: unsureText},
	{Kind: storage.ErrReadOnly, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 5},
	{Kind: storage.ErrClosed, Status: fasthttp.StatusServiceUnavailable, Text: "the volume is being closed: try again", RetryAfterSeconds: 1},
	{Kind: errGeneration, Status: fasthttp.StatusConflict},
	{Kind: storage.ErrCompacted, Status: fasthttp.StatusConflict},
	{Kind: storage.ErrAlive, Status: fasthttp.StatusConflict},
	{Kind: errBeyond, Status: fasthttp.StatusRequestedRangeNotSatisfiable},
	{Kind: storage.ErrVolumeExists, Status: fasthttp.StatusConflict},
	{Kind: storage.ErrNoSlot, Status: fasthttp.StatusInsufficientStorage, Text: "no free volume slot: start the server with a higher -max"},
	{Kind: client.ErrNotFound, Status: fasthttp.StatusNotFound, Text: "not found"},
	{Kind: client.ErrUnavailable, Status: fasthttp.StatusServiceUnavailable, Text: "another server that this needs does not answer: try again", RetryAfterSeconds: 1},
}

func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) { errorTable.Fail(ctx, s.cfg.Logger, err) }
