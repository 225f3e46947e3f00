package topology

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/internal/wire"
)

func TestReserve(t *testing.T) {
	rows := []struct {
		name    string
		servers string // letters: data center, rack, then slots, e.g. "a1:7"
		code    string
		pref    Preference
		count   int
		want    int
		err     error
	}{
		{"one server, a quarter of its slots", "a1:7", "000", Preference{}, 0, 1, nil},
		{"one server, seven", "a1:28", "000", Preference{}, 0, 7, nil},
		{"six of two copies", "a1:100 a1:100", "001", Preference{}, 0, 6, nil},
		{"three of three copies", "a1:100 a1:100 a1:100", "002", Preference{}, 0, 3, nil},
		{"one of four copies", "a1:100 a1:100 a1:100 a1:100", "003", Preference{}, 0, 1, nil},
		{"the count asked for", "a1:7", "000", Preference{}, 5, 5, nil},
		{"not more than there are slots", "a1:3", "000", Preference{}, 5, 3, nil},
		{"no slots", "a1:0", "000", Preference{}, 0, 0, ErrNoFreeSlots},
		{"no servers", "", "000", Preference{}, 0, 0, ErrNoFreeSlots},
		{"no second server", "a1:9", "001", Preference{}, 0, 0, ErrCannotPlace},
		{"no second rack", "a1:9 a1:9", "010", Preference{}, 0, 0, ErrCannotPlace},
		{"no second data center", "a1:9 a2:9", "100", Preference{}, 0, 0, ErrCannotPlace},
		{"the second data center is full", "a1:9 b1:0", "100", Preference{}, 0, 0, ErrCannotPlace},
		{"rack and data center", "a1:9 a2:9 b1:9", "110", Preference{}, 1, 1, nil},
		{"the servers beside decide the rack", "a1:50 a2:9 a2:9", "001", Preference{}, 1, 1, nil},
		{"the racks beside decide the data center", "a1:50 b1:9 b2:9", "010", Preference{}, 1, 1, nil},
		{"preferred", "a1:9 b1:9", "000", Preference{DataCenter: "b"}, 3, 3, nil},
		{"preferred and full", "a1:9 b1:0", "000", Preference{DataCenter: "b"}, 0, 0, ErrNoFreeSlots},
		{"unknown data center", "a1:9", "000", Preference{DataCenter: "z"}, 0, 0, ErrUnknownDataCenter},
		{"unknown rack", "a1:9 b2:9", "000", Preference{DataCenter: "a", Rack: "2"}, 0, 0, ErrUnknownRack},
		{"unknown server", "a1:9", "000", Preference{DataNode: "z:1"}, 0, 0, ErrUnknownNode},
		{"server elsewhere", "a1:9 b1:9", "000", Preference{DataCenter: "b", DataNode: "s0:1"}, 0, 0, ErrUnknownNode},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t)
			for i, word := range fields(row.servers) {
				var slots int
				if _, err := fmt.Sscanf(word[3:], "%d", &slots); err != nil {
					t.Fatal(err)
				}
				f.beat(newServer(fmt.Sprintf("s%d:1", i), word[:1], word[1:2], slots).full())
			}
			key := layoutKey("", row.code)
			before := f.Counts()
			plans, err := f.Reserve(key, row.pref, row.count)
			if !errors.Is(err, row.err) || len(plans) != row.want {
				t.Fatalf("%d plans, %v; want %d, %v", len(plans), err, row.want, row.err)
			}
			f.check()
			for _, plan := range plans {
				if why := violation(key.Placement, row.pref, plan.Servers); why != "" {
					t.Fatal(why)
				}
				f.Release(plan)
				f.Release(plan)
			}
			f.check()
			if f.Counts() != before {
				t.Fatal("slots were lost", before, f.Counts())
			}
		})
	}
}

func fields(s string) []string {
	var words []string
	for len(s) > 0 {
		i := slices.Index([]byte(s), ' ')
		if i < 0 {
			i = len(s)
		}
		words = append(words, s[:i])
		s = s[min(len(s), i+1):]
	}
	return words
}

// violation returns why a placement is not what the code says, "" if it is.
func violation(p blob.Placement, pref Preference, at []*Location) string {
	if len(at) != p.Copies() {
		return fmt.Sprintf("%d servers for %d copies", len(at), p.Copies())
	}
	if !pref.admits(at[0]) {
		return fmt.Sprintf("the first copy is at %+v, wanted %+v", *at[0], pref)
	}
	var beside, racks, centers int
	seenRack, seenCenter, seenURL := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, l := range at {
		if seenURL[l.URL] {
			return "a server twice: " + l.URL
		}
		seenURL[l.URL] = true
		rack, other := l.DataCenter+"/"+l.Rack, i > 0
		switch {
		case other && l.DataCenter != at[0].DataCenter:
			if centers++; seenCenter[l.DataCenter] {
				return "a data center twice"
			}
			seenCenter[l.DataCenter] = true
		case other && l.Rack != at[0].Rack:
			if racks++; seenRack[rack] {
				return "a rack twice"
			}
			seenRack[rack] = true
		case other:
			beside++
		}
	}
	if beside != int(p.Servers) || racks != int(p.Racks) || centers != int(p.DataCenters) {
		return fmt.Sprintf("%d beside, %d racks, %d data centers for %s", beside, racks, centers, p)
	}
	return ""
}

