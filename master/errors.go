package master

import (
	"context"
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/master/state"
	"weed/raftstore"
	"weed/topology"
)

// Kinds of failure of this package; errorTable says what they are to a client.
var (
	errMalformed   = errors.New("malformed parameter")
	errOrder       = errors.New("a volume server did not carry out an order")
	errNotFound    = errors.New("not found")
	errDiskFull    = errors.New("the disks of the volume servers are full: free some room or add a server")
	errNotWritten  = errors.New("no volume server took the blob")
	errUnreachable = errors.New("is on servers that do not answer at the moment: try again")
)

// answer is one row of errorTable.
type answer struct {
	err        error
	status     int
	text       string // "" shows the error's own
	retryAfter int    // seconds, 0 sends no header
}

// errorTable maps failures to answers; the first row that fits counts.
var errorTable = []answer{
	{blob.ErrMalformed, fasthttp.StatusNotAcceptable, "", 0},
	{errMalformed, fasthttp.StatusNotAcceptable, "", 0},
	{errNotFound, fasthttp.StatusNotFound, "", 0},
	{errUnreachable, fasthttp.StatusServiceUnavailable, "", 5},
	{topology.ErrUnknownDataCenter, fasthttp.StatusBadRequest, "unknown data center: name one that /dir/status shows", 0},
	{topology.ErrUnknownRack, fasthttp.StatusBadRequest, "unknown rack: name one that /dir/status shows in the data center", 0},
	{topology.ErrUnknownNode, fasthttp.StatusBadRequest, "unknown data node: name the url of one that /dir/status shows", 0},
	{topology.ErrBadHeartbeat, fasthttp.StatusBadRequest, "", 0},
	{topology.ErrNoFreeSlots, fasthttp.StatusNotFound, "No free volumes left!", 0},
	{topology.ErrCannotPlace, fasthttp.StatusInternalServerError, "Cannot grow volume group! Not enough data node found!", 0},
	{errOrder, fasthttp.StatusInternalServerError, "Cannot grow volume group! The volume servers did not carry out the order: see the master's log", 0},
	{topology.ErrNoWritable, fasthttp.StatusServiceUnavailable, "no volume is writable for longer than a moment: try again", 1},
	{state.ErrExhausted, fasthttp.StatusInternalServerError, "the cluster has run out of keys or of volume ids", 0},
	{errDiskFull, fasthttp.StatusInsufficientStorage, "", 0},
	{errNotWritten, fasthttp.StatusServiceUnavailable, "no volume server took the blob: try again in a moment", 1},
	{client.ErrUnavailable, fasthttp.StatusServiceUnavailable, "a volume server can't be reached: try again in a moment", 1},
	{errNoLeader, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
	{raftstore.ErrNotLeader, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
	{raftstore.ErrNoLeader, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
	{raftstore.ErrOutcomeUnknown, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
	{raftstore.ErrClosed, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
	{context.Canceled, fasthttp.StatusServiceUnavailable, noLeaderText, 1},
}

const noLeaderText = "the masters have no leader at the moment: try again"

// fail answers with the row of errorTable that fits.
func (m *Master) fail(ctx *fasthttp.RequestCtx, err error) {
	if httpx.Fail(ctx, err) {
		return
	}
	for _, row := range errorTable {
		if !errors.Is(err, row.err) {
			continue
		}
		text := row.text
		if text == "" {
			text = err.Error()
		}
		if row.retryAfter > 0 {
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(row.retryAfter))
		}
		httpx.Error(ctx, row.status, text)
		return
	}
	m.log.Error("request failed", "method", string(ctx.Method()), "path", string(ctx.Path()), "err", err)
	httpx.Error(ctx, fasthttp.StatusInternalServerError, "the master failed on this request: see its log")
}
