package volume

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/wire"
)

// TestTTL lets time pass: a blob is there until its own ttl, or that of its volume, has passed since it was stored.
func TestTTL(t *testing.T) {
	var passed atomic.Int64 // nanoseconds
	n := start(t, func(c *Config) { c.Now = func() time.Time { return time.Unix(1_700_000_000, passed.Load()) } })
	n.do("POST", wire.PathVolumeCreate, `{"id":4,"collection":"brief","replication":"000","ttl":"1h"}`).want(200)
	large := noise(300<<10, 1)
	n.put(fid+"?ttl=3m", "short")
	n.put("/3,02637037d6?ttl=3m", large)
	n.put("/3,03637037d6", "for ever")
	n.put("/4,01637037d6", "as its volume")
	n.put("/4,02637037d6?ttl=1m", "shorter than its volume")
	n.do("PUT", "/4,03637037d6?ttl=2h", "x").want(400).says("ttl=2h")
	n.do("PUT", "/3,04637037d6?ttl=3x", "x").want(400)
	n.do("PUT", "/4,04637037d6?ttl=60m", "x").want(201)
	const commits = time.Millisecond // more than the times of appends differ, since each is a later one
	missing := n.get("/3,7fffffff637037d6").want(404)
	for _, c := range []struct {
		at   time.Duration
		gone []string
		live []string
	}{
		{59 * time.Second, nil, []string{fid, "/3,02637037d6", "/4,02637037d6"}},
		{time.Minute + commits, []string{"/4,02637037d6"}, []string{fid}},
		{3*time.Minute - 1, nil, []string{fid, "/3,02637037d6"}},
		{3*time.Minute + commits, []string{fid, "/3,02637037d6"}, []string{"/3,03637037d6", "/4,01637037d6"}},
		{time.Hour + commits, []string{"/4,01637037d6", "/4,04637037d6"}, []string{"/3,03637037d6"}},
	} {
		passed.Store(int64(c.at))
		for _, path := range c.live {
			n.get(path).want(200)
			n.do("HEAD", path, "").want(200)
		}
		for _, path := range c.gone {
			n.get(path).want(404).is(missing.body)
			n.do("HEAD", path, "").want(404)
			n.get(path, "If-None-Match", "*").want(404)
			n.get(path, "Range", "bytes=0-0").want(404)
			n.do("DELETE", path, "").want(404)
		}
	}

	order := func(id int, collection string, at int64) *answer {
		return n.do("POST", wire.PathVolumeExpire, fmt.Sprintf(`{"id":%d,"collection":%q,"modifiedAtSecond":%d}`, id, collection, at))
	}
	order(4, "brief", 1_700_000_000).want(409) // a second is not over yet
	order(3, "", 1_700_000_000).want(409)
	order(4, "other", 1_700_000_000).want(404)
	passed.Store(int64(time.Hour + time.Second))
	order(4, "brief", 1_699_999_999).want(409)
	order(4, "brief", 1_700_000_000).want(200).says(`"ReadOnlyReason":"its time to live is over"`)
	n.do("PUT", "/4,05637037d6", "x").want(http.StatusServiceUnavailable)
	n.put("/3,05637037d6", "x")
}

// TestTTLOfCopies asks the copies of a volume whether its time is over: only the primary may say so.
func TestTTLOfCopies(t *testing.T) {
	var passed atomic.Int64 // seconds
	p := pairUpWith(t, "1h", func(_ int, c *Config) {
		c.Now = func() time.Time { return time.Unix(1_700_000_000+passed.Load(), 0) }
	})
	passed.Store(10)
	p.nodes[0].put("/3,02637037d6", "later")
	eventually(t, "the second copy has it", func() bool { return p.nodes[1].get("/3,02637037d6").StatusCode == 200 })
	order := func(i int, at int64) *answer {
		return p.nodes[i].do("POST", wire.PathVolumeExpire, fmt.Sprintf(`{"id":3,"modifiedAtSecond":%d}`, at))
	}
	passed.Store(3600 + 5)
	for _, n := range p.nodes {
		n.get("/3,ff637037d6").want(404)
		n.get("/3,02637037d6").want(200)
	}
	order(0, 1_700_000_000).want(409)
	order(0, 1_700_000_010).want(409)
	passed.Store(3600 + 20)
	for _, n := range p.nodes {
		n.get("/3,02637037d6").want(404)
	}
	order(1, 1_700_000_010).want(409)
	order(0, 1_700_000_010).want(200)
	p.nodes[0].do("PUT", "/3,03637037d6", "x").want(503)
	p.nodes[1].do("PUT", "/3,03637037d6", "x").want(503)
}
