package testcluster_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// chaos is a cluster to which faults happen, one or two at a time.
type chaos struct {
	*isolatedMasters
	t      *testing.T
	load   *assignLoad
	random *rand.Rand
}

// TestMastersChaos lets faults happen to three masters in any order and combination that leaves a majority,
// under assign load, for as long as -chaos.minutes says.
func TestMastersChaos(t *testing.T) {
	if *chaosMinutes == 0 {
		t.Skip("-chaos.minutes is not given")
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-chaos.seed=%d", seed)
	c := &chaos{isolatedMasters: startIsolated(t), t: t, random: rand.New(rand.NewPCG(seed, 0))}
	c.load = startLoad(t, 16, c.Masters, few)
	faults := []struct {
		name  string
		begin func(victim *testcluster.Server) (undo func())
	}{
		{"killed", c.kill}, {"killed and wiped", c.wiped}, {"stopped", c.term}, {"paused", c.pause},
		{"cut off", c.cutOff}, {"told to lead", c.transfer}, {"half cut off", c.halfCut},
	}
	counts := make(map[string]int)
	times := make(map[string][]time.Duration)
	for began := time.Now(); time.Since(began).Minutes() < *chaosMinutes && !t.Failed(); {
		victim := c.WaitLeader(c.Masters...)
		name := "leader "
		if c.random.IntN(3) == 0 {
			victim, name = c.Others(victim)[c.random.IntN(2)], "follower "
		}
		fault := faults[c.random.IntN(len(faults))]
		name += fault.name
		counts[name]++
		broke := time.Now()
		undo := fault.begin(victim)
		if c.random.IntN(4) > 0 { // else it is over before the others may have noticed
			times[name] = append(times[name], waitBack(t, broke, c.Others(victim)))
			c.load.waitMore(t, int64(c.random.IntN(5000)))
		}
		undo()
		c.load.waitMore(t, int64(c.random.IntN(200)))
	}
	c.WaitLeader(c.Masters...)
	c.WaitMembers(c.Masters...)
	grants := c.load.stop(t)
	allThere(t, c.Masters, grants)
	for name, n := range counts {
		t.Logf("%s: %d times", name, n)
		if len(times[name]) > 0 {
			checkBack(t, name, times[name], backBound)
		}
	}
}

func (c *chaos) kill(victim *testcluster.Server) func() {
	victim.Kill()
	return func() { victim.Restart() }
}

func (c *chaos) wiped(victim *testcluster.Server) func() {
	victim.Kill()
	wipe(c.t, victim)
	return func() {
		victim.Restart()
		c.WaitMembers(c.Masters...)
	}
}

func (c *chaos) term(victim *testcluster.Server) func() {
	if code := victim.Term(); code != 0 {
		c.t.Errorf("exit code %d", code)
	}
	return func() { victim.Restart() }
}

func (c *chaos) pause(victim *testcluster.Server) func() {
	victim.Pause()
	return func() { victim.Resume() }
}

func (c *chaos) cutOff(victim *testcluster.Server) func() { return c.cut(victim, c.Others(victim)...) }

func (c *chaos) halfCut(victim *testcluster.Server) func() { return c.cut(victim, c.Others(victim)[0]) }

// transfer hands leadership over; that it may fail is no fault.
func (c *chaos) transfer(victim *testcluster.Server) func() {
	testcluster.DoWithin(giveUp, http.MethodPost, c.Others(victim)[0].URL(fmt.Sprint("/cluster/transfer?peer=", victim.Addr)), "")
	return func() {}
}
