package master

import (
	"context"
	"errors"

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
	errDiskFull    = errors.New("the disks of the volume servers that were tried are full: free some room or add a server")
	errNotWritten  = errors.New("no volume server took the blob")
	errNoRoom      = errors.New("no room")
	errRefused     = errors.New("that can't be done")
	errBusy        = errors.New("is being copied")
	errNoPrimary   = errors.New("its primary does not answer")
	errTwoServers  = errors.New("another volume server reports as")
	errUnreachable = errors.New("is on servers that do not answer at the moment: try again")
)

// errorTable maps failures to answers.
var errorTable = httpx.ErrorTable{
	{Kind: blob.ErrMalformed, Status: fasthttp.StatusNotAcceptable},
	{Kind: errMalformed, Status: fasthttp.StatusNotAcceptable},
	{Kind: errNotFound, Status: fasthttp.StatusNotFound},
	{Kind: errNoRoom, Status: fasthttp.StatusConflict},
	{Kind: errRefused, Status: fasthttp.StatusConflict},
	{Kind: errBusy, Status: fasthttp.StatusConflict},
	{Kind: errTwoServers, Status: fasthttp.StatusConflict},
	{Kind: errNoPrimary, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 5},
	{Kind: state.ErrConflict, Status: fasthttp.StatusServiceUnavailable, Text: "who holds the volume has just changed: try again", RetryAfterSeconds: 1},
	{Kind: errUnreachable, Status: fasthttp.StatusServiceUnavailable, RetryAfterSeconds: 5},
	{Kind: topology.ErrUnknownDataCenter, Status: fasthttp.StatusBadRequest, Text: "unknown data center: name one that /dir/status shows"},
	{Kind: topology.ErrUnknownRack, Status: fasthttp.StatusBadRequest, Text: "unknown rack: name one that /dir/status shows in the data center"},
	{Kind: topology.ErrUnknownNode, Status: fasthttp.StatusBadRequest, Text: "unknown data node: name the url of one that /dir/status shows"},
	{Kind: topology.ErrBadHeartbeat, Status: fasthttp.StatusBadRequest},
	{Kind: topology.ErrNoFreeSlots, Status: fasthttp.StatusNotFound, Text: "No free volumes left!"},
	{Kind: topology.ErrCannotPlace, Status: fasthttp.StatusInternalServerError, Text: "Cannot grow volume group! Not enough data node found!"},
	{Kind: errOrder, Status: fasthttp.StatusInternalServerError, Text: "Cannot grow volume group! The volume servers did not carry out the order: see the master's log"},
	{Kind: topology.ErrNoWritable, Status: fasthttp.StatusServiceUnavailable, Text: "no volume is writable for longer than a moment: try again", RetryAfterSeconds: 1},
	{Kind: state.ErrMalformed, Status: fasthttp.StatusBadRequest},
	{Kind: state.ErrNoServer, Status: fasthttp.StatusBadRequest},
	{Kind: state.ErrExhausted, Status: fasthttp.StatusInternalServerError, Text: "the cluster has run out of keys or of volume ids"},
	{Kind: errDiskFull, Status: fasthttp.StatusInsufficientStorage},
	{Kind: errNotWritten, Status: fasthttp.StatusServiceUnavailable, Text: "no volume server took the blob: try again in a moment", RetryAfterSeconds: 1},
	{Kind: client.ErrUnavailable, Status: fasthttp.StatusServiceUnavailable, Text: "a volume server can't be reached: try again in a moment", RetryAfterSeconds: 1},
	{Kind: errNoLeader, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
	{Kind: raftstore.ErrNotLeader, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
	{Kind: raftstore.ErrNoLeader, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
	{Kind: raftstore.ErrOutcomeUnknown, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
	{Kind: raftstore.ErrClosed, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
	{Kind: context.Canceled, Status: fasthttp.StatusServiceUnavailable, Text: noLeaderText, RetryAfterSeconds: 1},
}

const noLeaderText = "the masters have no leader at the moment: try again"

// isConflict reports whether a command found that somebody else was faster.
func isConflict(err error) bool { return errors.Is(err, state.ErrConflict) }

func (m *Master) fail(ctx *fasthttp.RequestCtx, err error) { errorTable.Fail(ctx, m.log, err) }
