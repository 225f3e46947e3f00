package master

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/freeport"
	"weed/internal/wire"
)

// trio starts three masters and returns the leader first.
func trio(t *testing.T) []*fixture {
	t.Helper()
	addresses := []string{freeport.Addr(t), freeport.Addr(t), freeport.Addr(t)}
	var masters []*fixture
	for _, address := range addresses {
		masters = append(masters, start(t, func(c *Config) {
			c.Address, c.Peers, c.Pulse = address, addresses, 300*time.Millisecond
		}))
	}
	return leaderFirst(masters)
}

// leaderFirst waits until all masters agree on a leader.
func leaderFirst(masters []*fixture) []*fixture {
	masters[0].Helper()
	first := -1
	masters[0].eventually("a leader", func() bool {
		first = -1
		for i, f := range masters {
			if !strings.Contains(f.get("/cluster/status").body, `"Leader":"1`) {
				return false
			}
			if strings.Contains(f.get("/cluster/status").body, `"IsLeader":true`) {
				first = i
			}
		}
		return first >= 0
	})
	masters[0], masters[first] = masters[first], masters[0]
	return masters
}

func TestFollowersPassOn(t *testing.T) {
	masters := trio(t)
	leader, follower := masters[0], masters[1]
	v := follower.volumeServer("dc1", "r1", 28)
	if reply := v.beat(true); reply.Leader != leader.cfg.Address {
		t.Fatalf("heartbeats are sent on to %q, the leader is %s", reply.Leader, leader.cfg.Address)
	}
	v.f = leader
	v.beat(true)
	a := follower.assign("?collection=c")
	if a.URL != v.url {
		t.Fatalf("%+v", a)
	}
	follower.do("POST", "/dir/assign", "application/x-www-form-urlencoded", "count=3").want(t, 200, `"count":3`)
	var s submitted
	follower.do("POST", "/submit?ts=5", "application/x-www-form-urlencoded", "a=b").want(t, 201, "fid").into(t, &s)
	if v.blobs["/"+s.FID] != "a=b" || v.puts[0].URL.RawQuery != "ts=5" {
		t.Fatal(v.blobs, v.puts[0].URL)
	}
	if to := follower.get("/"+a.FID+"?x=1").want(t, 301, "").header.Get("Location"); to != "http://"+v.url+"/"+a.FID+"?x=1" {
		t.Fatal(to)
	}
	follower.get("/dir/lookup?volumeId="+a.FID).want(t, 200, v.url)
	follower.get("/dir/lookup?volumeId=99").want(t, 404, "not found")
	follower.get("/99,01637037d6").want(t, 404, "volume 99 not found")
	follower.get("/dir/status").want(t, 200, v.url)
	follower.get("/vol/grow?count=999").want(t, 406, "Not enough for 999")
	for path, allow := range map[string]string{
		"/dir/assign": "GET, HEAD, POST, OPTIONS", "/submit": "POST, OPTIONS", "/vol/status": "GET, HEAD, OPTIONS",
		"/vol/grow": "GET, POST, OPTIONS", "/vol/mark": "POST, OPTIONS", "/delete": "POST, OPTIONS",
		"/dir/lookup": "GET, HEAD, POST, OPTIONS", "/" + a.FID: "GET, HEAD, POST, PUT, DELETE, OPTIONS",
	} {
		for _, f := range []*fixture{leader, follower} {
			options := f.do("OPTIONS", path, "", "").want(t, 204, "")
			refused := f.do("PATCH", path, "", "").want(t, 405, "error")
			if options.header.Get("Allow") != allow || refused.header.Get("Allow") != allow || options.header.Get("Content-Type") != "" {
				t.Errorf("%s: %v, %v", path, options.header, refused.header)
			}
		}
	}
	follower.get("/readyz").want(t, 200, "")
	follower.get("/nonsense").want(t, 404, "error")
	follower.get("/cluster/status").want(t, 200, fmt.Sprintf(`"IsLeader":false,"Leader":"%s"`, leader.cfg.Address))
}

func TestLeaderChangeUnderLoad(t *testing.T) {
	masters := trio(t)
	leader, rest := masters[0], masters[1:]
	v := leader.volumeServer("dc1", "r1", 28)
	v.beat(true)
	var mu sync.Mutex
	seen := map[blob.Key]bool{}
	take := func(f *fixture) {
		for range 200 {
			r := f.get("/dir/assign")
			if r.status != 200 {
				continue
			}
			var a assigned
			r.into(t, &a)
			fid, _ := blob.ParseFileID(a.FID)
			mu.Lock()
			if seen[fid.Key] {
				t.Errorf("key %d twice", fid.Key)
			}
			seen[fid.Key] = true
			mu.Unlock()
		}
	}
	var wg sync.WaitGroup
	for _, f := range rest {
		wg.Go(func() { take(f) })
	}
	leader.stop()
	wg.Wait()
	rest = leaderFirst(rest)
	v.f = rest[0]
	if reply := v.beat(false); !reply.Resend {
		t.Fatal("a new leader must ask for everything")
	}
	v.beat(true)
	take(rest[0])
	take(rest[1])
	if len(seen) < 400 {
		t.Fatalf("only %d assigns were answered", len(seen))
	}
}

func TestHeartbeatsWithoutLeaderFail(t *testing.T) {
	f := start(t, func(c *Config) { c.Peers = []string{freeport.Addr(t)} })
	f.do("POST", wire.PathHeartbeat, "application/json", `{"url":"a:1","full":true}`).want(t, 503, "leader")
	f.do("OPTIONS", "/submit", "", "").want(t, 204, "")
	f.get("/submit").want(t, 405, "Only submit via POST!")
}
