package testcluster_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// leadsNobody polls a master that must not lead for a while: it says at once that it can't.
func leadsNobody(t *testing.T, m *testcluster.Server, span time.Duration) {
	t.Helper()
	slowest, polls := time.Duration(0), 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < span; polls++ {
		asked := time.Now()
		a := testcluster.Do(http.MethodGet, m.URL("/dir/assign"), "")
		slowest = max(slowest, time.Since(asked))
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Fatalf("a lone master of three answers an assign with %v, Retry-After %q", a.Err(), a.Header.Get("Retry-After"))
		}
		status, err := m.ClusterStatus()
		if err != nil || status.IsLeader || status.Leader != "" {
			t.Fatalf("a lone master of three: %+v, %v", status, err)
		}
		<-tick.C
	}
	t.Logf("%d times 503 within %v, the slowest after %v", polls, span, slowest.Round(time.Millisecond))
	if slowest > 3*testcluster.Election {
		t.Errorf("a master without a leader took %v to say so", slowest)
	}
}

// TestClusterFromFlags types the walk-through's first section, the masters in any order: a lone master never
// leads, two do, the third joins, and three volume servers of one master each are all in the topology.
func TestClusterFromFlags(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	places, list := testcluster.Peers(t, 3)
	rand.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	flags := []string{"-v=3", "-peers=" + list, "-defaultReplication=100"}

	lone := c.StartMasterAt(places[0], flags...)
	leadsNobody(t, lone, 5*testcluster.Election)
	if a := testcluster.Do(http.MethodGet, lone.URL("/readyz"), ""); a.Status != http.StatusServiceUnavailable {
		t.Errorf("a lone master of three is ready: %v", a.Err())
	}
	began := time.Now()
	c.StartMasterAt(places[1], flags...)
	c.WaitLeader(c.Masters...)
	t.Logf("two masters have a leader after %v", time.Since(began).Round(time.Millisecond))
	c.StartMasterAt(places[2], flags...)
	leader := c.WaitLeader(c.Masters...)
	c.WaitMembers(c.Masters...)

	for i, dc := range []string{"dc1", "dc1", "dc2"} {
		c.StartVolume("-v=3", "-mserver="+testcluster.Typed(places[i].Addr), "-dataCenter="+dc)
	}
	testcluster.WaitFor(t, "the leader logs each server that joins", func() error {
		for _, want := range []string{c.Volumes[0].Addr, c.Volumes[1].Addr, c.Volumes[2].Addr} {
			if !strings.Contains(leader.Log(), "volume server joined") || !strings.Contains(leader.Log(), want) {
				return fmt.Errorf("not %s", want)
			}
		}
		return nil
	})
	for _, want := range []string{"dataCenter=dc1 rack=DefaultRack", "dataCenter=dc2 rack=DefaultRack"} {
		if !strings.Contains(leader.Log(), want) {
			t.Errorf("the leader's log lacks %q", want)
		}
	}
	for _, v := range c.Volumes {
		if names := files(t, v.Dir, "[^.]*"); len(names) != 0 {
			t.Errorf("there are files before the first write: %v", names)
		}
	}
	twoCenters(t, c)
}

// twoCenters is section 2 as far as masters go: a volume of placement 100 is made in both data centers, and
// every master sends readers to both copies.
func twoCenters(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	c.WaitWritable()
	fid, ok, err := assign(c.Masters[0], 1)
	if !ok {
		t.Fatal("not assigned:", err)
	}
	id := fmt.Sprint(uint32(fid.Volume))
	at := make(map[string]bool)
	for _, m := range c.Masters {
		var answer struct {
			Locations []struct{ URL, DataCenter string }
		}
		testcluster.WaitFor(t, m.Addr+" knows both copies", func() error {
			a := testcluster.Do(http.MethodGet, m.URL("/dir/lookup?volumeId="+id), "")
			if err := a.Want(http.StatusOK); err != nil {
				return err
			}
			if err := json.Unmarshal(a.Body, &answer); err != nil || len(answer.Locations) != 2 ||
				answer.Locations[0].DataCenter == answer.Locations[1].DataCenter {
				return fmt.Errorf("not a copy in each data center: %s", a.Body)
			}
			return nil
		})
		seen := make(map[string]bool)
		for range 4 {
			a := testcluster.Do(http.MethodGet, m.URL("/"+fid.String()), "")
			if a.Status != http.StatusMovedPermanently {
				t.Errorf("%s does not redirect: %v", m.Addr, a.Err())
			}
			seen[a.Header.Get("Location")] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s redirects to %v, not to both in turn", m.Addr, seen)
		}
		for _, l := range answer.Locations {
			at[l.URL] = true
		}
	}
	if len(at) != 2 {
		t.Errorf("the masters name the servers %v for one volume", at)
	}
	for _, v := range c.Volumes {
		if has := len(files(t, v.Dir, id+".dat")) == 1; has != at[v.Addr] {
			t.Errorf("%s has %s.dat: %v, the masters say %v", v.Addr, id, has, at[v.Addr])
		}
	}
	expect(t, http.StatusNotFound, "*", http.MethodGet, c.Masters[2].URL("/dir/lookup?volumeId=4000000"), "")
	leader := c.WaitLeader(c.Masters...)
	follower := c.Others(leader)[0]
	for _, m := range []*testcluster.Server{leader, follower} {
		a := expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/dir/status"), "")
		for _, want := range []string{`"Id":"dc1"`, `"Id":"dc2"`, `"replication":"100"`} {
			if !strings.Contains(string(a.Body), want) {
				t.Errorf("%s: /dir/status lacks %s: %s", m.Addr, want, a.Body)
			}
		}
	}
}

