package topology

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

var start = time.Unix(1_700_000_000, 0)

// server is a volume server as a test drives it.
type server struct {
	hb   wire.Heartbeat
	vols map[uint32]wire.VolumeInfo
}

func newServer(url, dc, rack string, slots int) *server {
	return &server{hb: wire.Heartbeat{URL: url, DataCenter: dc, Rack: rack, Max: slots, Incarnation: 1},
		vols: map[uint32]wire.VolumeInfo{}}
}

// full returns the next full heartbeat.
func (s *server) full() *wire.Heartbeat {
	s.hb.Sequence++
	hb := s.hb
	hb.Full = true
	for _, v := range s.vols {
		hb.Volumes = append(hb.Volumes, v)
	}
	return &hb
}

// delta returns the next heartbeat, with what changed.
func (s *server) delta(gone []uint32, changed ...wire.VolumeInfo) *wire.Heartbeat {
	s.hb.Sequence++
	hb := s.hb
	for _, v := range changed {
		s.vols[v.ID] = v
	}
	for _, id := range gone {
		delete(s.vols, id)
	}
	hb.Volumes, hb.Gone = changed, gone
	return &hb
}

func info(id uint32, collection, placement string) wire.VolumeInfo {
	p, err := blob.ParsePlacement(placement)
	if err != nil {
		panic(err)
	}
	return wire.VolumeInfo{ID: id, Collection: collection, Version: 3, ReplicaPlacement: wire.ReplicaPlacement{
		SameRackCount: int(p.Servers), DiffRackCount: int(p.Racks), DiffDataCenterCount: int(p.DataCenters)}}
}

func layoutKey(collection, placement string) LayoutKey {
	i := info(1, collection, placement)
	return mustKey(&i)
}

type fixture struct {
	*testing.T
	*Tree
	now time.Time
}

func newFixture(t *testing.T) *fixture {
	return &fixture{T: t, Tree: New(Config{SizeLimitBytes: 1000, Pulse: time.Second}), now: start}
}

func (f *fixture) beat(hb *wire.Heartbeat) Outcome {
	f.Helper()
	out, err := f.Heartbeat(f.now, hb)
	if err != nil {
		f.Fatal(err)
	}
	f.check()
	return out
}

func (f *fixture) check() {
	f.Helper()
	if err := f.broken(); err != nil {
		f.Fatal(err)
	}
}

