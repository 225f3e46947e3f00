package master

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/httpx"
)

// forwardedHeader marks a request that another master has passed on. It is not passed on again: two masters
// that take each other for the leader would never end.
const forwardedHeader = "Weed-Forwarded"

// otherLeader returns the leader if it is another master.
func (m *Master) otherLeader() (address string, ok bool) {
	leader, known := m.store.Leader()
	return leader, known && leader != m.cfg.Address
}

// passOn answers for the leader by asking it.
func (m *Master) passOn(ctx *fasthttp.RequestCtx) {
	leader, ok := m.otherLeader()
	if !ok || len(ctx.Request.Header.Peek(forwardedHeader)) > 0 {
		m.fail(ctx, errNoLeader)
		return
	}
	limit := int64(formLimit)
	budget := m.beats
	switch string(ctx.Path()) {
	case "/dir/lookup", "/vol/lookup", "/dir/status", "/vol/status":
	case "/submit":
		limit, budget = submitLimit, m.submits
		fallthrough
	case "/dir/assign", "/vol/grow", "/col/delete", "/delete":
		// The leader sees this master's address, so the client's is judged here.
		if !m.cfg.Guard.Permit(ctx) {
			return
		}
	default:
		m.redirectByLeader(ctx, leader)
		return
	}
	body, err := httpx.ReadBody(ctx, budget, limit)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	defer body.Release()
	var room [8]client.Field
	request := client.Request{
		Method: view(ctx.Method()), Host: leader, Path: view(ctx.URI().RequestURI()),
		ContentType: view(ctx.Request.Header.ContentType()), Body: body.Bytes,
		Header: append(putHeaders(ctx, room[:0]), client.Field{Name: forwardedHeader, Value: "1"}),
	}
	status, answer, err := m.client.Forward(m.calls, &request, nil)
	if err != nil {
		m.log.Warn("the leader did not answer", "leader", leader, "path", string(ctx.Path()), "err", err)
		m.fail(ctx, errNoLeader)
		return
	}
	if status == fasthttp.StatusServiceUnavailable {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	}
	httpx.RawJSON(ctx, status, answer)
}

// redirectByLeader redirects a request for a blob by what the leader knows.
func (m *Master) redirectByLeader(ctx *fasthttp.RequestCtx, leader string) {
	id, ok := blobPath(ctx)
	if !ok {
		return
	}
	var answer found
	err := m.client.GetJSON(m.calls, leader, "/dir/lookup?volumeId="+id.String(), &answer)
	switch {
	case errors.Is(err, client.ErrNotFound):
		err = fmt.Errorf("volume %d %w", id, errNotFound)
	case err != nil || len(answer.Locations) == 0:
		m.log.Warn("the leader did not answer a lookup", "leader", leader, "volume", uint32(id), "err", err)
		err = errNoLeader
	}
	if err != nil {
		m.fail(ctx, err)
		return
	}
	m.redirect(ctx, len(answer.Locations), func(i int) string { return answer.Locations[i].PublicURL })
}
