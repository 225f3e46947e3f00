package topology

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weed/internal/blob"
)

var someCodes = []string{"000", "001", "002", "010", "011", "020", "100", "101", "110", "111", "200"}

// drawnTree is a tree of servers in up to three data centers of up to three racks.
func drawnTree(rt *rapid.T, t *testing.T) (*fixture, []*server) {
	f := newFixture(t)
	var servers []*server
	for i := range rapid.IntRange(1, 9).Draw(rt, "servers") {
		s := newServer(fmt.Sprintf("s%d:1", i), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "center"),
			rapid.SampledFrom([]string{"1", "2", "3"}).Draw(rt, "rack"), rapid.IntRange(0, 3).Draw(rt, "slots"))
		servers = append(servers, s)
		f.beat(s.full())
	}
	return f, servers
}

// A volume that has lost any of its copies gets them again where its placement wants them, one after the other,
// as long as the servers that it had have room.
func TestLostCopiesArePlacedAgain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, _ := drawnTree(rt, t)
		key := layoutKey("", rapid.SampledFrom(someCodes).Draw(rt, "placement"))
		plans, err := f.Reserve(key, Preference{}, 1)
		if err != nil {
			return
		}
		var left []Location
		for i, at := range plans[0].Servers {
			if rapid.Bool().Draw(rt, fmt.Sprint("keep ", i)) {
				left = append(left, *at)
			}
		}
		f.Release(plans[0])
		for len(left) < key.Placement.Copies() {
			plan, err := f.ReserveCopy(key, left, nil)
			if err != nil {
				rt.Fatalf("%s beside %v: %v", key.Placement, left, err)
			}
			left = append(left, *plan.Servers[0])
		}
		f.check()
		if !placedSomehow(key.Placement, left) {
			rt.Fatalf("%s came to be at %v", key.Placement, left)
		}
	})
}

// placedSomehow reports whether the copies, in some order, are as the placement wants them.
func placedSomehow(p blob.Placement, at []Location) bool {
	for first := range at {
		order := []*Location{&at[first]}
		for i := range at {
			if i != first {
				order = append(order, &at[i])
			}
		}
		if violation(p, Preference{}, order) == "" {
			return true
		}
	}
	return false
}

// A copy is placed if there is a server for it, and refused if there is none: as found by trying all.
func TestOneMoreCopyIsHonouredOrRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, servers := drawnTree(rt, t)
		key := layoutKey("", rapid.SampledFrom(someCodes).Draw(rt, "placement"))
		var left []Location
		for i, s := range servers {
			if len(left)+1 < key.Placement.Copies() && rapid.Bool().Draw(rt, fmt.Sprint("member ", i)) {
				left = append(left, LocationOf(&s.hb))
			}
		}
		avoided := rapid.SampledFrom(servers).Draw(rt, "avoided").hb.URL
		may := map[string]bool{}
		room := false
		for _, s := range servers {
			taken := slices.ContainsFunc(left, func(l Location) bool { return l.URL == s.hb.URL })
			room = room || s.hb.Max > 0
			if s.hb.Max > 0 && !taken && s.hb.URL != avoided && extensible(key.Placement, append(slices.Clone(left), LocationOf(&s.hb))) {
				may[s.hb.URL] = true
			}
		}
		plan, err := f.ReserveCopy(key, left, func(url string) bool { return url == avoided })
		switch {
		case !room && !errors.Is(err, ErrNoFreeSlots), room && err != nil && !errors.Is(err, ErrCannotPlace):
			rt.Fatal(err)
		case err != nil && len(may) > 0:
			rt.Fatalf("%s beside %v: %v, though there is %v", key.Placement, left, err, may)
		case err == nil && plan.Servers[0].URL == avoided:
			rt.Fatal("where it must not be")
		case err == nil && !may[plan.Servers[0].URL] && extensible(key.Placement, left):
			rt.Fatalf("%s beside %v: %v breaks it, and there is %v", key.Placement, left, plan.Servers[0], may)
		}
		before := f.Counts().Free
		if err == nil {
			f.Release(plan)
			if f.Counts().Free != before+1 {
				rt.Fatal("a slot was lost")
			}
		}
		f.check()
	})
}

// extensible reports whether copies can be completed to a placement if there are servers wherever one could wish
// for them.
func extensible(p blob.Placement, at []Location) bool {
	if len(at) == p.Copies() {
		return placedSomehow(p, at)
	}
	centers, racks := map[string]bool{"new": true}, map[string]bool{"new": true}
	for i := range at {
		centers[at[i].DataCenter], racks[at[i].Rack] = true, true
	}
	n := len(at)
	for center := range centers {
		for rack := range racks {
			next := Location{URL: fmt.Sprint("new:", n), DataCenter: center, Rack: rack}
			if center == "new" || rack == "new" {
				next.DataCenter += suffix(center, n)
				next.Rack += suffix(rack, n)
			}
			if extensible(p, append(slices.Clone(at), next)) {
				return true
			}
		}
	}
	return false
}

func suffix(name string, n int) string {
	if name == "new" {
		return fmt.Sprint(n)
	}
	return ""
}

// Where files that were moved break the placement, the next copy mends what it can.
func TestBrokenPlacementIsMended(t *testing.T) {
	f := newFixture(t)
	for i, place := range []string{"a1", "a1", "a2", "b1"} {
		f.beat(newServer(fmt.Sprintf("s%d:1", i), place[:1], place[1:], 9).full())
	}
	at := func(url string) Location { return *f.nodes[url].at }
	plan, err := f.ReserveCopy(layoutKey("", "200"), []Location{at("s0:1"), at("s1:1")}, nil)
	if err != nil || plan.Servers[0].URL != "s3:1" {
		t.Fatal(plan, err)
	}
}