// picks returns the distinct volumes that n picks give, in order of first appearance.
func (f *fixture) picks(n int, key LayoutKey, pref Preference) []blob.VolumeID {
	f.Helper()
	var ids []blob.VolumeID
	for range n {
		target, err := f.Pick(key, pref)
		if err != nil {
			f.Fatal(err)
		}
		if !slices.Contains(ids, target.ID) {
			ids = append(ids, target.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (f *fixture) urls(id blob.VolumeID) []string {
	at, _, _ := f.Lookup(id, nil)
	var urls []string
	for _, l := range at {
		urls = append(urls, l.URL)
	}
	return urls
}

// mustKey is KeyOf for what is sound.
func mustKey(info *wire.VolumeInfo) LayoutKey {
	key, err := KeyOf(info)
	if err != nil {
		panic(err)
	}
	return key
}

func TestHeartbeatProtocol(t *testing.T) {
	f := newFixture(t)
	s := newServer("a:1", "dc1", "r1", 7)
	if out := f.beat(s.delta(nil, info(1, "", "000"))); !out.Resend || f.urls(1) != nil {
		t.Fatalf("a change from an unknown server was taken in: %+v", out)
	}
	if out := f.beat(s.full()); !out.Joined || out.Resend || *out.At != (Location{"a:1", "a:1", "dc1", "r1"}) {
		t.Fatalf("%+v", out)
	}
	if out := f.beat(s.delta(nil, info(2, "", "000"))); out.Joined || out.Resend {
		t.Fatalf("%+v", out)
	}
	s.delta(nil, info(3, "", "000")) // lost
	if out := f.beat(s.delta(nil)); !out.Resend || f.urls(3) != nil {
		t.Fatalf("a gap went unnoticed: %+v", out)
	}
	if out := f.beat(s.full()); out.Resend || f.urls(3) == nil {
		t.Fatalf("%+v", out)
	}
	if f.beat(s.delta([]uint32{2})); f.urls(2) != nil {
		t.Fatal("a volume that is gone is still found")
	}
	s.hb.Incarnation, s.hb.Sequence = 2, 0
	if out := f.beat(s.delta(nil)); !out.Resend {
		t.Fatal("a change from a new incarnation was taken in")
	}
	delete(s.vols, 1)
	if out := f.beat(s.full()); !out.Joined || f.urls(1) != nil || f.urls(3) == nil {
		t.Fatalf("%+v, 1 on %v, 3 on %v", out, f.urls(1), f.urls(3))
	}
	old := s.hb
	old.Incarnation, old.Leaving = 1, true
	if out := f.beat(&old); out.Left {
		t.Fatal("the goodbye of an earlier life was obeyed")
	}
	s.hb.Leaving = true
	if out := f.beat(s.delta(nil)); !out.Left || f.Counts() != (Counts{}) {
		t.Fatalf("%+v %+v", out, f.Counts())
	}
	if _, err := f.Heartbeat(f.now, &wire.Heartbeat{}); !errors.Is(err, ErrBadHeartbeat) {
		t.Fatal(err)
	}
}

func TestServerMovesToAnotherRack(t *testing.T) {
	f := newFixture(t)
	s := newServer("a:1", "", "", 7)
	s.vols[1] = info(1, "", "000")
	if out := f.beat(s.full()); out.At.DataCenter != DefaultDataCenter || out.At.Rack != DefaultRack {
		t.Fatalf("%+v", out.At)
	}
	s.hb.DataCenter, s.hb.Rack = "dc2", "r2"
	if out := f.beat(s.delta(nil)); !out.Resend {
		t.Fatal("a move was passed over")
	}
	f.beat(s.full())
	target, err := f.Pick(layoutKey("", "000"), Preference{DataCenter: "dc2", Rack: "r2"})
	if err != nil || target.Locations[0].Rack != "r2" {
		t.Fatal(target, err)
	}
	if _, err = f.Pick(layoutKey("", "000"), Preference{DataCenter: DefaultDataCenter}); !errors.Is(err, ErrUnknownDataCenter) {
		t.Fatal(err)
	}
}

func TestExpiryAfterThreePulses(t *testing.T) {
	f := newFixture(t)
	a, b := newServer("a:1", "dc1", "r1", 7), newServer("b:1", "dc1", "r1", 7)
	for _, s := range []*server{a, b} {
		s.vols[1] = info(1, "", "001")
		f.beat(s.full())
	}
	f.picks(1, layoutKey("", "001"), Preference{})
	f.now = start.Add(2900 * time.Millisecond)
	if gone := f.Expire(f.now); gone != nil {
		t.Fatal(gone)
	}
	f.beat(a.delta(nil))
	gone := f.Expire(start.Add(3 * time.Second))
	if len(gone) != 1 || gone[0].URL != "b:1" {
		t.Fatal(gone)
	}
	f.check()
	if !slices.Equal(f.urls(1), []string{"a:1"}) {
		t.Fatal("the other copy must stay readable", f.urls(1))
	}
	if _, err := f.Pick(layoutKey("", "001"), Preference{}); !errors.Is(err, ErrNoWritable) {
		t.Fatal("a volume with a copy missing was picked", err)
	}
	if out := f.beat(b.delta(nil)); !out.Resend {
		t.Fatal("an expired server must register again")
	}
}

func TestWritables(t *testing.T) {
	rows := []struct {
		name   string
		change func(*wire.VolumeInfo)
		picked bool
	}{
		{"as it was", func(*wire.VolumeInfo) {}, true},
		{"one byte below the limit", func(v *wire.VolumeInfo) { v.SizeBytes = 999 }, true},
		{"at the limit", func(v *wire.VolumeInfo) { v.SizeBytes = 1000 }, false},
		{"read-only", func(v *wire.VolumeInfo) { v.ReadOnly, v.ReadOnlyReason = true, "operator" }, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t)
			a, b := newServer("a:1", "dc1", "r1", 7), newServer("b:1", "dc1", "r1", 7)
			a.vols[1], b.vols[1] = info(1, "", "001"), info(1, "", "001")
			f.beat(a.full())
			f.beat(b.full())
			v := b.vols[1]
			row.change(&v)
			f.beat(b.delta(nil, v))
			if _, err := f.Pick(layoutKey("", "001"), Preference{}); (err == nil) != row.picked {
				t.Fatal(err)
			}
			f.beat(b.delta(nil, info(1, "", "001")))
			if _, err := f.Pick(layoutKey("", "001"), Preference{}); err != nil {
				t.Fatal("the cause is gone, the volume must come back:", err)
			}
		})
	}
}

func TestFewVolumesAreActive(t *testing.T) {
	f := newFixture(t)
	key := layoutKey("", "000")
	a, b := newServer("a:1", "dc1", "r1", 100), newServer("b:1", "dc2", "r1", 100)
	for id := uint32(1); id <= 20; id++ {
		v := info(id, "", "000")
		v.Disk = int(id % 2)
		a.vols[id] = v
	}
	b.vols[30], b.vols[31] = info(30, "", "000"), info(31, "", "000")
	f.beat(a.full())
	f.beat(b.full())
	got := f.picks(30, key, Preference{})
	if len(got) != 3 || got[2] < 30 {
		t.Fatalf("picked %v, want one volume for each of three directories", got)
	}
	for _, id := range got {
		if id >= 30 {
			continue
		}
		full := a.vols[uint32(id)]
		full.SizeBytes = 1000
		f.beat(a.delta(nil, full))
	}
	if next := f.picks(30, key, Preference{}); len(next) != 3 || next[0] == got[0] || next[1] == got[1] {
		t.Fatalf("full volumes stay picked: %v, then %v", got, next)
	}
	if l := f.Layouts(); len(l) != 1 || len(l[0].Writables) != 20 || l[0].Active != 3 {
		t.Fatalf("%+v", l)
	}
	if only := f.picks(9, key, Preference{DataCenter: "dc2"}); len(only) != 1 || only[0] < 30 {
		t.Fatal(only)
	}
}

func TestTurnsGoOnWhenOneLeaves(t *testing.T) {
	f := newFixture(t)
	servers := map[blob.VolumeID]*server{}
	for id := uint32(1); id <= 4; id++ {
		s := newServer(fmt.Sprintf("s%d:1", id), "dc1", "r1", 7)
		s.vols[id] = info(id, "", "000")
		f.beat(s.full())
		servers[blob.VolumeID(id)] = s
	}
	pick := func() blob.VolumeID {
		target, err := f.Pick(layoutKey("", "000"), Preference{})
		if err != nil {
			t.Fatal(err)
		}
		return target.ID
	}
	got := []blob.VolumeID{pick(), pick()}
	f.beat(servers[got[0]].delta([]uint32{uint32(got[0])}))
	if got = append(got, pick(), pick()); slices.Compare(got, []blob.VolumeID{1, 2, 3, 4}) != 0 {
		t.Fatal("a server lost its turn:", got)
	}
}

func TestEveryPlaceIsServedFromItsCopies(t *testing.T) {
	f := newFixture(t)
	a, b, c := newServer("a:1", "dc1", "r1", 9), newServer("b:1", "dc2", "r1", 9), newServer("c:1", "dc3", "r1", 9)
	for id := uint32(1); id <= 4; id++ {
		a.vols[id] = info(id, "", "100")
	}
	b.vols[1], b.vols[2], c.vols[3], c.vols[4] = a.vols[1], a.vols[2], a.vols[3], a.vols[4]
	for _, s := range []*server{a, b, c} {
		f.beat(s.full())
	}
	for _, dc := range []string{"dc1", "dc2", "dc3"} {
		if _, err := f.Pick(layoutKey("", "100"), Preference{DataCenter: dc}); err != nil {
			t.Fatal(dc, err)
		}
	}
	if got := f.urls(1); !slices.Equal(got, []string{"b:1", "a:1"}) { // 1 % 2 copies
		t.Fatal("primary first, the same everywhere:", got)
	}
	if got := f.urls(2); !slices.Equal(got, []string{"a:1", "b:1"}) {
		t.Fatal(got)
	}
}

func TestConflictFirstWins(t *testing.T) {
	f := newFixture(t)
	a, b := newServer("a:1", "dc1", "r1", 2), newServer("b:1", "dc1", "r1", 1)
	a.vols[1], b.vols[1] = info(1, "x", "000"), info(1, "y", "000")
	f.beat(a.full())
	out := f.beat(b.full())
	if len(out.Conflicts) != 1 || out.Conflicts[0].ID != 1 || out.Conflicts[0].URL != "b:1" {
		t.Fatalf("%+v", out)
	}
	if got := f.urls(1); !slices.Equal(got, []string{"a:1"}) {
		t.Fatal(got)
	}
	if out = f.beat(b.full()); len(out.Conflicts) != 0 {
		t.Fatal("a conflict is told once:", out.Conflicts)
	}
	if c := f.Counts(); c.Free != 1 {
		t.Fatal("a refused copy takes its slot too:", c)
	}
	f.beat(a.delta([]uint32{1}))
	if _, about, _ := f.Lookup(1, nil); about != (About{"y", true}) {
		t.Fatalf("the copy that is left takes the id, got %+v", about)
	}
	a.vols[1] = info(1, "y", "001")
	if out = f.beat(a.full()); len(out.Conflicts) != 1 {
		t.Fatal("another placement is a conflict too", out)
	}
	f.beat(b.delta(nil, info(1, "z", "000"))) // the only holder may change what it is
	if _, about, _ := f.Lookup(1, nil); about.Collection != "z" {
		t.Fatal(about)
	}
	for _, bad := range []wire.VolumeInfo{{}, {ID: 9, Collection: "../x"}, {ID: 9, TTL: "5q"},
		{ID: 9, ReplicaPlacement: wire.ReplicaPlacement{SameRackCount: 11}}} {
		if out = f.beat(b.delta(nil, bad)); len(out.Conflicts) != 1 {
			t.Fatalf("%+v was taken in", bad)
		}
	}
}

func TestCrowded(t *testing.T) {
	f := newFixture(t)
	s := newServer("a:1", "dc1", "r1", 7)
	near := func(id uint32) wire.VolumeInfo { v := info(id, "c", "000"); v.SizeBytes = 900; return v }
	f.beat(s.full())
	if out := f.beat(s.delta(nil, near(1), info(2, "c", "000"))); out.Crowded != nil {
		t.Fatal("there is room in volume 2", out.Crowded)
	}
	if out := f.beat(s.delta(nil, near(2))); len(out.Crowded) != 1 || out.Crowded[0] != layoutKey("c", "000") {
		t.Fatal(out.Crowded)
	}
}

func TestWalkAndInfoRoundTrip(t *testing.T) {
	f := newFixture(t)
	v := wire.VolumeInfo{ID: 5, SizeBytes: 1, Collection: "c", TTL: "3m", Version: 2, FileCount: 2, DeleteCount: 3,
		DeletedByteCount: 4, ReadOnly: true, ReadOnlyReason: "operator", ModifiedAtSecond: 5, CompactRevision: 6,
		MaxKey: 7, Disk: 8, ReplicaPlacement: wire.ReplicaPlacement{SameRackCount: 1, DiffRackCount: 2, DiffDataCenterCount: 1}}
	for i, url := range []string{"c:1", "a:1", "b:1"} {
		s := newServer(url, fmt.Sprintf("dc%d", i%2), "r1", 7)
		s.vols[5] = v
		f.beat(s.full())
	}
	var urls []string
	f.Walk(func(s ServerStatus) {
		urls = append(urls, s.URL)
		if len(s.Volumes) != 1 || s.Volumes[0] != v || s.Max != 7 || s.Free != 6 {
			t.Errorf("%+v", s)
		}
	})
	if !slices.Equal(urls, []string{"b:1", "c:1", "a:1"}) {
		t.Fatal(urls)
	}
}
