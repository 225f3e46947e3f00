package master

import (
	"fmt"
	"slices"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/master/state"
	"weed/topology"
)

// These orders take time. Whoever gives one gives it again until the answer says that it is done, or an error: that
// holds no connection, and a new leader goes on where the last one was.

// serveMove answers POST /vol/move: a copy of a volume is to be on another server.
func (t *term) serveMove(ctx *fasthttp.RequestCtx) {
	from, to := param(ctx, "from"), param(ctx, "to")
	v, ok := t.namedVolume(ctx)
	if !ok {
		return
	}
	if from == "" || to == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameters from and to are needed: the host:port of two servers")
		return
	}
	t.answerCopying(ctx, v.ID, state.ServerID(from), state.ServerID(to), func() (bool, error) {
		return t.move(v, state.ServerID(from), state.ServerID(to))
	})
}

// serveReplicate answers POST /vol/replicate: a missing copy of a volume is to be made now.
func (t *term) serveReplicate(ctx *fasthttp.RequestCtx) {
	v, ok := t.namedVolume(ctx)
	if !ok {
		return
	}
	to := param(ctx, "to")
	t.answerCopying(ctx, v.ID, "", state.ServerID(to), func() (bool, error) {
		if len(v.Members) >= v.Copies() {
			return true, nil
		}
		t.awaitServers()
		return false, t.repair(v, forReplica, to)
	})
}

// serveAdopt answers POST /vol/adopt: a stray is to become the volume's copy.
func (t *term) serveAdopt(ctx *fasthttp.RequestCtx) {
	v, ok := t.namedVolume(ctx)
	if !ok {
		return
	}
	server := param(ctx, "server")
	if server == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter server is missing: give the host:port of the server with the copy")
		return
	}
	t.answerCopying(ctx, v.ID, "", state.ServerID(server), func() (bool, error) { return t.adoptStray(v, server) })
}

// namedVolume returns the volume that a request names; it is false when the request is answered.
func (t *term) namedVolume(ctx *fasthttp.RequestCtx) (*state.Volume, bool) {
	id, err := blob.ParseVolumeID(param(ctx, "volumeId"))
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "volumeId: "+err.Error())
		return nil, false
	}
	v, ok := t.machine.Volume(id)
	if !ok || !served(v) {
		t.fail(ctx, fmt.Errorf("volume %d %w", id, errNotFound))
		return nil, false
	}
	return v, true
}

// answerCopying answers how far the copying of a volume is; it is begun unless it is under way. to may be "" for any
// server. An end with an error is told once.
func (t *term) answerCopying(ctx *fasthttp.RequestCtx, id blob.VolumeID, from, to state.ServerID, begin func() (done bool, err error)) {
	asked := func(f, other state.ServerID) bool { return f == from && (to == "" || other == to) }
	t.copies.mu.Lock()
	failed, has := t.copies.failed[id]
	if has && asked(failed.from, failed.to) {
		delete(t.copies.failed, id)
	} else {
		has = false
	}
	t.copies.mu.Unlock()
	open := t.copies.of(id)
	switch {
	case has:
		httpx.Error(ctx, fasthttp.StatusInternalServerError, fmt.Sprintf("volume %d: %v", id, failed.err))
		return
	case open == nil:
		done, err := begin()
		if err != nil {
			t.fail(ctx, fmt.Errorf("volume %d: %w", id, err))
			return
		}
		if open = t.copies.of(id); open == nil {
			httpx.JSON(ctx, fasthttp.StatusOK, progress{VolumeID: id, From: from, To: to, Done: done})
			return
		}
	case !asked(open.from, open.to):
		t.fail(ctx, fmt.Errorf("volume %d %w to %s: try again later", id, errBusy, open.to))
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, open.progress())
}

