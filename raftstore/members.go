package raftstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// Member is a server of the cluster.
type Member struct {
	ID     string // advertised host:port
	Voter  bool
	Leader bool // as far as this server knows
}

// Members lists the cluster's latest configuration as this server knows it, in the order of joining; it is
// empty until this server has become part of one.
func (s *Store) Members() []Member {
	leader, _ := s.Leader()
	var members []Member
	for _, server := range s.configuration() {
		id := string(server.ID)
		members = append(members, Member{ID: id, Voter: server.Suffrage == raft.Voter, Leader: id == leader})
	}
	return members
}

// AddVoter makes the server that advertises id a member. It is nothing new for one that is a member. Errors
// are those of Propose and ErrConfig for a malformed id.
//
// Growing from one member to two needs the second one up: the change is only complete when both have it.
func (s *Store) AddVoter(ctx context.Context, id string) error {
	if err := checkAddress(id); err != nil {
		return err
	}
	return s.await(ctx, func() error {
		return s.explain(s.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, 0).Error())
	})
}

// RemoveServer takes a server out of the cluster; one that is no member is nothing new. A leader that takes
// itself out stops leading. Errors are those of Propose, and ErrConfig for the last voter.
func (s *Store) RemoveServer(ctx context.Context, id string) error {
	return s.await(ctx, func() error {
		voters, known := s.voters()
		switch {
		case !s.IsLeader():
			return s.explain(raft.ErrNotLeader)
		case !slices.Contains(known, id):
			// Only what is committed after that configuration proves that it holds, and that this server
			// was not deposed: a server without state relies on it (see comeBack).
			return s.explain(s.raft.Barrier(0).Error())
		case len(voters) == 1 && voters[0] == id:
			return fmt.Errorf("%w: %s is the last voter of the cluster", ErrConfig, id)
		}
		return s.explain(s.raft.RemoveServer(raft.ServerID(id), 0, 0).Error())
	})
}

// TransferLeadership hands leadership to the member to, or to the most advanced one when to is "". It
// returns once the other server has been told to take over, within about Timeouts.Election. Errors are
// those of Propose, and ErrConfig when to is no other voter.
func (s *Store) TransferLeadership(ctx context.Context, to string) error {
	return s.await(ctx, func() error {
		voters, _ := s.voters()
		others := slices.DeleteFunc(voters, func(id string) bool { return id == s.cfg.ID })
		switch {
		case !s.IsLeader():
			return s.explain(raft.ErrNotLeader)
		case len(others) == 0:
			return fmt.Errorf("%w: there is no other voter to hand leadership to", ErrConfig)
		case to == "":
			return s.explain(s.raft.LeadershipTransfer().Error())
		case !slices.Contains(others, to):
			return fmt.Errorf("%w: %s is not one of the other voters %v", ErrConfig, to, others)
		}
		return s.explain(s.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error())
	})
}

// voters lists the ids of the voters, and of all members.
func (s *Store) voters() (voters, all []string) {
	for _, m := range s.Members() {
		all = append(all, m.ID)
		if m.Voter {
			voters = append(voters, m.ID)
		}
	}
	return voters, all
}
