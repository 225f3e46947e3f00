package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/internal/wire"
)

// churn drives a tree and the servers of a cluster; the servers' own books are the naive model.
type churn struct {
	tree    *Tree
	now     time.Time
	servers map[string]*server
	seen    map[string]time.Time // of the last heartbeat that was taken in; absent for unknown servers
	last    *wire.Heartbeat
	nextID  uint32
}

// The collection and placement of a volume follow from its id, so that copies never contradict each other.
func churnInfo(id uint32, t *rapid.T) wire.VolumeInfo {
	v := info(id, []string{"", "c"}[id%2], []string{"000", "001", "100"}[id%3])
	v.SizeBytes = rapid.SampledFrom([]uint64{0, 899, 900, 999, 1000}).Draw(t, "size")
	v.ReadOnly = rapid.IntRange(0, 4).Draw(t, "read-only") == 0
	v.Disk = rapid.IntRange(0, 1).Draw(t, "disk")
	return v
}

func (c *churn) Beat(t *rapid.T) {
	s := c.servers[rapid.SampledFrom(slices.Sorted(maps.Keys(c.servers))).Draw(t, "server")]
	_, known := c.seen[s.hb.URL]
	id := uint32(rapid.IntRange(1, 12).Draw(t, "volume"))
	var hb *wire.Heartbeat
	switch {
	case !known || rapid.Bool().Draw(t, "full"):
		s.vols[id] = churnInfo(id, t)
		s.hb.Max = rapid.IntRange(0, 9).Draw(t, "slots")
		hb = s.full()
	case rapid.Bool().Draw(t, "gone"):
		hb = s.delta([]uint32{id})
	default:
		hb = s.delta(nil, churnInfo(id, t))
	}
	out, err := c.tree.Heartbeat(c.now, hb)
	if err != nil || out.Resend || out.Joined == known || out.Conflicts != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	c.seen[s.hb.URL], c.last = c.now, hb
}

func (c *churn) Replay(t *rapid.T) {
	if c.last == nil {
		t.Skip("no heartbeat to replay yet")
	}
	if _, known := c.seen[c.last.URL]; !known {
		t.Skip("the tree has forgotten the server: to it this would be a new heartbeat")
	}
	before := c.picture()
	if out, err := c.tree.Heartbeat(c.now, c.last); err != nil || out.Joined || out.Resend {
		t.Fatalf("%+v, %v", out, err)
	}
	if after := c.picture(); after != before {
		t.Fatalf("a replay changed\n%s\nto\n%s", before, after)
	}
}

func (c *churn) Leave(t *rapid.T) {
	s := c.servers[rapid.SampledFrom(slices.Sorted(maps.Keys(c.servers))).Draw(t, "server")]
	_, known := c.seen[s.hb.URL]
	hb := s.delta(nil)
	hb.Leaving = true
	if out, err := c.tree.Heartbeat(c.now, hb); err != nil || out.Left != known {
		t.Fatalf("%+v, %v", out, err)
	}
	delete(c.seen, s.hb.URL)
	c.restart(s)
}

func (c *churn) restart(s *server) {
	s.hb.Incarnation++
	s.hb.Sequence = 0
}

func (c *churn) Expire(t *rapid.T) {
	c.now = c.now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond)
	gone := map[string]bool{}
	for _, at := range c.tree.Expire(c.now) {
		gone[at.URL] = true
	}
	for url, seen := range c.seen {
		if due := c.now.Sub(seen) >= 3*time.Second; due != gone[url] {
			t.Fatalf("%s: last seen %v ago, expired %v", url, c.now.Sub(seen), gone[url])
		} else if due {
			delete(c.seen, url)
			c.restart(c.servers[url])
		}
	}
}

func (c *churn) Grow(t *rapid.T) {
	c.nextID++
	id := c.nextID
	v := churnInfo(id, t)
	v.SizeBytes, v.ReadOnly = 0, false
	plans, err := c.tree.Reserve(mustKey(&v), Preference{}, 1)
	if err != nil {
		if !errors.Is(err, ErrNoFreeSlots) && !errors.Is(err, ErrCannotPlace) {
			t.Fatal(err)
		}
		t.Skip("no server has a slot for it, so nothing grows: ", err)
	}
	if rapid.Bool().Draw(t, "fails") {
		c.tree.Release(plans[0])
		return
	}
	infos := make([]wire.VolumeInfo, len(plans[0].Servers))
	for i, at := range plans[0].Servers {
		infos[i] = v
		c.servers[at.URL].vols[id] = v
	}
	c.tree.Settle(c.now, plans[0], infos)
}

// picture is all that the tree shows.
func (c *churn) picture() string {
	s := fmt.Sprintf("%+v %+v", c.tree.Counts(), c.tree.Layouts())
	c.tree.Walk(func(n ServerStatus) { s += fmt.Sprintf("\n%+v %d %d %+v", *n.Location, n.Max, n.Free, n.Volumes) })
	return s
}

// Check compares the tree with the servers' own books.
func (c *churn) Check(t *rapid.T) {
	if err := c.tree.broken(); err != nil {
		t.Fatal(err)
	}
	copies := map[uint32][]wire.VolumeInfo{}
	free := 0
	for url := range c.seen {
		s := c.servers[url]
		free += max(0, s.hb.Max-len(s.vols))
		for id, v := range s.vols {
			copies[id] = append(copies[id], v)
		}
	}
	if got := c.tree.Counts(); got.Free != free || got.Servers != len(c.seen) || got.Volumes != len(copies) {
		t.Fatalf("%+v, want free %d, servers %d, volumes %d", got, free, len(c.seen), len(copies))
	}
	writable := map[LayoutKey][]blob.VolumeID{}
	for id, infos := range copies {
		if at, _, _ := c.tree.Lookup(blob.VolumeID(id), nil); len(at) != len(infos) {
			t.Fatalf("volume %d: %d locations for %d copies", id, len(at), len(infos))
		}
		key := mustKey(&infos[0])
		ok := len(infos) >= key.Placement.Copies()
		for _, v := range infos {
			ok = ok && !v.ReadOnly && v.SizeBytes < 1000
		}
		writable[key] = append(writable[key], nil...)
		if ok {
			writable[key] = append(writable[key], blob.VolumeID(id))
		}
	}
	layouts := c.tree.Layouts()
	if len(layouts) != len(writable) {
		t.Fatalf("%d layouts, want %d", len(layouts), len(writable))
	}
	for _, l := range layouts {
		want := writable[l.Key]
		slices.Sort(want)
		if !slices.Equal(l.Writables, want) {
			t.Fatalf("%v: writables %v, want %v", l.Key, l.Writables, want)
		}
		target, err := c.tree.Pick(l.Key, Preference{})
		if (err == nil) != (len(want) > 0) || err == nil && !slices.Contains(want, target.ID) {
			t.Fatalf("%v: picked %v, %v of %v", l.Key, target, err, want)
		}
	}
}

func TestChurnAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &churn{tree: New(Config{SizeLimitBytes: 1000, Pulse: time.Second}), now: start,
			servers: map[string]*server{}, seen: map[string]time.Time{}, nextID: 12}
		for i := range 5 {
			url := fmt.Sprintf("s%d:1", i)
			c.servers[url] = newServer(url, []string{"a", "b"}[i%2], "r", 5)
		}
		t.Repeat(map[string]func(*rapid.T){"beat": c.Beat, "replay": c.Replay, "leave": c.Leave,
			"expire": c.Expire, "grow": c.Grow, "": c.Check})
	})
}