// TestStoreThroughAnyMaster submits, reads and deletes through leader and followers alike.
func TestStoreThroughAnyMaster(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	c.StartMasters(3)
	c.StartVolume("-dataCenter=dc1")
	c.StartVolume("-dataCenter=dc2")
	c.WaitWritable()
	for i, m := range c.Masters {
		a := submit(t, m.URL("/submit"), "hello.txt", hello)
		if a.Status != http.StatusCreated {
			t.Fatalf("submit through %s: %v", m.Addr, a.Err())
		}
		fid := a.Field(t, "fid")
		for _, other := range c.Masters {
			if a := follow(t, other.URL("/"+fid)); string(a.Body) != hello {
				t.Errorf("%s, submitted through %s, read through %s: %v", fid, m.Addr, other.Addr, a.Err())
			}
		}
		last := c.Masters[(i+1)%3]
		a = testcluster.Do(http.MethodDelete, last.URL("/"+fid), "")
		if a.Status != http.StatusTemporaryRedirect {
			t.Errorf("delete through %s: %v", last.Addr, a.Err())
		}
		expect(t, http.StatusAccepted, `{"size":15}`, http.MethodDelete, a.Header.Get("Location"), "")
		if a := follow(t, m.URL("/"+fid)); a.Status != http.StatusNotFound {
			t.Errorf("a deleted file through %s: %v", m.Addr, a.Err())
		}
	}
	// The body of a form goes the same way.
	for _, m := range c.Masters {
		a := expect(t, http.StatusCreated, "*", http.MethodPost, m.URL("/submit"), "a=1&b=2", "Content-Type: application/x-www-form-urlencoded")
		if a := follow(t, m.URL("/"+a.Field(t, "fid"))); string(a.Body) != "a=1&b=2" {
			t.Errorf("a raw form through %s: %v", m.Addr, a.Err())
		}
	}
}

// remove takes a master out through another one.
func remove(t *testing.T, via *testcluster.Server, peer string) {
	t.Helper()
	testcluster.WaitFor(t, peer+" is taken out", func() error {
		return testcluster.Do(http.MethodPost, via.URL("/cluster/remove?peer="+peer), "").Want(http.StatusOK)
	})
}

// TestMastersComeAndGo is the walk-through's section 7: a fourth master joins by itself, masters are removed,
// wiped and stopped, and come back; the keys that are assigned meanwhile are given once.
func TestMastersComeAndGo(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	c.StartMasters(3)
	c.StartVolume("-fsync=never", "-max=20")
	c.WaitWritable()
	load := startLoad(t, 4, c.Masters[:2], few)

	// A fourth one, with all four in -peers.
	at := testcluster.FreePlace(t)
	list := testcluster.Typed(at.Addr)
	for _, m := range c.Masters {
		list += "," + testcluster.Typed(m.Addr)
	}
	fourth := c.StartMasterAt(at, "-peers="+list)
	c.WaitMembers(c.Masters...)
	c.WaitLeader(c.Masters...)
	waitBack(t, time.Now(), []*testcluster.Server{fourth})

	// It is taken out by the name that operators type, and stays out while it is down.
	fourth.Term()
	remove(t, c.Masters[2], testcluster.Typed(fourth.Addr))
	c.WaitMembers(c.Masters[:3]...)
	expect(t, http.StatusNotFound, "*", http.MethodPost, c.Masters[0].URL("/cluster/remove?peer="+fourth.Addr), "")
	expect(t, http.StatusBadRequest, "*", http.MethodPost, c.Masters[1].URL("/cluster/remove"), "")
	// Started again, with the state of a member, it asks to be added; so it does with nothing.
	fourth.Restart()
	c.WaitMembers(c.Masters...)
	fourth.Kill()
	remove(t, c.Masters[0], fourth.Addr)
	c.WaitMembers(c.Masters[:3]...)
	wipe(t, fourth)
	fourth.Restart()
	c.WaitMembers(c.Masters...)

	// A master that lost its directory while it is still a member, a follower and then the leader.
	for _, leads := range []bool{false, true} {
		victim := c.WaitLeader(c.Masters...)
		if !leads {
			victim = c.Others(victim)[0]
		}
		victim.Kill()
		wipe(t, victim)
		victim.Restart()
		c.WaitMembers(c.Masters...)
		c.WaitLeader(c.Masters...)
		load.waitMore(t, 100)
	}

	// A list of peers that has nothing to do with the cluster changes nothing in a master that has state.
	odd := c.Others(c.WaitLeader(c.Masters...))[0]
	odd.Kill()
	odd.Restart("-peers=" + testcluster.Typed(odd.Addr) + "," + testcluster.Typed(testcluster.FreeAddr(t)))
	c.WaitMembers(c.Masters...)
	odd.Kill()
	odd.Restart("-peers=")
	c.WaitMembers(c.Masters...)
	c.WaitLeader(c.Masters...)
	load.waitMore(t, 100)
	load.stop(t)
}

func wipe(t *testing.T, s *testcluster.Server) {
	t.Helper()
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
}
