package raftstore

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// Requests on channelAdmit: one JSON line each way, then the connection ends.
const (
	opHello  = "hello"  // who are you, and what do you know?
	opForget = "forget" // to the leader: I lost my state, take me out of the members
	opJoin   = "join"   // to the leader: add me as a voter
)

type admitRequest struct {
	Op   string `json:"op"`
	From string `json:"from"` // id of the server that asks
}

// Stages of a server's own state.
const (
	stageEmpty   = "empty"   // no configuration
	stageFormed  = "formed"  // a bootstrap configuration, and no leader was ever heard of
	stageRunning = "running" // part of a cluster that has had a leader
)

type admitReply struct {
	ID    string `json:"id"`
	Stage string `json:"stage"`
	// Members are the configuration's ids, sorted; for an empty server those that it is willing to
	// bootstrap with.
	Members []string `json:"members"`
	Leader  string   `json:"leader,omitempty"`
	Origin  string   `json:"origin,omitempty"` // in hex; "" from a server that is part of no cluster
	// Incarnation tells this server's directory from one that it had before. Founders are the incarnations
	// that it saw empty before it bootstrapped.
	Incarnation string   `json:"incarnation"`
	Founders    []string `json:"founders,omitempty"`
	Error       string   `json:"error,omitempty"`
}

const maxAdmitBytes = 64 << 10

// about describes this server.
func (s *Store) about() admitReply {
	reply := admitReply{ID: s.cfg.ID, Stage: stageRunning, Incarnation: s.incarnation}
	for _, server := range s.configuration() {
		reply.Members = append(reply.Members, string(server.ID))
	}
	slices.Sort(reply.Members)
	reply.Leader, _ = s.Leader()
	if o := s.stream.origin.Load(); o != nil {
		reply.Origin = hex.EncodeToString(o[:])
	}
	switch {
	case len(reply.Members) == 0:
		reply.Stage, reply.Members = stageEmpty, s.peers
	case s.raft.LastIndex() <= 1: // the bootstrap entry is the first, a leader's first entry the second
		reply.Stage = stageFormed
		reply.Founders, _ = s.disk.founders() // without them others wait, which is safe
	}
	return reply
}

// serveAdmission answers one request of another server.
func (s *Store) serveAdmission(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(s.cfg.Timeouts.Request))
	var request admitRequest
	line, err := bufio.NewReader(io.LimitReader(conn, maxAdmitBytes)).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &request) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeouts.Request)
	defer cancel()
	switch request.Op {
	case opHello:
	case opForget:
		err = s.RemoveServer(ctx, request.From)
	case opJoin:
		err = s.AddVoter(ctx, request.From)
	default:
		err = fmt.Errorf("unknown request %q", request.Op)
	}
	reply := s.about()
	if err != nil {
		reply.Error = err.Error()
	}
	if request.Op != opHello {
		s.logger.Info("raft: "+request.Op+" asked for", "server", request.From, "error", reply.Error)
	}
	_ = json.NewEncoder(conn).Encode(reply)
}

// ask sends a request to another server.
func (s *Store) ask(ctx context.Context, address, op string) (admitReply, error) {
	var reply admitReply
	conn, err := s.stream.dialChannel(address, channelAdmit, min(s.cfg.Timeouts.Request, 2*s.cfg.Timeouts.Heartbeat))
	if err != nil {
		return reply, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(s.cfg.Timeouts.Request))
	if err := json.NewEncoder(conn).Encode(admitRequest{Op: op, From: s.cfg.ID}); err != nil {
		return reply, fmt.Errorf("%s to %s: %w", op, address, err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxAdmitBytes)).Decode(&reply); err != nil {
		return reply, fmt.Errorf("%s to %s: %w", op, address, err)
	}
	if reply.Error != "" {
		return reply, fmt.Errorf("%s to %s: %s", op, address, reply.Error)
	}
	return reply, nil
}

