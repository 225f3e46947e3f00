package raftstore

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A time-out has to tell a leader that is gone from one that waits for a CPU. On a machine with two cores and a
// hundred threads that want them, word of a healthy leader has been seen to take three quarters of a second. So a
// leader leads, and followers wait, for the whole of Timeouts.Heartbeat.
//
// Raft's own followers look for word of the leader at random times and so may notice only after three times the
// time-out that they miss it. watchLeader has them look when the time has come: the wait can be long enough for a
// busy machine, and the service be back soon all the same.

// patience is how long a follower waits for word of the leader before it stands for election: at least
// Heartbeat, at most half as long again. Each member draws from a part of that time which is its own, with a gap
// to the next, so that two rarely stand at once: they would share the votes, and begin again after another
// time-out.
func (s *Store) patience() time.Duration {
	least, members := s.cfg.Timeouts.Heartbeat, s.Members()
	rank := max(0, slices.IndexFunc(members, func(m Member) bool { return m.ID == s.cfg.ID }))
	part := least * 49 / 100 / time.Duration(max(1, len(members)))
	return least + least/100 + time.Duration(rank)*part + rand.N(max(1, part/2))
}

// watchLeader has this server look for word of the leader as soon as its patience ends, until ctx ends.
func (s *Store) watchLeader(ctx context.Context) {
	again := s.cfg.Timeouts.Heartbeat / 10
	timer := time.NewTimer(0)
	defer timer.Stop()
	patience, heard := s.patience(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if _, led := s.Leader(); !led || s.raft.State() != raft.Follower {
			timer.Reset(again)
			continue
		}
		if last := s.raft.LastContact(); last != heard {
			patience, heard = s.patience(), last
		}
		if left := patience - time.Since(heard); left > 0 {
			timer.Reset(left)
			continue
		}
		s.look()
		timer.Reset(again)
	}
}

// look has Raft, if it follows, compare the time since it last heard of the leader with the time-out, now. It
// does so whenever the time-out becomes shorter.
func (s *Store) look() {
	rc := s.raft.ReloadableConfig()
	for _, timeout := range []time.Duration{s.cfg.Timeouts.Heartbeat + time.Millisecond, s.cfg.Timeouts.Heartbeat} {
		rc.HeartbeatTimeout = timeout
		if err := s.raft.ReloadConfig(rc); err != nil {
			s.logger.Warn("raft: elections take longer", "error", err)
		}
	}
}

// keepQuiet keeps this server, if it comes back to others, from hearing of Raft for as long as a lease runs. Before
// it was stopped it may have confirmed a leader that relies on it that nobody else is elected; what it remembers
// would not keep it from a vote for another one.
func (s *Store) keepQuiet(ctx context.Context, members []string) {
	over := make(chan struct{})
	s.stream.quiet = over
	if len(members) < 2 {
		close(over)
		return
	}
	s.background.Go(func() {
		defer close(over)
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Timeouts.Lease):
		}
	})
}
