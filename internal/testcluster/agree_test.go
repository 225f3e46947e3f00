package testcluster_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// topologyStatus is the part of /dir/status that tests look at.
type topologyStatus struct {
	Topology struct {
		DataCenters []struct {
			Racks []struct {
				DataNodes []struct{ URL string }
			}
		}
		Layouts []struct {
			Collection string
			Writables  []uint32
		} `json:"layouts"`
	}
}

func dirStatus(m *testcluster.Server) (servers []string, writables map[string][]uint32, err error) {
	var status topologyStatus
	a := testcluster.DoWithin(giveUp, http.MethodGet, m.URL("/dir/status"), "")
	if err := a.Want(http.StatusOK); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(a.Body, &status); err != nil {
		return nil, nil, err
	}
	for _, dc := range status.Topology.DataCenters {
		for _, rack := range dc.Racks {
			for _, node := range rack.DataNodes {
				servers = append(servers, node.URL)
			}
		}
	}
	writables = make(map[string][]uint32)
	for _, l := range status.Topology.Layouts {
		writables[l.Collection] = append(writables[l.Collection], l.Writables...)
	}
	return servers, writables, nil
}

// lookups asks a master where volumes are: for each the status and the servers, in order.
func lookups(m *testcluster.Server, ids []uint32) (text string, err error) {
	for _, id := range ids {
		a := testcluster.Do(http.MethodGet, m.URL(fmt.Sprint("/dir/lookup?volumeId=", id)), "")
		if a.Status != http.StatusOK && a.Status != http.StatusNotFound {
			return "", a.Err()
		}
		var answer struct {
			Locations []struct{ URL string }
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			return "", err
		}
		text += fmt.Sprintf("%d: %d %v\n", id, a.Status, answer.Locations)
	}
	return text, nil
}

// agree waits until all masters give the answers that are wanted, within a pulse, and reports how long it took.
func agree(t *testing.T, what string, pulse time.Duration, masters []*testcluster.Server, ids []uint32, want func(text string) bool) {
	t.Helper()
	began := time.Now()
	testcluster.WaitFor(t, "all masters agree after "+what, func() error {
		var all []string
		for _, m := range masters {
			text, err := lookups(m, ids)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Addr, err)
			}
			all = append(all, text)
		}
		if len(slices.Compact(slices.Clone(all))) > 1 || !want(all[0]) {
			return fmt.Errorf("answers:\n%s", strings.Join(all, "---\n"))
		}
		return nil
	})
	took := time.Since(began)
	t.Logf("%s: all masters agree after %v", what, took.Round(time.Millisecond))
	if took > pulse {
		t.Errorf("%s: the masters agree after %v, a pulse is %v", what, took, pulse)
	}
}

// TestMastersAgree makes volumes, deletes a collection and takes a server away; all masters, four of them,
// say the same about every volume within a pulse.
func TestMastersAgree(t *testing.T) {
	t.Parallel()
	const pulse = 3 * time.Second // long enough for a busy machine
	c := testcluster.New(t)
	c.StartMasters(4, fmt.Sprint("-pulseSeconds=", pulse.Seconds()))
	for range 3 {
		c.StartVolume("-max=10", fmt.Sprint("-pulseSeconds=", pulse.Seconds()))
	}
	testcluster.WaitFor(t, "the servers have joined", func() error {
		servers, _, err := dirStatus(c.Masters[0])
		if err == nil && len(servers) != 3 {
			err = fmt.Errorf("%v", servers)
		}
		return err
	})
	grow := func(m *testcluster.Server, want int, collection, replication string) []uint32 {
		t.Helper()
		query := fmt.Sprintf("count=%d&collection=%s&replication=%s", want, collection, replication)
		expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/vol/grow?"+query), "")
		var volumes []uint32
		testcluster.WaitFor(t, "all new volumes of "+collection+" are writable", func() error {
			_, writables, err := dirStatus(c.WaitLeader(c.Masters...))
			if volumes = writables[collection]; err == nil && len(volumes) != want {
				err = fmt.Errorf("writable: %v, want %d", volumes, want)
			}
			return err
		})
		return volumes
	}
	found := func(n int) func(string) bool {
		return func(text string) bool { return strings.Count(text, ": 200 [{") == n }
	}
	leader := c.WaitLeader(c.Masters...)
	followers := c.Others(leader)

	pictures := grow(followers[0], 4, "picture", "000")
	agree(t, "growth", pulse, c.Masters, pictures, found(len(pictures)))
	copies := grow(leader, 3, "copies", "001")
	agree(t, "growth with two copies", pulse, c.Masters, copies, func(text string) bool {
		return found(len(copies))(text) && strings.Count(text, "} {") == len(copies)
	})

	expect(t, http.StatusOK, "{}", http.MethodPost, followers[1].URL("/col/delete?collection=picture"), "")
	agree(t, "the deletion of a collection", pulse, c.Masters, pictures, found(0))

	gone := c.Volumes[0]
	if code := gone.Term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	agree(t, "a server's leave", pulse, c.Masters, copies, func(text string) bool { // the other copy stays
		return found(len(copies))(text) && strings.Count(text, c.Volumes[1].Addr)+strings.Count(text, c.Volumes[2].Addr) >= len(copies)
	})
	for _, m := range c.Masters {
		if _, writables, err := dirStatus(m); err != nil || hasCopyOn(t, leader, writables["copies"], gone.Addr) {
			t.Errorf("%s: writable after a copy has left: %v, %v", m.Addr, writables["copies"], err)
		}
	}
	gone.Restart()
	testcluster.WaitFor(t, "the volumes of a server that is back are writable", func() error {
		_, writables, err := dirStatus(followers[2])
		if err == nil && len(writables["copies"]) != len(copies) {
			err = fmt.Errorf("writable: %v of %v", writables["copies"], copies)
		}
		return err
	})
	agree(t, "a server's return", pulse, c.Masters, copies, func(text string) bool {
		return found(len(copies))(text) && strings.Count(text, "} {") == len(copies)
	})
}

