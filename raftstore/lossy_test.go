package raftstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFollowerBehindALossyNetwork: a follower to which packets were lost while the leader had much to send is brought
// up to date by that leader, who can be closed afterwards.
func TestFollowerBehindALossyNetwork(t *testing.T) {
	ns := newNodes(t, 3)
	for _, n := range ns {
		n.adapt = func(c *Config) { c.Timeouts.Request = 100 * time.Millisecond }
	}
	ns.start()
	leader := ns.leader(t)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var done atomic.Int64
	for i := range 8 {
		load.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				if _, err := leader.Propose(ctx, fmt.Appendf(nil, "%d.%d", i, j)); err == nil {
					done.Add(1)
				}
			}
		})
	}
	follower := ns.without(leader)[0]
	for range 10 {
		upTo := len(leader.machine.list())
		await(t, "the follower has what was proposed", func() bool { return len(follower.machine.list()) > upTo })
		leader.network.lose(follower.id, true)
		lost := time.Now().Add(150 * time.Millisecond)
		await(t, "packets are lost", func() bool { return time.Now().After(lost) })
		leader.network.lose(follower.id, false)
	}
	stop()
	load.Wait()
	for _, n := range ns {
		n.stop()
	}
}
