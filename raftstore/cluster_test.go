package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"weed/internal/freeport"
)

func TestThreeServersElectOneLeader(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	ns.members(t, ns.ids())
	for _, n := range ns.without(leader) {
		var other *NotLeaderError
		_, err := n.Propose(t.Context(), []byte("to a follower"))
		if !errors.As(err, &other) || other.Leader != leader.id || !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower answered %v", err)
		}
		if err := n.Ready(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower is ready: %v", err)
		}
		if err := n.RemoveServer(t.Context(), leader.id); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower removes: %v", err)
		}
	}
	want := numbered("c", 10)
	ns.propose(t, want...)
	ns.agree(t, want)
}

func TestTwoOfThreeFormTheCluster(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns[:2].start()
	ns[:2].leader(t)
	want := numbered("two", 5)
	ns[:2].propose(t, want...)
	ns[2].start()
	ns.leader(t)
	ns.agree(t, want)
	ns.members(t, ns.ids())
}

// A server alone of three leads neither before nor after the cluster was formed.
func TestLoneServerOfThreeNeverLeads(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	lone := ns[0].start()
	for range 5 {
		if added, err := lone.admission(t.Context()); added || err == nil {
			t.Fatal("a lone server found itself admitted")
		}
	}
	await(t, "a few election time-outs", func() bool { return lone.log.count("no known peers") > 0 })
	if _, err := lone.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNoLeader) || len(lone.Members()) != 0 {
		t.Errorf("lone server: %v, members %v", err, lone.Members())
	}
	ns[1:].start()
	ns.leader(t)
	ns.propose(t, "x")
	for _, n := range ns {
		n.stop()
	}
	lone.start()
	await(t, "three lost elections", func() bool { return lone.log.count("entering candidate state") >= 3 })
	if lone.log.count("election won") > 0 || lone.IsLeader() {
		t.Error("one of three elected itself")
	}
}

func TestStoppedLeaderHandsOver(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: time.Second} }
	}
	ns.start()
	leader := ns.leader(t)
	rest := ns.without(leader)
	ns.propose(t, "a")
	ns.agree(t, []string{"a"})
	timeouts := map[*node]int{}
	for _, n := range rest {
		timeouts[n] = n.log.count("heartbeat timeout reached")
	}
	leader.stop()
	heir := rest.leader(t)
	if heir.log.count("heartbeat timeout reached") != timeouts[heir] || leader.log.count("not handed over") > 0 {
		t.Error("the next leader had to wait for a time-out")
	}
	rest.propose(t, "b")
	leader.start()
	ns.agree(t, []string{"a", "b"})
}

func TestTransferAndRemove(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	heir := ns.without(leader)[0]
	if err := leader.TransferLeadership(t.Context(), "127.0.0.1:1"); !errors.Is(err, ErrConfig) {
		t.Errorf("transfer to a stranger: %v", err)
	}
	if err := leader.TransferLeadership(t.Context(), heir.id); err != nil {
		t.Fatal(err)
	}
	await(t, "the heir to lead", heir.IsLeader)
	ns.leader(t)
	ns.propose(t, "a")

	// One that was taken out stays out while it runs, and comes back when it is started again.
	await(t, "removal", func() bool { return heir.RemoveServer(t.Context(), leader.id) == nil })
	if err := heir.RemoveServer(t.Context(), leader.id); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	rest := ns.without(leader)
	rest.propose(t, "b")
	rest.members(t, rest.ids())
	leader.stop()
	leader.start()
	ns.members(t, ns.ids())
	ns.agree(t, []string{"a", "b"})
}

func TestFourthServerJoins(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 4)
	first := ns[:3]
	for _, n := range first {
		n.peers = first.ids()
	}
	first.start()
	first.leader(t)
	want := numbered("c", 5)
	first.propose(t, want...)
	ns[3].start()
	ns.members(t, ns.ids())
	ns.agree(t, want)
}

func TestSingleServerGrowsToThree(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	peers := ns[0].peers
	ns[0].peers = nil
	ns[0].start()
	ns[:1].propose(t, "alone")
	ns[0].stop()
	ns[0].peers = peers
	ns.start()
	ns.members(t, ns.ids())
	ns.agree(t, []string{"alone"})
}

func TestWipedMemberComesBack(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	ns.propose(t, "a", "b")
	for _, wiped := range []*node{leader, ns.without(leader)[0]} {
		wiped.stop()
		wiped.wipe()
		ns.without(wiped).leader(t)
		wiped.start()
		ns.members(t, ns.ids())
		ns.agree(t, []string{"a", "b"})
		ns.leader(t)
	}
}

