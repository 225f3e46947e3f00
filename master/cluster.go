package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

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

// serveRemove answers POST /cluster/remove: it takes a master out of the cluster.
func (t *term) serveRemove(ctx *fasthttp.RequestCtx) {
	asked := param(ctx, "peer")
	if asked == "" {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "the parameter peer is missing: give the host:port of the master to take out")
		return
	}
	// Not the context of the term, which ends when this master hands over to take itself out.
	within, cancel := context.WithTimeout(t.calls, raftTimeout)
	defer cancel()
	peer, err := t.findMember(within, asked)
	if err == nil && peer.Address == t.cfg.Address {
		t.removeSelf(within, ctx)
		return
	}
	if err == nil {
		err = t.store.RemoveServer(within, peer.Address)
	}
	if err != nil {
		t.fail(ctx, err)
		return
	}
	t.log.Info("master taken out of the cluster", "master", peer.Address)
	httpx.JSON(ctx, fasthttp.StatusOK, map[string]string{"removed": peer.Address})
}

// removeSelf hands leadership over and has the next leader take this master out, so that the others are not
// left without a leader until they miss it.
func (t *term) removeSelf(within context.Context, ctx *fasthttp.RequestCtx) {
	leader, err := t.handOver(within, "")
	switch {
	case errors.Is(err, raftstore.ErrConfig):
		httpx.Error(ctx, fasthttp.StatusConflict, t.cfg.Address+" is the only master: the cluster can't be without one")
	case err != nil:
		t.fail(ctx, err)
	default:
		t.askLeader(within, ctx, &client.Request{Host: leader, Path: "/cluster/remove?peer=" + url.QueryEscape(t.cfg.Address)})
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

// handOver makes the master to lead, or any other one for "", and returns who leads then. From the moment on when
// the other one may win, this master decides nothing, unless it still leads when all is over.
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
	if !t.yielding.CompareAndSwap(false, true) {
		return "", errNoLeader // to whom another request hands over
	}
	if to, err = t.heir(ctx, to); err == nil {
		err = t.store.TransferLeadership(ctx, to)
	}
	if t.lasts() {
		t.leaseEnd.Store(0) // those who confirmed it may have been asked for a vote
		t.yielding.Store(false)
		return "", cmp.Or(err, errNoLeader)
	}
	// It may have been given up by Raft and have come about a moment later: what counts is who leads.
	if leader, err = t.awaitOther(ctx); err != nil {
		return "", err
	}
	t.log.Info("leadership handed over", "to", leader)
	return leader, nil
}

// heir returns a master that can take over now: to, or for "" any one that answers. One that stands still would
// read when it goes on that it is to lead, and do so, whatever has become of the cluster by then. It is errNoLeader
// when nobody answers, and to when nobody is eligible, which Raft has the words for.
func (m *Master) heir(ctx context.Context, to string) (string, error) {
	eligible := false
	for _, member := range m.members() {
		if member.Address == m.cfg.Address || !member.Voter || to != "" && member.Address != to {
			continue
		}
		eligible = true
		ctx, cancel := context.WithTimeout(ctx, m.store.Lease())
		err := m.client.GetJSON(ctx, member.Address, "/cluster/status", nil)
		cancel()
		if err == nil {
			return member.Address, nil
		}
	}
	if eligible {
		return "", errNoLeader
	}
	return to, nil
}

// awaitOther waits until another master says that it leads and has caught up. The error is errNoLeader.
func (m *Master) awaitOther(ctx context.Context) (leader string, err error) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		changes := m.store.LeaderChanges()
		if leader, ok := m.otherLeader(); ok {
			var status struct{ IsLeader bool }
			if err := m.client.GetJSON(ctx, leader, "/cluster/status", &status); err == nil && status.IsLeader {
				return leader, nil
			}
		}
		select {
		case <-changes:
		case <-look.C:
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
