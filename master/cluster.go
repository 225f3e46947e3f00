package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/httpx"
	"weed/raftstore"
)

// memberReport is one master of the cluster.
type memberReport struct {
	Address string
	Voter   bool
	Leader  bool // as far as the master knows that answers
}

// members lists the masters in the order in which they joined; it is empty before there is a cluster.
func (m *Master) members() []memberReport {
	reports := []memberReport{}
	for _, member := range m.store.Members() {
		reports = append(reports, memberReport{Address: member.ID, Voter: member.Voter, Leader: member.Leader})
	}
	return reports
}

// serveCluster answers /cluster/status, on every master and without a leader too.
func (m *Master) serveCluster(ctx *fasthttp.RequestCtx) {
	if !httpx.Allow(ctx, fasthttp.MethodGet) {
		return
	}
	leader, _ := m.store.Leader()
	members, peers := m.members(), []string{}
	for _, member := range members {
		if member.Address != m.cfg.Address {
			peers = append(peers, member.Address)
		}
	}
	httpx.JSON(ctx, fasthttp.StatusOK, struct {
		IsLeader bool
		Leader   string
		Peers    []string // the other members
		Members  []memberReport
	}{m.leading() != nil, leader, peers, members})
}

// change lets the leader carry out a request that changes the cluster and whose parameters all fit into a
// query, wherever it came in: here, or by one more hop.
func (m *Master) change(ctx *fasthttp.RequestCtx, carryOut func(*term, *fasthttp.RequestCtx)) {
	if !httpx.Allow(ctx, fasthttp.MethodPost) || !m.cfg.Guard.Permit(ctx) {
		return
	}
	if err := m.readForm(ctx); err != nil {
		m.fail(ctx, err)
		return
	}
	if t := m.leading(); t != nil {
		carryOut(t, ctx)
		return
	}
	leader, ok := m.otherLeader()
	if !ok || len(ctx.Request.Header.Peek(forwardedHeader)) > 0 {
		m.fail(ctx, errNoLeader)
		return
	}
	query := url.Values{}
	for _, args := range []*fasthttp.Args{ctx.PostArgs(), ctx.QueryArgs()} { // the query's overwrite the form's
		for name, value := range args.All() {
			query.Set(string(name), string(value))
		}
	}
	status, answer, err := m.client.Forward(m.calls, &client.Request{
		Method: fasthttp.MethodPost, Host: leader, Path: string(ctx.Path()) + "?" + query.Encode(),
		Header: []client.Field{{Name: forwardedHeader, Value: "1"}},
	}, nil)
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

// serveRemove answers POST /cluster/remove: it takes a master out of the cluster.
func (t *term) serveRemove(ctx *fasthttp.RequestCtx) {
	asked := param(ctx, "peer")
	if asked == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter peer is missing: give the host:port of the master to take out")
		return
	}
	// Not the context of the term, which ends when this master takes itself out.
	within, cancel := context.WithTimeout(t.calls, raftTimeout)
	defer cancel()
	peer, err := t.findMember(within, asked)
	if err == nil {
		err = t.store.RemoveServer(within, peer.Address)
	}
	switch {
	case errors.Is(err, raftstore.ErrConfig):
		httpx.Error(ctx, fasthttp.StatusConflict, asked+" is the only master: the cluster can't be without one")
	case err != nil:
		t.fail(ctx, err)
	default:
		t.log.Info("master taken out of the cluster", "master", peer.Address)
		httpx.JSON(ctx, fasthttp.StatusOK, map[string]string{"removed": peer.Address})
	}
}

// serveTransfer answers POST /cluster/transfer: it hands leadership to another master, and answers when
// that one leads.
func (t *term) serveTransfer(ctx *fasthttp.RequestCtx) {
	within, cancel := context.WithTimeout(t.calls, raftTimeout)
	defer cancel()
	leader, err := t.handOver(within, param(ctx, "peer"))
	switch {
	case errors.Is(err, raftstore.ErrConfig):
		httpx.Error(ctx, fasthttp.StatusConflict, "there is no other master that could lead: only voters can")
	case err != nil:
		t.fail(ctx, err)
	default:
		httpx.JSON(ctx, fasthttp.StatusOK, map[string]string{"leader": leader})
	}
}

// handOver makes the master to lead, or any other one for "", and returns who leads then.
func (t *term) handOver(ctx context.Context, to string) (leader string, err error) {
	if to != "" {
		peer, err := t.findMember(ctx, to)
		if err != nil {
			return "", err
		}
		if to = peer.Address; to == t.cfg.Address {
			return to, nil
		}
	}
	if err := t.store.TransferLeadership(ctx, to); err != nil {
		return "", err
	}
	for {
		changes := t.store.LeaderChanges()
		if leader, ok := t.otherLeader(); ok {
			t.log.Info("leadership handed over", "to", leader)
			return leader, nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return "", errNoLeader
		}
	}
}

// findMember returns the master of an address, in which the host may be a name. The error is errNotFound.
func (m *Master) findMember(ctx context.Context, address string) (memberReport, error) {
	members := m.members()
	find := func(address string) int {
		return slices.IndexFunc(members, func(r memberReport) bool { return r.Address == address })
	}
	i := find(address)
	if host, port, err := net.SplitHostPort(address); i < 0 && err == nil && net.ParseIP(host) == nil {
		ips, _ := net.DefaultResolver.LookupHost(ctx, host) // a name that is unknown is no member
		for _, ip := range ips {
			i = max(i, find(net.JoinHostPort(ip, port)))
		}
	}
	if i < 0 {
		return memberReport{}, fmt.Errorf("master %s %w: /cluster/status lists the masters", address, errNotFound)
	}
	return members[i], nil
}