// move begins to move a copy, or tells that it is done. Errors: errRefused, those of topology.ReserveCopy.
func (t *term) move(v *state.Volume, from, to state.ServerID) (done bool, err error) {
	isFrom, isTo := slices.Contains(v.Members, from), slices.Contains(v.Members, to)
	c := &copying{id: v.ID, from: from, to: to, why: forMove}
	switch {
	case from == to:
		return false, fmt.Errorf("%w: from and to are the same server", errRefused)
	case isTo && !isFrom && !t.hasCopy(v.ID, string(from)):
		return true, nil
	case isTo && isFrom && len(v.Members) <= v.Copies():
		return false, fmt.Errorf("%w: both servers have a copy that it needs", errRefused)
	case !isTo && !isFrom:
		return false, fmt.Errorf("%w: %s has no copy of it", errRefused, from)
	case !isTo:
		t.awaitServers()
		if err := t.mayTake(v, from, string(to)); err != nil {
			return false, err
		}
		if !t.hasCopy(v.ID, string(to)) {
			if c.plan, err = t.reserveCopy(v, from, false, string(to)); err != nil {
				return false, err
			}
		}
	}
	t.startCopying(c)
	return false, nil
}

// mayTake says why a server may not get a copy of a volume that another one is to lose.
func (t *term) mayTake(v *state.Volume, from state.ServerID, to string) error {
	fitting, free, err := t.tree.Suits(v.Placement, t.placesOf(v, from), to)
	switch {
	case err != nil:
		return err
	case !fitting:
		return fmt.Errorf("%w: its replication %s does not allow a copy on %s", errRefused, v.Placement, to)
	case t.tree.Draining(to):
		return fmt.Errorf("%w: %s is being emptied", errRefused, to)
	case !free && !t.hasCopy(v.ID, to):
		return fmt.Errorf("%w on %s", errNoRoom, to)
	}
	return nil
}

// adoptStray makes a server with a copy member of the volume: the only one, if no member is left holding it.
func (t *term) adoptStray(v *state.Volume, server string) (done bool, err error) {
	strays := slices.DeleteFunc(fitting(v.Layout, t.tree.Strays(v.ID)), func(s topology.Stray) bool { return s.At.URL != server })
	switch {
	case slices.Contains(v.Members, state.ServerID(server)):
		return true, nil
	case len(strays) == 0:
		return false, fmt.Errorf("%w: %s has reported no copy of it of the same collection, replication and ttl", errRefused, server)
	case t.deserted(v):
		t.straying.Lock()
		defer t.straying.Unlock()
		change := soleMember(v, server)
		_, err := state.Only(proposeBatch(t, []state.GroupChange{change}, state.Reconfigure))
		t.sync(v.ID)
		if err == nil {
			t.log.Info("an operator has given a volume to a server", "volume", uint32(v.ID), "server", server)
		}
		return err == nil, err
	case len(v.Members) >= v.Copies():
		return false, fmt.Errorf("%w: it has all its copies", errRefused)
	}
	t.startCopying(&copying{id: v.ID, to: state.ServerID(server), why: forAdopt})
	return false, nil
}

// serveDrain answers POST /server/drain: a server is to be emptied, or no longer with undo=true.
func (t *term) serveDrain(ctx *fasthttp.RequestCtx) {
	server := state.ServerID(param(ctx, "server"))
	if _, known := t.machine.Server(server); !known {
		t.fail(ctx, fmt.Errorf("server %s %w: /dir/status lists the servers", server, errNotFound))
		return
	}
	switch undo := param(ctx, "undo"); undo {
	case "true":
		if err := t.endDrain(server); err != nil {
			t.fail(ctx, err)
			return
		}
	case "", "false":
		t.awaitServers()
		if err := t.drain(server); err != nil {
			t.fail(ctx, err)
			return
		}
	default:
		httpx.Error(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("undo: %.32q is neither true nor false", undo))
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, t.drainReport(server))
}

// maxMoves bounds the moves of one plan.
const maxMoves = 10_000

// plannedMove is a move that /vol/balance recommends.
type plannedMove struct {
	VolumeID blob.VolumeID `json:"volumeId"`
	From     string        `json:"from"`
	To       string        `json:"to"`
}

// serveBalance answers GET /vol/balance: the moves that would even out the slots. They are not begun.
func (t *term) serveBalance(ctx *fasthttp.RequestCtx) {
	t.awaitServers()
	moves := []plannedMove{}
	for _, m := range t.tree.Balance(maxMoves) {
		moves = append(moves, plannedMove{m.ID, m.From, m.To})
	}
	httpx.JSON(ctx, fasthttp.StatusOK, map[string][]plannedMove{"moves": moves})
}