func TestBalance(t *testing.T) {
	f := boundFixture(t)
	a, b, c := newServer("a:1", "dc1", "r1", 10), newServer("b:1", "dc1", "r1", 10), newServer("c:1", "dc2", "r1", 20)
	key, apart := layoutKey("", "000"), layoutKey("", "001")
	for id := blob.VolumeID(1); id <= 8; id++ {
		a.vols[uint32(id)] = info(uint32(id), "", "000")
		f.Bind(id, Group{Key: key, Epoch: 1, Members: []string{"a:1"}, Open: true})
	}
	a.vols[9], b.vols[9] = info(9, "", "001"), info(9, "", "001")
	f.Bind(9, Group{Key: apart, Epoch: 1, Members: []string{"a:1", "b:1"}, Open: true})
	for _, s := range []*server{a, b, c} {
		f.beat(s.full())
	}
	moves := f.Balance(100)
	used := map[string]int{"a:1": 9, "b:1": 1}
	seen := map[blob.VolumeID]bool{}
	for _, m := range moves {
		if m.ID == 9 || seen[m.ID] {
			t.Fatal("volume", m.ID, "has nowhere to go:", moves)
		}
		seen[m.ID] = true
		used[m.From]--
		used[m.To]++
	}
	// Ten copies in forty slots.
	if used["a:1"] < 2 || used["a:1"] > 3 || used["b:1"] < 2 || used["b:1"] > 3 || used["c:1"] < 4 || used["c:1"] > 6 {
		t.Fatal(used, moves)
	}
	if got := f.Balance(1); len(got) != 1 {
		t.Fatal(got)
	}
	f.Drain("c:1", true)
	for _, m := range f.Balance(100) {
		if m.To == "c:1" {
			t.Fatal("to a server that is being drained", m)
		}
	}
	f.Drain("a:1", true)
	if got := f.Balance(100); len(got) != 0 {
		t.Fatal(got)
	}
	f.check()
}

func TestSuits(t *testing.T) {
	f := newFixture(t)
	f.beat(newServer("a:1", "a", "1", 9).full())
	f.beat(newServer("b:1", "b", "1", 0).full())
	at := []Location{*f.nodes["a:1"].at}
	p := layoutKey("", "001").Placement
	if fitting, free, err := f.Suits(p, at, "b:1"); fitting || free || err != nil {
		t.Fatal(fitting, free, err)
	}
	if fitting, free, err := f.Suits(p, nil, "a:1"); !fitting || !free || err != nil {
		t.Fatal(fitting, free, err)
	}
	if _, _, err := f.Suits(p, nil, "z:1"); !errors.Is(err, ErrUnknownNode) {
		t.Fatal(err)
	}
}

func TestEpochs(t *testing.T) {
	f := boundFixture(t)
	a, b, c := newServer("a:1", "dc1", "r1", 7), newServer("b:1", "dc1", "r1", 7), newServer("c:1", "dc1", "r1", 7)
	key := layoutKey("", "001")
	report := func(s *server, epoch uint64, inSync bool) {
		i := info(1, "", "001")
		i.CopyEpoch, i.InSync = epoch, inSync
		s.vols[1] = i
		f.beat(s.full())
		f.check()
	}
	bind := func(epoch uint64, members ...string) {
		f.Bind(1, Group{Key: key, Epoch: epoch, Members: members, Open: true})
		f.check()
	}
	want := func(writable bool, a, b, c int) {
		t.Helper()
		_, err := f.Pick(key, Preference{})
		got := []int{len(f.Outdated("a:1", 9)), len(f.Outdated("b:1", 9)), len(f.Outdated("c:1", 9))}
		if (err == nil) != writable || !slices.Equal(got, []int{a, b, c}) {
			t.Fatalf("writable: %v; outdated %v, want %v", err, got, []int{a, b, c})
		}
	}
	bind(1, "a:1", "b:1")
	report(a, 1, true)
	report(b, 1, false)
	want(false, 0, 0, 0)
	report(b, 1, true)
	want(true, 0, 0, 0)
	bind(2, "b:1", "a:1")
	want(false, 1, 1, 0)
	report(c, 1, false) // a stray
	report(a, 2, true)
	want(false, 0, 1, 1)
	report(b, 2, true)
	want(true, 0, 0, 1)
	if p := f.Presence(1, "b:1"); !p.InSync || p.Epoch != 2 {
		t.Fatal(p)
	}
	report(c, 2, false)
	want(true, 0, 0, 0)
	report(c, 3, false) // of masters that lost their records: theirs is not newer
	want(true, 0, 0, 0)
	f.Drain("a:1", true)
	want(false, 0, 0, 0)
	f.beat(a.full())
	if n, err := f.Free(Preference{DataNode: "a:1"}); n != 0 || err != nil || !f.Draining("a:1") {
		t.Fatal(n, err)
	}
	f.Drain("a:1", false)
	want(true, 0, 0, 0)
	bind(3, "a:1")
	want(false, 1, 1, 0)
	f.Bind(2, Group{Key: key, Epoch: 1, Members: []string{"a:1", "b:1"}, Open: true})
	if got := f.Outdated("a:1", 0); len(got) != 0 {
		t.Fatal(got)
	}
}
