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
)

func boundFixture(t *testing.T) *fixture {
	return &fixture{T: t, Tree: New(Config{SizeLimitBytes: 1000, Pulse: time.Second, BoundOnly: true}), now: start}
}

func TestBoundVolumes(t *testing.T) {
	f := boundFixture(t)
	a, b := newServer("a:1", "dc1", "r1", 7), newServer("b:1", "dc1", "r1", 7)
	key := layoutKey("c", "001")
	a.vols[1], b.vols[1] = info(1, "c", "001"), info(1, "c", "001")
	if out := f.beat(a.full()); len(out.Conflicts) != 1 {
		t.Fatal("a volume that is not bound is a stray", out)
	}
	f.beat(b.full())
	if f.urls(1) != nil || len(f.Strays(0)) != 2 {
		t.Fatal(f.urls(1), f.Strays(0))
	}

	f.Bind(1, Group{Key: key, Members: []string{"b:1", "a:1"}, Open: true})
	f.check()
	target, err := f.Pick(key, Preference{})
	if err != nil || target.Locations[0].URL != "b:1" || len(f.Strays(0)) != 0 {
		t.Fatal("the primary is the first member", target, err)
	}
	if out := f.beat(a.full()); out.Conflicts != nil {
		t.Fatal(out)
	}

	f.Bind(1, Group{Key: key, Members: []string{"b:1", "a:1"}})
	if _, err := f.Pick(key, Preference{}); !errors.Is(err, ErrNoWritable) {
		t.Fatal("a closed volume is picked", err)
	}
	f.Bind(1, Group{Key: key, Members: []string{"b:1"}, Open: true})
	f.check()
	if _, err := f.Pick(key, Preference{}); !errors.Is(err, ErrNoWritable) {
		t.Fatal("a volume that lacks a copy is picked", err)
	}
	if got := f.urls(1); !slices.Equal(got, []string{"b:1"}) || f.Strays(1)[0].At.URL != "a:1" {
		t.Fatal(got, f.Strays(1))
	}

	f.beat(b.delta([]uint32{1}))
	if p := f.Presence(1, "b:1"); !p.Heard || p.Holds || f.Presence(1, "a:1").Holds {
		t.Fatal("a stray does not count", p)
	}
	f.Unbind(1)
	f.check()
	if f.urls(1) != nil || len(f.Strays(0)) != 1 || len(f.Layouts()) != 0 {
		t.Fatal(f.urls(1), f.Strays(0), f.Layouts())
	}
}

func TestAssumedServers(t *testing.T) {
	f := boundFixture(t)
	key := layoutKey("", "000")
	f.Assume(f.now, Location{URL: "a:1", PublicURL: "a:1", DataCenter: "dc1", Rack: "r1"}, 9)
	f.Assume(f.now, Location{URL: "b:1", PublicURL: "b:1", DataCenter: "dc1", Rack: "r1"}, 9)
	for id := range blob.VolumeID(4) {
		f.Bind(id+1, Group{Key: key, Members: []string{"a:1"}, Open: true, ReadOnly: id == 2})
	}
	f.check()
	if got := f.picks(10, key, Preference{}); slices.Contains(got, 3) {
		t.Fatal("a read-only volume is picked", got)
	}
	if _, err := f.Reserve(key, Preference{}, 1); !errors.Is(err, ErrNoFreeSlots) {
		t.Fatal("a new volume is placed where nobody may be", err)
	}
	if p := f.Presence(1, "a:1"); !f.Serves("a:1") || f.Unheard() != 2 || !p.Here || p.Heard {
		t.Fatalf("an assumed server is taken for one that has reported: %+v", p)
	}

	// What it reports counts, and what it does not report is not there.
	a := newServer("a:1", "dc1", "r1", 9)
	a.vols[2], a.vols[3] = info(2, "", "000"), info(3, "", "000")
	if out := f.beat(a.full()); !out.Joined {
		t.Fatal(out)
	}
	if got := f.picks(10, key, Preference{}); slices.Contains(got, 1) || slices.Contains(got, 4) {
		t.Fatal(got)
	}
	if plans, err := f.Reserve(key, Preference{}, 9); err != nil || len(plans) != 7 || plans[0].Servers[0].URL != "a:1" {
		t.Fatal(plans, err)
	}

	// The other one is silent for three pulses, as long as any.
	f.now = f.now.Add(2900 * time.Millisecond)
	f.beat(a.delta(nil))
	if gone := f.Expire(f.now); gone != nil {
		t.Fatal(gone)
	}
	f.now = f.now.Add(100 * time.Millisecond)
	if gone := f.Expire(f.now); len(gone) != 1 || gone[0].URL != "b:1" || f.Serves("b:1") {
		t.Fatal(gone)
	}
	if p := f.Presence(1, "b:1"); p.Here || !p.LastSeen.Equal(start) {
		t.Fatalf("%+v", p)
	}
	f.check()
}