// A voter that lost its memory must not help to elect a server that lacks what it once acknowledged.
func TestWipedMemberDoesNotVote(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	rest := ns.without(leader)
	behind, wiped := rest[0], rest[1]
	ns.propose(t, "a")
	ns.agree(t, []string{"a"})
	behind.stop()
	nodes{leader, wiped}.propose(t, "acknowledged by a majority")
	wiped.stop()
	wiped.wipe()
	leader.stop()
	behind.start()
	wiped.start()
	await(t, "lost elections", func() bool { return behind.log.count("entering candidate state") >= 4 })
	await(t, "the wiped server to know why it waits", func() bool { return wiped.log.count("has no leader") > 0 })
	if behind.IsLeader() || wiped.IsLeader() {
		t.Fatal("a cluster without the acknowledged command elected a leader")
	}
	leader.start()
	ns.agree(t, []string{"a", "acknowledged by a majority"})
	ns.members(t, ns.ids())
}

// The same when the server that lags has seen nothing but the bootstrap: it was there when the wiped one was
// new, and must not take it for new again.
func TestWipedFounderDoesNotFoundAgain(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	idle, wiped, up := ns[0], ns[1], ns[2]
	for _, n := range ns[:2] {
		n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: time.Hour} } // no election for now
	}
	ns[:2].start()
	await(t, "one to found", func() bool { return wiped.about().Stage == stageFormed })
	await(t, "the other to found", func() bool {
		_, _ = idle.admission(t.Context()) // its own next attempt is an hour away
		return idle.about().Stage == stageFormed
	})
	for _, n := range ns[:2] {
		n.stop()
		n.adapt = nil
	}
	founded := t.TempDir()
	if err := os.CopyFS(founded, os.DirFS(idle.dir)); err != nil {
		t.Fatal(err)
	}
	ns.start()
	ns.leader(t)
	ns.propose(t, "a")
	ns.agree(t, []string{"a"})
	for _, n := range ns {
		n.stop()
	}
	idle.dir = founded // as if it had been cut off all the time
	wiped.wipe()
	wiped.start()
	idle.start()
	await(t, "the wiped server to know why it waits", func() bool { return wiped.log.count("without this master") > 0 })
	await(t, "a lost election", func() bool { return idle.log.count("entering candidate state") > 1 })
	if len(wiped.Members()) > 0 || idle.IsLeader() {
		t.Fatal("two servers that have forgotten everything founded the cluster again")
	}
	up.start()
	ns.agree(t, []string{"a"})
}

// Peers that are started while the only server with state is down form another cluster. The two keep apart.
func TestClustersOfDifferentOriginKeepApart(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	old, fresh := ns[0], ns[1:]
	peers := old.peers
	old.peers = nil
	old.start()
	want := numbered("old", 10)
	ns[:1].propose(t, want...)
	old.stop()
	fresh.start()
	fresh.leader(t)
	fresh.propose(t, "new")
	old.peers = peers
	old.start()
	await(t, "a complaint", func() bool { return old.log.count("belongs to another cluster") > 0 })
	fresh.propose(t, "newer")
	ns[:1].propose(t, "older")
	ns[:1].agree(t, append(want, "older"))
	fresh.agree(t, []string{"new", "newer"})

	// What the message says to do helps.
	old.stop()
	old.wipe()
	old.start()
	ns.agree(t, []string{"new", "newer"})
}

func TestServersOfDifferentListsDoNotForm(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 4)
	ns[0].peers, ns[1].peers = ns[:3].ids(), nodes{ns[0], ns[1], ns[3]}.ids()
	ns[:2].start()
	for _, n := range ns[:2] {
		await(t, "a complaint", func() bool { return n.log.count("has peers") > 0 })
		if len(n.Members()) > 0 {
			t.Errorf("%s formed a cluster of %v", n.id, n.Members())
		}
	}
}

func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.SnapshotEvery = 10 }
	}
	ns.start()
	leader := ns.leader(t)
	late := ns.without(leader)[0]
	late.stop()
	rest := ns.without(late)
	want := numbered("c", 50)
	rest.propose(t, want...)
	for _, n := range rest {
		if err := n.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	late.start()
	ns.agree(t, want)
	await(t, "word of an installed snapshot", func() bool { return late.log.count("Installed remote snapshot") > 0 })
}

