package testcluster_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// isolatedMasters is a cluster of which every master is a node of its own in a network, as are the volume
// servers.
type isolatedMasters struct {
	*testcluster.Cluster
	network *testcluster.Network
	nodes   map[*testcluster.Server]testcluster.Node
}

func startIsolated(t *testing.T) *isolatedMasters {
	t.Helper()
	c := &isolatedMasters{testcluster.New(t), testcluster.NewNetwork(t), make(map[*testcluster.Server]testcluster.Node)}
	var nodes []testcluster.Node
	var list []string
	for range 3 {
		node := c.network.Add()
		nodes = append(nodes, node)
		list = append(list, node.Place("9333").Addr)
	}
	for _, node := range nodes {
		c.nodes[c.StartMasterAt(node.Place("9333"), "-peers="+strings.Join(list, ","))] = node
	}
	c.WaitLeader(c.Masters...)
	node := c.network.Add()
	for i := range 2 {
		v := c.StartVolumeAt(node.Place(fmt.Sprint(8080+i)), "-fsync=never", "-max=20")
		c.nodes[v] = node
	}
	c.WaitWritable()
	return c
}

// cut separates a server from others, until the returned function is called.
func (c *isolatedMasters) cut(s *testcluster.Server, others ...*testcluster.Server) (heal func()) {
	for _, other := range others {
		c.network.Cut(c.nodes[s], c.nodes[other])
	}
	return func() {
		for _, other := range others {
			c.network.Heal(c.nodes[s], c.nodes[other])
		}
	}
}

// TestLeaderCutOff cuts the leader off from the other masters, while clients and volume servers still reach
// it. It stops assigning before another one begins; when the network is whole again all agree by themselves.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	c := startIsolated(t)
	load := startLoad(t, 16, c.Masters, few)
	load.waitMore(t, 200)
	type cutting struct {
		span
		leader *testcluster.Server
	}
	var (
		cuts  []cutting
		times []time.Duration
		heals []time.Duration
	)
	for range 3 {
		leader := c.WaitLeader(c.Masters...)
		began := time.Now()
		heal := c.cut(leader, c.Others(leader)...)
		done := time.Now()
		times = append(times, waitBack(t, began, c.Others(leader)))
		load.waitMore(t, 500)
		testcluster.WaitFor(t, "a leader that is cut off says that it can't assign", func() error {
			a := testcluster.Do(http.MethodGet, leader.URL("/dir/assign"), "")
			if err := a.Want(http.StatusServiceUnavailable); err != nil {
				return err
			}
			if a.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			return nil
		})
		cuts = append(cuts, cutting{span{done, time.Now()}, leader})
		heal()
		healed := time.Now()
		c.WaitLeader(c.Masters...)
		heals = append(heals, time.Since(healed))
		load.waitMore(t, 500)
	}
	grants := load.stop(t)
	allThere(t, c.Masters, grants)
	checkBack(t, "leader cut off", times, backBound)
	t.Logf("network whole again: all masters agreed after %s", spread(heals))

	var last []time.Duration
	for _, cut := range cuts {
		latest := time.Duration(0)
		for _, g := range grants {
			if g.via == cut.leader && g.start.After(cut.from) && g.start.Before(cut.to) {
				latest = max(latest, g.start.Sub(cut.from))
			}
		}
		last = append(last, latest)
	}
	t.Logf("the last request that a leader granted after it was cut off was sent after %s", spread(last))
	checkBack(t, "leader cut off, still assigning", last, testcluster.Election)
}

// TestFollowerCutOff cuts one follower off from the leader only. The other two go on under the same leader,
// also when the follower is back: it has not talked them into elections.
func TestFollowerCutOff(t *testing.T) {
	t.Parallel()
	c := startIsolated(t)
	leader := c.WaitLeader(c.Masters...)
	load := startLoad(t, 4, c.Masters, few)
	follower := c.Others(leader)[0]
	began := time.Now()
	heal := c.cut(follower, leader)
	testcluster.WaitFor(t, "the follower misses the leader", func() error {
		status, err := follower.ClusterStatus()
		if err == nil && status.Leader != "" {
			err = fmt.Errorf("it names %s", status.Leader)
		}
		return err
	})
	a := testcluster.Do(http.MethodGet, follower.URL("/dir/assign"), "")
	if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("a follower without a leader answers an assign with %v", a.Err())
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for watched := time.Now(); time.Since(watched) < 3*testcluster.Election; <-tick.C {
		if status, err := leader.ClusterStatus(); err != nil || !status.IsLeader {
			t.Fatalf("the leader lost its majority of two to a follower that can't hear it: %+v, %v", status, err)
		}
	}
	heal()
	if now := c.WaitLeader(c.Masters...); now != leader {
		t.Errorf("%s leads after %s was cut off and healed; %s did", now.Addr, follower.Addr, leader.Addr)
	}
	load.waitMore(t, 100)
	ended := time.Now()
	load.stop(t)
	t.Logf("the longest time that a client had no answer: %v", load.longestGap(began, ended).Round(time.Millisecond))
}