// seekAdmission asks around until this server is a member of a cluster with a leader.
func (s *Store) seekAdmission(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Timeouts.Heartbeat / 2)
	defer tick.Stop()
	for complaint := ""; ; {
		changed := s.LeaderChanges()
		added, err := s.admission(ctx)
		// After a request to join that failed, being listed proves nothing: the entry may be taken back.
		if added || err == nil && s.settled() {
			return
		}
		if err != nil && err.Error() != complaint && ctx.Err() == nil {
			complaint = err.Error()
			s.logger.Warn("raft: masters disagree or are missing", "reason", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// settled says whether this server is a member of a cluster that has a leader.
func (s *Store) settled() bool {
	own := s.about()
	return own.Stage != stageEmpty && own.Leader != "" && slices.Contains(own.Members, s.cfg.ID)
}

// admission takes one step of the table in the package comment. It says whether the leader has added this
// server to the members, which is the last step: all that is left is to wait for its log. An error says
// what is in the way.
func (s *Store) admission(ctx context.Context) (added bool, err error) {
	own := s.about()
	replies, odd := s.survey(ctx, own)
	var running []admitReply // of one cluster; this server's, if it is part of one
	leader, member := "", false
	founders := []string{s.incarnation} // servers that would form a cluster of just these peers
	for _, r := range replies {
		switch {
		case r.Stage != stageRunning && own.Stage != stageEmpty:
		case r.Stage != stageRunning && !slices.Equal(r.Members, s.peers):
			odd = fmt.Errorf("%s has peers %v, this master has %v", r.ID, r.Members, s.peers)
		case r.Stage == stageFormed && !slices.Contains(r.Founders, s.incarnation):
			// It may have been bypassed by a cluster that this server was part of, and has forgotten.
			odd = fmt.Errorf("%s has founded the cluster without this master, which waits for a leader", r.ID)
		case r.Stage != stageRunning:
			founders = append(founders, r.Incarnation)
		case own.Stage != stageEmpty && r.Origin != own.Origin:
			return false, fmt.Errorf("%s belongs to another cluster, of %v: stop one of them, and empty its directory "+
				"if it shall join the other", r.ID, r.Members)
		case len(running) > 0 && r.Origin != running[0].Origin:
			return false, fmt.Errorf("%s and %s belong to different clusters", running[0].ID, r.ID)
		default:
			running = append(running, r)
			if r.Leader != "" && r.Leader != s.cfg.ID {
				leader, member = r.Leader, slices.Contains(r.Members, s.cfg.ID)
			}
		}
	}
	switch {
	case own.Stage != stageEmpty && leader != "" && !member:
		return s.join(ctx, leader)
	case own.Stage != stageEmpty:
		return false, nil
	case leader != "":
		return s.comeBack(ctx, leader)
	case len(running) > 0:
		return false, fmt.Errorf("the cluster of %v has no leader; this master has no state and waits", running[0].Members)
	case len(founders) <= len(s.peers)/2 && odd != nil:
		return false, odd
	case len(founders) <= len(s.peers)/2:
		return false, fmt.Errorf("%d of %d masters of %v are up", len(founders), len(s.peers), s.peers)
	}
	return false, s.form(founders)
}

// form bootstraps the cluster of the peers list. The other founders do the same.
func (s *Store) form(founders []string) error {
	if err := errors.Join(s.disk.setOrigin(newOrigin(s.peers)), s.disk.setFounders(founders)); err != nil {
		return fmt.Errorf("prepare bootstrap in %s: %w", s.cfg.Dir, err)
	}
	if err := s.raft.BootstrapCluster(configurationOf(s.peers)).Error(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	s.logger.Info("raft: cluster formed", "members", s.peers)
	return s.enter(newOrigin(s.peers))
}

// comeBack makes a server without state a member, be it a new one or one that lost its directory.
func (s *Store) comeBack(ctx context.Context, leader string) (added bool, err error) {
	reply, err := s.ask(ctx, leader, opForget)
	if err != nil {
		return false, err
	}
	// From here on nobody counts on a vote of this server that it does not remember.
	o, err := hex.DecodeString(reply.Origin)
	if err != nil || len(o) != len(origin{}) {
		return false, fmt.Errorf("%s told a malformed origin %q", leader, reply.Origin)
	}
	if err := s.enter(origin(o)); err != nil {
		return false, err
	}
	return s.join(ctx, leader)
}

func (s *Store) join(ctx context.Context, leader string) (added bool, err error) {
	_, err = s.ask(ctx, leader, opJoin)
	return err == nil, err
}

// survey says hello to all peers at once, and to the members that this server knows of. The error tells of
// a peer that calls itself something else than its entry in the list, which is left out of the replies.
func (s *Store) survey(ctx context.Context, own admitReply) (replies []admitReply, odd error) {
	addresses := slices.Concat(s.peers, own.Members)
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	type answer struct {
		address string
		reply   admitReply
		err     error
	}
	answers := make(chan answer, len(addresses))
	asked := 0
	for _, address := range addresses {
		if address == s.cfg.ID {
			continue
		}
		asked++
		go func() {
			reply, err := s.ask(ctx, address, opHello)
			answers <- answer{address, reply, err}
		}()
	}
	for range asked {
		a := <-answers
		switch {
		case a.err != nil:
		case a.reply.ID != a.address:
			odd = fmt.Errorf("the master at %s advertises %s: list masters by the addresses that they advertise",
				a.address, a.reply.ID)
		default:
			replies = append(replies, a.reply)
		}
	}
	return replies, odd
}