// possible decides by brute counting whether a placement exists.
func possible(p blob.Placement, pref Preference, servers []*server) bool {
	open := map[string]map[string]int{} // data center, rack -> servers with a free slot
	for _, s := range servers {
		if s.hb.Max > 0 {
			if open[s.hb.DataCenter] == nil {
				open[s.hb.DataCenter] = map[string]int{}
			}
			open[s.hb.DataCenter][s.hb.Rack]++
		}
	}
	for _, s := range servers {
		at := &Location{URL: s.hb.URL, DataCenter: s.hb.DataCenter, Rack: s.hb.Rack}
		racks := open[at.DataCenter]
		if s.hb.Max > 0 && pref.admits(at) && racks[at.Rack] > int(p.Servers) &&
			len(racks) > int(p.Racks) && len(open) > int(p.DataCenters) {
			return true
		}
	}
	return false
}

func TestPlacementIsHonouredOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := New(Config{Seed: rapid.Uint64().Draw(t, "seed")})
		var servers []*server
		for i := range rapid.IntRange(1, 14).Draw(t, "servers") {
			s := newServer(fmt.Sprintf("s%d:1", i), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "dc"),
				rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "rack"), rapid.IntRange(0, 3).Draw(t, "slots"))
			servers = append(servers, s)
			if _, err := tree.Heartbeat(start, s.full()); err != nil {
				t.Fatal(err)
			}
		}
		p := blob.Placement{DataCenters: uint8(rapid.IntRange(0, 2).Draw(t, "x")),
			Racks: uint8(rapid.IntRange(0, 3).Draw(t, "y")), Servers: uint8(rapid.IntRange(0, 4).Draw(t, "z"))}
		var pref Preference
		wish := rapid.SampledFrom(servers).Draw(t, "wish").hb
		if rapid.Bool().Draw(t, "wish dc") {
			pref.DataCenter = wish.DataCenter
		}
		if rapid.Bool().Draw(t, "wish rack") {
			pref.Rack = wish.Rack
		}
		if rapid.Bool().Draw(t, "wish node") {
			pref.DataNode = wish.URL
		}
		want := possible(p, pref, servers)
		plans, err := tree.Reserve(LayoutKey{Placement: p}, pref, rapid.IntRange(0, 20).Draw(t, "count"))
		if (err == nil) != want {
			t.Fatalf("placement %s with %+v: %v, possible is %v", p, pref, err, want)
		}
		for _, plan := range plans {
			if why := violation(p, pref, plan.Servers); why != "" {
				t.Fatal(why)
			}
		}
		if err := tree.broken(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGrowthFollowsFreeSlots(t *testing.T) {
	f := newFixture(t)
	f.beat(newServer("a:1", "dc1", "r1", 40).full())
	f.beat(newServer("b:1", "dc1", "r1", 40).full())
	f.beat(newServer("c:1", "dc1", "r2", 80).full())
	plans, err := f.Reserve(layoutKey("", "000"), Preference{}, 8)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, plan := range plans {
		got[plan.Servers[0].URL]++
	}
	if got["a:1"] != 2 || got["b:1"] != 2 || got["c:1"] != 4 {
		t.Fatal("shares follow the free slots:", got)
	}
}

func TestSettle(t *testing.T) {
	f := newFixture(t)
	a, b := newServer("a:1", "dc1", "r1", 8), newServer("b:1", "dc1", "r1", 8)
	f.beat(a.full())
	f.beat(b.full())
	key := layoutKey("", "001")
	plans, err := f.Reserve(key, Preference{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if f.Counts().Free != 12 {
		t.Fatal("reserved slots are not free:", f.Counts())
	}
	early := a.full() // sent before the volume was made
	f.Settle(f.now, plans[0], []wire.VolumeInfo{info(1, "", "001"), info(1, "", "001")})
	f.check()
	f.picks(1, key, Preference{})
	f.beat(early)
	f.picks(1, key, Preference{})

	f.now = f.now.Add(3 * time.Second)
	f.beat(a.full())
	if _, err = f.Pick(key, Preference{}); !errors.Is(err, ErrNoWritable) {
		t.Fatal("a copy that is never reported must go:", err)
	}
	b.hb.Leaving = true
	f.beat(b.delta(nil))
	f.Settle(f.now, plans[1], []wire.VolumeInfo{info(2, "", "001"), info(2, "", "001")})
	f.check()
	if got := f.urls(2); !slices.Equal(got, []string{"a:1"}) {
		t.Fatal("a server that left holds nothing:", got)
	}
}
