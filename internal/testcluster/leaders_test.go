package testcluster_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// TestLeaderStandsStill stops the leader again and again for a time that a process may wait for a CPU on a busy
// machine. It leads on.
func TestLeaderStandsStill(t *testing.T) {
	t.Parallel()
	const (
		still  = 600 * time.Millisecond
		atMost = 800 * time.Millisecond // a pause that this machine has made longer than that says nothing
	)
	c := testcluster.New(t)
	c.StartMasters(3)
	over := time.NewTimer(0)
	<-over.C
	rounds, tooLong := 0, 0
	for began := time.Now(); rounds < 10; {
		if time.Since(began) > testcluster.Patience {
			t.Fatalf("only %d pauses in %v were short enough", rounds, testcluster.Patience)
		}
		leader := c.WaitLeader(c.Masters...)
		before := strings.Count(leader.Log(), "leads no more")
		asked := time.Now()
		leader.Pause()
		over.Reset(still)
		<-over.C
		leader.Resume()
		testcluster.WaitFor(t, "a leader", func() error { // a heartbeat each way, so that the next pause does not add to this one
			return testcluster.Do(http.MethodGet, leader.URL("/readyz"), "").Want(http.StatusOK)
		})
		switch stood, steps := time.Since(asked), strings.Count(leader.Log(), "leads no more")-before; {
		case stood > atMost:
			tooLong++
		case steps > 0:
			t.Fatalf("the leader has stepped down for standing still for %v", stood)
		default:
			rounds++
		}
	}
	t.Logf("%d pauses of %v, and %d that became longer than %v", rounds, still, tooLong, atMost)
}

// TestServerDiesAsLeadersChange kills a volume server while leadership goes round. Each leader begins with what
// the records say, yet the dead one is out within three pulses, and at no time one that is well.
func TestServerDiesAsLeadersChange(t *testing.T) {
	t.Parallel()
	const pulse = time.Second
	c := testcluster.New(t)
	c.StartMasters(3)
	for range 3 {
		c.StartVolume("-max=5")
	}
	leader := c.WaitLeader(c.Masters...)
	joined(t, c, leader, time.Now())
	expect(t, http.StatusOK, "*", http.MethodGet, leader.URL("/vol/grow?count=6&collection=each"), "")
	victim := c.Volumes[1]
	var dead, well []uint32
	testcluster.WaitFor(t, "all volumes are writable", func() error {
		_, writables, err := dirStatus(leader)
		dead, well = nil, nil
		for _, id := range writables["each"] {
			if hasCopyOn(t, leader, []uint32{id}, victim.Addr) {
				dead = append(dead, id)
			} else {
				well = append(well, id)
			}
		}
		if err == nil && (len(dead) == 0 || len(dead)+len(well) != 6) {
			err = fmt.Errorf("writable: %v", writables)
		}
		return err
	})
	killed := time.Now()
	victim.Kill()
	handOvers := 0
	for in := true; in; {
		next := c.Others(leader)[handOvers%2]
		expect(t, http.StatusOK, fmt.Sprintf(`{"leader":"%s"}`, next.Addr), http.MethodPost, leader.URL("/cluster/transfer?peer="+next.Addr), "")
		leader = next
		handOvers++
		_, writables, err := dirStatus(leader)
		if err != nil {
			t.Fatal("the new leader:", err)
		}
		in = slices.ContainsFunc(dead, func(id uint32) bool { return slices.Contains(writables["each"], id) })
		for _, id := range well {
			if !slices.Contains(writables["each"], id) {
				t.Errorf("volume %d, on a server that is well, is not writable after %d hand-overs", id, handOvers)
			}
		}
		if took := time.Since(killed); took > 3*pulse {
			t.Fatalf("a dead server is in the writables %v after its death, three pulses are %v", took, 3*pulse)
		}
	}
	t.Logf("out of the writables after %v and %d hand-overs", time.Since(killed).Round(time.Millisecond), handOvers)
}
