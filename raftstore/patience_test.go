package raftstore

import (
	"cmp"
	"slices"
	"testing"
	"time"
)

// Followers that miss their leader wait until it can't rely on its lease any more, and then not much longer: Raft's
// own look for word of it may come after three times the time-out.
func TestFollowersWaitLongEnoughAndNoLonger(t *testing.T) {
	t.Parallel()
	const patience = 2 * time.Second
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: patience} }
	}
	ns.start()
	var times []time.Duration
	for range 3 {
		leader := ns.leader(t)
		term := leader.Term()
		asked := time.Now()
		if err := leader.VerifyLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader.network.isolate(leader.id, true)
		rest := ns.without(leader)
		next := rest.leader(t)
		took := time.Since(asked)
		t.Logf("another one leads after %v", took.Round(time.Millisecond))
		if took < leader.Lease() {
			t.Errorf("another one leads after %v, the lease is %v", took, leader.Lease())
		}
		times = append(times, took)
		if now := next.Term(); now <= term {
			t.Errorf("term %d after term %d", now, term)
		}
		leader.network.isolate(leader.id, false)
	}
	// One may take longer: the two have shared the votes.
	if slices.Sort(times); times[1] > 2*patience {
		t.Errorf("no leader for %v in most cases, the time-out is %v", times[1], patience)
	}
}

// Of two followers the one with the longer log is the first to miss the leader, and is refused by the other, who then
// can't be elected. The first asks again, and need not stand anew for that.
func TestLongerLogLeadsThoughItAskedTooEarly(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: 4 * time.Second} }
	}
	ns.start()
	leader := ns.leader(t)
	rest := ns.without(leader)
	slices.SortFunc(rest, func(a, b *node) int { return cmp.Compare(a.patience(), b.patience()) })
	first, second := rest[0], rest[1]
	ns.propose(t, "a")
	ns.agree(t, []string{"a"})
	leader.network.loseText(second.id, "only one has this")
	ns.propose(t, "only one has this")
	nodes{leader, first}.agree(t, []string{"a", "only one has this"})
	leader.network.isolate(leader.id, true)
	leader.network.loseText(second.id, "")
	if next := rest.leader(t); next != first {
		t.Error("who lacks an entry leads")
	}
	if first.log.count("pre-vote campaign failed") > 0 {
		t.Error("who was asked too early has not been asked again")
	}
	rest.agree(t, []string{"a", "only one has this"})
}

// A leader that followers hear of leads on, however often they look.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: 2 * time.Second} }
	}
	ns.start()
	leader := ns.leader(t)
	term := leader.Term()
	for range 1000 {
		for _, n := range ns {
			n.look()
		}
		if err := leader.VerifyLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if ns.leader(t) != leader || leader.Term() != term {
		t.Error("the leader has changed")
	}
}

// A server that has been restarted does not know that it has just confirmed a leader. It votes for nobody else while
// that one may rely on it, however often it is asked.
func TestRestartedServerHonoursTheLease(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	rest := ns.without(leader)
	ns.propose(t, "a")
	ns.agree(t, []string{"a"})
	leader.network.isolate(leader.id, true) // as seen by the candidate
	again, candidate := rest[0], rest[1]
	again.stop()
	await(t, "the other one to stand for election", func() bool { return candidate.log.count("starting election") > 0 })
	again.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: 4 * time.Second} } // several of the candidate's
	began := time.Now()
	again.start()
	rest.leader(t)
	if took := time.Since(began); took < again.Lease() {
		t.Errorf("it has voted after %v, the lease is %v", took, again.Lease())
	}
}