// TestAcknowledgedCommandsSurviveTheirLeader cuts off one leader after the other under load.
func TestAcknowledgedCommandsSurviveTheirLeader(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	ns.leader(t)
	stop := make(chan struct{})
	var load sync.WaitGroup
	var mu sync.Mutex
	outcome := map[string]bool{} // true: acknowledged, false: unknown
	for w := range 4 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				command := fmt.Sprintf("w%d-%d", w, i)
				_, err := ns[i%3].Propose(t.Context(), []byte(command))
				if err == nil || errors.Is(err, ErrOutcomeUnknown) {
					mu.Lock()
					outcome[command] = err == nil
					mu.Unlock()
				}
			}
		})
	}
	acknowledged := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, yes := range outcome {
			if yes {
				n++
			}
		}
		return n
	}
	for range 3 {
		leader := ns.leader(t)
		leader.network.isolate(leader.id, true)
		ns.without(leader).leader(t)
		await(t, "the old leader to step down", func() bool { return !leader.IsLeader() })
		before := acknowledged()
		await(t, "progress", func() bool { return acknowledged() > before+20 })
		leader.network.isolate(leader.id, false)
	}
	close(stop)
	load.Wait()
	ns.leader(t)
	ns.propose(t, "the end")
	await(t, "the end everywhere", func() bool {
		return !slices.ContainsFunc(ns, func(n *node) bool { return !slices.Contains(n.machine.list(), "the end") })
	})
	final := ns[0].machine.list()
	ns.agree(t, final)
	times := map[string]int{}
	for _, command := range final[:len(final)-1] {
		times[command]++
		if _, proposed := outcome[command]; !proposed {
			t.Errorf("%s was refused but is applied", command)
		}
	}
	for command, yes := range outcome {
		if times[command] > 1 || yes && times[command] != 1 {
			t.Errorf("%s (acknowledged %v) is applied %d times", command, yes, times[command])
		}
	}
	t.Logf("%d acknowledged, %d unknown", acknowledged(), len(outcome)-acknowledged())
}

func TestChangedAddress(t *testing.T) {
	t.Parallel()
	t.Run("of a single server", func(t *testing.T) {
		n := newNodes(t, 1)[0].start()
		want := numbered("c", 5)
		nodes{n}.propose(t, want...)
		old := n.id
		for range 2 { // the second start finds everything settled
			n.stop()
			if n.id == old {
				n.id = freeport.Addr(t)
			}
			n.start()
			nodes{n}.agree(t, want)
			nodes{n}.members(t, []string{n.id})
		}
		nodes{n}.propose(t, "more")
	})
	t.Run("of one of three", func(t *testing.T) {
		ns := newNodes(t, 3)
		ns.start()
		ns.leader(t)
		ns.propose(t, "a")
		ns.agree(t, []string{"a"})
		moved := ns[0]
		old, peers := moved.id, moved.peers
		moved.stop()
		moved.id, moved.peers = freeport.Addr(t), nil
		var changed *AddressChangedError
		if err := moved.open(); !errors.As(err, &changed) || changed.Old != old || !errors.Is(err, ErrAddressChanged) {
			t.Fatalf("Open without peers: %v", err)
		}
		moved.peers = peers // as the message says
		moved.start()
		ns.agree(t, []string{"a"})
		ns.members(t, append(slices.Clone(peers), moved.id))
	})
	t.Run("a directory that is a copy", func(t *testing.T) {
		ns := newNodes(t, 2)
		ns.start()
		leader := ns.leader(t)
		other := ns.without(leader)[0]
		ns.propose(t, "a")
		if err := leader.RemoveServer(t.Context(), other.id); err != nil {
			t.Fatal(err)
		}
		nodes{leader}.members(t, []string{leader.id})
		leader.stop()
		// The copy's configuration has one voter, but that is not who last used the directory.
		if err := os.CopyFS(other.dir+"/copy", os.DirFS(leader.dir)); err != nil {
			t.Fatal(err)
		}
		other.stop()
		disk, err := openDisk(other.dir+"/copy", &logBridge{to: slog.New(other.log)})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(disk.setOwnID(other.id), disk.close()); err != nil {
			t.Fatal(err)
		}
		other.dir, other.peers = other.dir+"/copy", nil
		if err := other.open(); !errors.Is(err, ErrAddressChanged) {
			// other.id is its own last address, but the only voter is leader.id
			t.Errorf("Open: %v", err)
		}
	})
}