func TestLastExtent(t *testing.T) {
	f := boundFixture(t)
	a := newServer("a:1", "dc1", "r1", 9)
	f.Bind(1, Group{Key: layoutKey("", "000"), Members: []string{"a:1"}, Open: true})
	v := info(1, "", "000")
	v.SizeBytes, v.CompactRevision = 77, 3
	a.vols[1] = v
	f.beat(a.full())
	if f.Blocked(1) {
		t.Fatal("a small volume is blocked")
	}
	bye := a.delta(nil)
	bye.Leaving = true
	f.beat(bye)
	if last := f.LastExtent(1); last != (Extent{Length: 77, Revision: 3}) {
		t.Fatal(last)
	}
	if p := f.Presence(1, "a:1"); p.Here || !p.LastSeen.IsZero() {
		t.Fatalf("one that has said goodbye is not waited for: %+v", p)
	}
}

// bound drives a tree whose volumes are bound. The records and the servers' books are the naive model.
type bound struct {
	tree    *Tree
	now     time.Time
	records map[blob.VolumeID]Group
	servers map[string]*server
	known   map[string]bool // has reported
}

func (b *bound) Beat(t *rapid.T) {
	s := b.servers[rapid.SampledFrom(slices.Sorted(maps.Keys(b.servers))).Draw(t, "server")]
	id := uint32(rapid.IntRange(1, 6).Draw(t, "volume"))
	v := info(id, []string{"", "c"}[id%2], []string{"000", "001"}[id%2])
	v.ReadOnly = rapid.IntRange(0, 4).Draw(t, "read-only") == 0
	if rapid.IntRange(0, 9).Draw(t, "foreign") == 0 {
		v.Collection = "foreign"
	}
	hb := s.delta(nil, v)
	if !b.known[s.hb.URL] || rapid.Bool().Draw(t, "full") {
		hb = s.full()
	}
	if out, err := b.tree.Heartbeat(b.now, hb); err != nil || out.Resend {
		t.Fatalf("%+v, %v", out, err)
	}
	b.known[s.hb.URL] = true
}

func (b *bound) Bind(t *rapid.T) {
	id := blob.VolumeID(rapid.IntRange(1, 6).Draw(t, "volume"))
	urls := rapid.Permutation(slices.Sorted(maps.Keys(b.servers))).Draw(t, "members")
	g := Group{Key: layoutKey([]string{"", "c"}[id%2], []string{"000", "001"}[id%2]), Open: true,
		Members: urls[:rapid.IntRange(1, 3).Draw(t, "count")]}
	b.tree.Bind(id, g)
	b.records[id] = g
}

func (b *bound) Unbind(t *rapid.T) {
	id := blob.VolumeID(rapid.IntRange(1, 6).Draw(t, "volume"))
	b.tree.Unbind(id)
	delete(b.records, id)
}

func (b *bound) Leave(t *rapid.T) {
	s := b.servers[rapid.SampledFrom(slices.Sorted(maps.Keys(b.servers))).Draw(t, "server")]
	bye := s.delta(nil)
	bye.Leaving = true
	if _, err := b.tree.Heartbeat(b.now, bye); err != nil {
		t.Fatal(err)
	}
	delete(b.known, s.hb.URL)
}

// Check compares what the tree says of each volume with the model.
func (b *bound) Check(t *rapid.T) {
	if err := b.tree.broken(); err != nil {
		t.Fatal(err)
	}
	for id := range blob.VolumeID(7) {
		if id == 0 {
			continue
		}
		g, is := b.records[id]
		var holds, strays []string
		for url, s := range b.servers {
			v, has := s.vols[uint32(id)]
			switch {
			case !has || !b.known[url]:
			case is && slices.Contains(g.Members, url) && mustKey(&v) == g.Key:
				holds = append(holds, url)
			default:
				strays = append(strays, url)
			}
		}
		var at, aside []string
		locations, _, _ := b.tree.Lookup(id, nil)
		for _, l := range locations {
			at = append(at, l.URL)
		}
		for _, s := range b.tree.Strays(id) {
			aside = append(aside, s.At.URL)
		}
		if len(at) > 1 && slices.Contains(at, g.Members[0]) && at[0] != g.Members[0] {
			t.Fatalf("volume %d: %v, the primary is %s", id, at, g.Members[0])
		}
		for _, list := range [][]string{holds, strays, at, aside} {
			slices.Sort(list)
		}
		if fmt.Sprint(holds, strays) != fmt.Sprint(at, aside) {
			t.Fatalf("volume %d of %v: held by %v, strays %v; should be %v, %v", id, g.Members, at, aside, holds, strays)
		}
	}
}

func TestBoundAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &bound{tree: New(Config{SizeLimitBytes: 1000, BoundOnly: true}), now: start, records: map[blob.VolumeID]Group{},
			servers: map[string]*server{}, known: map[string]bool{}}
		for i := range 3 {
			url := fmt.Sprintf("s%d:1", i)
			b.servers[url] = newServer(url, "dc1", "r1", 20)
		}
		t.Repeat(map[string]func(*rapid.T){"beat": b.Beat, "bind": b.Bind, "unbind": b.Unbind, "leave": b.Leave, "": b.Check})
	})
}