// hasCopyOn reports whether one of the volumes is on a server, as a lookup says.
func hasCopyOn(t *testing.T, m *testcluster.Server, ids []uint32, server string) bool {
	t.Helper()
	text, err := lookups(m, ids)
	if err != nil {
		t.Error(err)
	}
	return strings.Contains(text, server)
}

// joined waits until a master lists all running volume servers, and returns how long that took since.
func joined(t *testing.T, c *testcluster.Cluster, m *testcluster.Server, since time.Time) time.Duration {
	t.Helper()
	testcluster.WaitFor(t, "the leader assigns to every volume server", func() error {
		servers, _, err := dirStatus(m)
		for _, v := range c.Volumes {
			if err == nil && !ended(v) && !slices.Contains(servers, v.Addr) {
				err = fmt.Errorf("%s lists %v, not %s", m.Addr, servers, v.Addr)
			}
		}
		return err
	})
	return time.Since(since)
}

// TestServersFollow gives each volume server one master of three. They find the leader through it and follow
// leadership wherever it goes, also when the master that they were given is the one that dies.
func TestServersFollow(t *testing.T) {
	t.Parallel()
	const pulse = time.Second
	c := testcluster.New(t)
	c.StartMasters(3)
	for i := range c.Masters {
		c.StartVolume("-max=5", "-mserver="+testcluster.Typed(c.Masters[i].Addr))
	}
	leader := c.WaitLeader(c.Masters...)
	joined(t, c, leader, time.Now())
	// Each holds a volume, so that who has left is seen in the writables.
	expect(t, http.StatusOK, "*", http.MethodGet, leader.URL("/vol/grow?count=3&collection=each"), "")

	// Leaders die, beginning with one that is all that a server knows, and stay away until the others have all the servers.
	var times []time.Duration
	for range c.Masters {
		leader := c.WaitLeader(c.Masters...)
		killed := time.Now()
		leader.Kill()
		next := c.WaitLeader(c.Others(leader)...)
		waitRegistered(t, c, next)
		times = append(times, time.Since(killed))
		leader.Restart()
	}
	checkBack(t, "leader killed, all servers registered", times, pulse+backBound)

	times = nil
	leader = c.WaitLeader(c.Masters...)
	for _, next := range c.Others(leader) {
		moved := time.Now()
		testcluster.WaitFor(t, "leadership is handed over", func() error {
			return testcluster.Do(http.MethodPost, leader.URL("/cluster/transfer?peer="+next.Addr), "").Want(http.StatusOK)
		})
		waitRegistered(t, c, next)
		times = append(times, time.Since(moved))
		leader = next
	}
	t.Logf("leader handed over: all servers registered after %s", spread(times))
	if longest := slices.Max(times); longest > pulse+backBound {
		t.Errorf("a server took %v to follow", longest)
	}
	serverDies(t, c, pulse)
}

// waitRegistered waits until every volume server that runs has reported to a leader in its present term.
func waitRegistered(t *testing.T, c *testcluster.Cluster, leader *testcluster.Server) {
	t.Helper()
	testcluster.WaitFor(t, "all servers have joined "+leader.Addr, func() error {
		_, term, ok := cutLast(leader.Log(), "this master leads")
		if !ok {
			return fmt.Errorf("it does not lead")
		}
		for _, v := range c.Volumes {
			if !ended(v) && !strings.Contains(term, "volume server joined server="+v.Addr) {
				return fmt.Errorf("not %s", v.Addr)
			}
		}
		return nil
	})
}

// cutLast cuts around the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// serverDies kills a volume server: its volumes leave the writables within three pulses.
func serverDies(t *testing.T, c *testcluster.Cluster, pulse time.Duration) {
	t.Helper()
	leader := c.WaitLeader(c.Masters...)
	joined(t, c, leader, time.Now())
	victim := c.Volumes[1]
	var own []uint32
	testcluster.WaitFor(t, "each server has writable volumes", func() error {
		_, writables, err := dirStatus(leader)
		own = nil
		for _, id := range writables["each"] {
			if hasCopyOn(t, leader, []uint32{id}, victim.Addr) {
				own = append(own, id)
			}
		}
		if err == nil && len(own) == 0 {
			err = fmt.Errorf("writable: %v", writables)
		}
		return err
	})
	killed := time.Now()
	victim.Kill()
	testcluster.WaitFor(t, "the volumes of a server that died are not writable", func() error {
		_, writables, err := dirStatus(leader)
		for _, id := range own {
			if slices.Contains(writables["each"], id) {
				return fmt.Errorf("volume %d is", id)
			}
		}
		return err
	})
	took := time.Since(killed)
	t.Logf("server killed: out of the writables after %v", took.Round(time.Millisecond))
	// Three pulses from its last heartbeat, and the time in which the masters look.
	if took > 2*3*pulse {
		t.Errorf("a dead server was out of the writables after %v, three pulses are %v", took, 3*pulse)
	}
	if took < pulse {
		t.Errorf("a server was out of the writables %v after it was killed: was it in?", took)
	}
	victim.Restart()
	joined(t, c, leader, time.Now())
}
