package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/httpx"
	"weed/internal/wire"
)

// forwardedHeader marks a request that another master has passed on. It is not passed on again: two masters
// that take each other for the leader would never end.
const forwardedHeader = "Weed-Forwarded"

// otherLeader returns the leader if it is another master.
func (m *Master) otherLeader() (address string, ok bool) {
	leader, known := m.store.Leader()
	return leader, known && leader != m.cfg.Address
}

// allegiance is to a leader, "" for none, for as long as it leads.
type allegiance struct {
	leader string
	ctx    context.Context // of calls to it: a leader that hangs is left as soon as it is deposed
	end    context.CancelFunc
}

// forThis returns the context of a call to the leader. A call whose very purpose may be another leader goes on
// for a grace when there is one.
func (a *allegiance) forThis(grace time.Duration) (context.Context, context.CancelFunc) {
	if grace == 0 {
		return a.ctx, func() {}
	}
	ctx, end := context.WithCancel(context.WithoutCancel(a.ctx))
	stop := context.AfterFunc(a.ctx, func() { time.AfterFunc(grace, end) })
	return ctx, func() {
		stop()
		end()
	}
}

// followLeader keeps the allegiance until ctx ends.
func (m *Master) followLeader(ctx context.Context) {
	for {
		changes := m.store.LeaderChanges()
		leader, _ := m.store.Leader()
		if before := m.allegiance.Load(); before == nil || before.leader != leader {
			now := &allegiance{leader: leader}
			now.ctx, now.end = context.WithCancel(m.calls)
			m.allegiance.Store(now)
			if before != nil {
				before.end()
			}
		}
		select {
		case <-changes:
		case <-ctx.Done():
			m.allegiance.Load().end()
			return
		}
	}
}

// passOn answers for the leader by asking it.
func (m *Master) passOn(ctx *fasthttp.RequestCtx) {
	to := m.allegiance.Load()
	if to == nil || to.leader == "" || to.leader == m.cfg.Address || len(ctx.Request.Header.Peek(forwardedHeader)) > 0 {
		m.fail(ctx, errNoLeader)
		return
	}
	limit, budget, grace := int64(formLimit), m.beats, time.Duration(0)
	changes := true
	switch string(ctx.Path()) {
	case "/dir/lookup", "/vol/lookup", "/dir/status", "/vol/status", "/vol/balance", wire.PathConfigure: // which no client asks for
		changes = false
	case "/submit":
		limit, budget = submitLimit, m.submits
	case "/cluster/remove", "/cluster/transfer":
		grace = raftTimeout
	case "/dir/assign", "/vol/grow", "/vol/vacuum", "/vol/mark", "/col/delete", "/delete",
		"/vol/move", "/vol/replicate", "/vol/adopt", "/server/drain":
	default:
		m.redirectByLeader(ctx, to)
		return
	}
	// The leader sees this master's address, so the client's is judged here.
	if changes && !m.cfg.Guard.Permit(ctx) {
		return
	}
	body, err := httpx.ReadBody(ctx, budget, limit)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	defer body.Release()
	call, cancel := to.forThis(grace)
	defer cancel()
	var room [8]client.Field
	m.askLeader(call, ctx, &client.Request{
		Method: view(ctx.Method()), Host: to.leader, Path: view(ctx.URI().RequestURI()),
		ContentType: view(ctx.Request.Header.ContentType()), Body: body.Bytes, Header: putHeaders(ctx, room[:0]),
	})
}

// askLeader answers a request by what the leader, which is the request's Host, says to it.
func (m *Master) askLeader(within context.Context, ctx *fasthttp.RequestCtx, request *client.Request) {
	request.Header = append(request.Header, client.Field{Name: forwardedHeader, Value: "1"})
	status, answer, err := m.client.Forward(within, request, nil)
	if err != nil {
		m.log.Warn("the leader did not answer", "leader", request.Host, "path", string(ctx.Path()), "err", err)
		m.fail(ctx, errNoLeader)
		return
	}
	if status == fasthttp.StatusServiceUnavailable {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	}
	httpx.RawJSON(ctx, status, answer)
}

// redirectByLeader redirects a request for a blob by what the leader knows.
func (m *Master) redirectByLeader(ctx *fasthttp.RequestCtx, to *allegiance) {
	id, ok := blobPath(ctx)
	if !ok {
		return
	}
	var answer found
	err := m.client.GetJSON(to.ctx, to.leader, "/dir/lookup?volumeId="+id.String(), &answer)
	switch {
	case errors.Is(err, client.ErrNotFound):
		err = fmt.Errorf("volume %d %w", id, errNotFound)
	case err != nil || len(answer.Locations) == 0:
		m.log.Warn("the leader did not answer a lookup", "leader", to.leader, "volume", uint32(id), "err", err)
		err = errNoLeader
	}
	if err != nil {
		m.fail(ctx, err)
		return
	}
	m.redirect(ctx, len(answer.Locations), func(i int) string { return answer.Locations[i].PublicURL })
}
