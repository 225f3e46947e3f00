package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// voting is the transport of a candidate that asks for no votes while it is sick, and asks once more whether it would get
// one. The first of two followers that miss their leader is refused by the other, who has not lost patience yet. That one
// stands a moment later, and is refused in turn if its log is shorter. The first would only ask again after an election's
// time-out, which may be twice Timeouts.Heartbeat.
type voting struct {
	*raft.NetworkTransport
	sick func() bool
	// again is the time after which all followers of the same leader have lost patience, and whoever could win has won.
	again   time.Duration
	closing <-chan struct{}
}

func (v voting) RequestVote(id raft.ServerID, to raft.ServerAddress, ask *raft.RequestVoteRequest, answer *raft.RequestVoteResponse) error {
	if v.sick() {
		return errSick
	}
	return v.NetworkTransport.RequestVote(id, to, ask, answer)
}

func (v voting) RequestPreVote(id raft.ServerID, to raft.ServerAddress, ask *raft.RequestPreVoteRequest, answer *raft.RequestPreVoteResponse) error {
	if v.sick() {
		return errSick
	}
	err := v.NetworkTransport.RequestPreVote(id, to, ask, answer)
	if err != nil || answer.Granted || answer.Term > ask.Term {
		return err
	}
	select {
	case <-v.closing:
		return nil
	case <-time.After(v.again):
	}
	*answer = raft.RequestPreVoteResponse{}
	return v.NetworkTransport.RequestPreVote(id, to, ask, answer)
}
