package master

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// clone is a fake with copies of the volumes of v, as after moving its files.
func (v *volumeServer) clone(to *volumeServer) {
	for _, info := range v.copies() {
		to.set(info)
	}
}

// at makes the servers report to a master in full.
func (f *fixture) at(servers ...*volumeServer) {
	f.Helper()
	for _, v := range servers {
		v.f = f
		v.beat(true)
	}
}

// holders is what a lookup at the master says.
func (f *fixture) holdersOf(id blob.VolumeID) []string {
	f.Helper()
	r := f.get(fmt.Sprintf("/dir/lookup?volumeId=%d", id))
	var answer found
	r.into(f, &answer)
	var urls []string
	for _, l := range answer.Locations {
		urls = append(urls, l.URL)
	}
	return urls
}

func (f *fixture) record(id blob.VolumeID) state.Volume {
	if v, ok := f.m.machine.Volume(id); ok {
		return *v
	}
	return state.Volume{}
}

func TestHeartbeatsThatChangeNothingAreNotRecorded(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	f.assign("")
	v.beat(true)
	before := f.m.machine.Revision()
	for i := range 5 {
		v.hb.Max = 28 + i%4 // as the space on its disks goes up and down
		v.beat(i%2 == 0)
	}
	if now := f.m.machine.Revision(); now != before {
		t.Fatalf("%d changes of the records", now-before)
	}
	v.hb.Rack = "r2"
	v.beat(true)
	if s, _ := f.m.machine.Server(state.ServerID(v.url)); s == nil || s.Rack != "r2" || s.Slots != 28 {
		t.Fatalf("%+v", s)
	}
}

// What servers report of volumes that no master knows is taken in: those of one id are replicas.
func TestWipedMasterTakesVolumesIn(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 40), f.joined("dc1", "r1", 40)
	last, _ := blob.ParseFileID(f.assign("?replication=001&count=500").FID)
	for id, info := range a.copies() {
		info.MaxKey = uint64(last.Key) + 499
		a.set(info)
		if id == 3 { // which b has missed something of
			info.SizeBytes += 8
			a.set(info)
			info.SizeBytes -= 8
		}
		b.set(info)
	}
	f.stop()
	if err := os.RemoveAll(f.cfg.MetaDir); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.get("/dir/lookup?volumeId=1").want(t, 404, "not found")
	f.at(b, a)
	for id := range a.copies() {
		f.complete(id, a, b)
	}
	urls := []string{a.url, b.url}
	slices.Sort(urls)
	primaries := map[state.ServerID]int{}
	for id := blob.VolumeID(1); id <= 6; id++ {
		got := f.holdersOf(id)
		primaries[f.record(id).Primary]++
		if slices.Sort(got); !slices.Equal(got, urls) {
			t.Fatalf("volume %d is held by %v, want %v", id, got, urls)
		}
	}
	if len(primaries) != 2 || f.record(3).Primary != state.ServerID(a.url) {
		t.Fatalf("primaries %v; of the volume that is longer on %s: %s", primaries, a.url, f.record(3).Primary)
	}
	if next, _ := blob.ParseFileID(f.assign("?replication=001").FID); next.Key < last.Key+500 {
		t.Fatalf("key %d was assigned before", next.Key)
	}
	if a.holds() != 6 {
		t.Fatal("new volumes were made, though there are some")
	}
}

func TestMovedDirectory(t *testing.T) {
	f := start(t, nil)
	v1 := f.joined("dc1", "r1", 28)
	f.assign("")
	v1.set(volumeInfo(1, "", func(i *wire.VolumeInfo) { i.SizeBytes, i.FileCount = 800, 3 }))
	v1.beat(false)
	v2 := f.volumeServer("dc1", "r1", 30)
	v1.clone(v2)
	old := v2.copies()[1]
	old.SizeBytes = 792
	v2.set(old)
	f.at(v2)

	// While v1 has them, those are copies that nobody is sent to.
	if got := f.holdersOf(2); !slices.Equal(got, []string{v1.url}) {
		t.Fatal(got)
	}
	if n := strings.Count(f.get("/vol/status").body, `"State":"stray"`); n != v2.holds() {
		t.Fatalf("%d strays are listed, want %d", n, v2.holds())
	}
	v1.hb.Leaving = true
	v1.beat(false)
	f.eventually("the volumes to be found where they are", func() bool { return slices.Equal(f.holdersOf(2), []string{v2.url}) })
	if r := f.record(2); r.Epoch != 2 || r.Primary != state.ServerID(v2.url) {
		t.Fatalf("%+v", r)
	}
	if got := f.holdersOf(1); !slices.Equal(got, []string{v1.url}) {
		t.Fatal("a copy that lacks something has replaced the volume", got)
	}
	f.get("/1,01637037d6").want(t, 503, "do not answer")
	old.SizeBytes = 800
	v2.set(old)
	v2.beat(false)
	f.eventually("the volume that is whole again", func() bool { return slices.Equal(f.holdersOf(1), []string{v2.url}) })
	for range 10 {
		if a := f.assign(""); a.URL != v2.url {
			t.Fatalf("%+v", a)
		}
	}

	// v1 comes back with its files: they are of no use any more, and stay.
	v1.hb.Leaving, v1.hb.Incarnation = false, 5
	v1.beat(true)
	if got := f.holdersOf(2); !slices.Equal(got, []string{v2.url}) || v1.holds() == 0 {
		t.Fatal(got)
	}
}

// One that is killed is waited for longer than it takes to be taken for dead.
func TestMovedDirectoryOfASilentServer(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = 50 * time.Millisecond })
	v1, v2 := f.joined("dc1", "r1", 7), f.volumeServer("dc1", "r1", 30)
	f.assign("")
	v1.clone(v2)
	f.at(v2)
	silent := func(d time.Duration) {
		f.clock.advance(d)
		v2.beat(false)
	}
	silent(100 * time.Millisecond)
	silent(100 * time.Millisecond)
	f.eventually("the server to be taken for dead", func() bool { return !strings.Contains(f.get("/dir/status").body, v1.url) })
	if got := f.holdersOf(1); !slices.Equal(got, []string{v1.url}) {
		t.Fatal(got)
	}
	silent(100 * time.Millisecond)
	f.eventually("the volumes to be found where they are", func() bool { return slices.Equal(f.holdersOf(1), []string{v2.url}) })
}

// Empty copies of volumes that are deleted go, whoever brings them; what holds blobs stays as a stray.
func TestRemainsOfDeletedVolumes(t *testing.T) {
	f := start(t, nil)
	v1 := f.joined("dc1", "r1", 28)
	f.assign("?collection=x")
	f.post("/col/delete?collection=x").want(t, 200, "{}")
	if v1.holds() != 0 {
		t.Fatal(v1.holds())
	}
	v2 := f.volumeServer("dc1", "r1", 28)
	v2.set(volumeInfo(1, "x", nil))
	v2.set(volumeInfo(2, "x", func(i *wire.VolumeInfo) { i.FileCount = 1 }))
	v2.beat(true)
	f.eventually("the empty copy to go", func() bool {
		_, held := v2.copies()[1]
		return !held
	})
	v2.beat(true)
	f.get("/dir/lookup?volumeId=2").want(t, 404, "not found")
	f.get("/vol/status").want(t, 200, `"State":"stray"`)
	if v2.holds() == 0 {
		t.Fatal("a copy with blobs was deleted")
	}
}

// A leader is lost while volumes are being made. The next one keeps those that all servers have made, and
// undoes the others.
func TestLeaderLostInMidGrowth(t *testing.T) {
	masters := trio(t)
	leader, rest := masters[0], masters[1:]
	a, b := leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc1", "r1", 40)
	leader.at(a, b)
	b.locked(func() { b.gate = make(chan struct{}) })
	answered := make(chan reply)
	go func() { answered <- leader.get("/dir/assign?replication=001") }()
	leader.eventually("the first copies", func() bool { return a.holds() == 6 })
	leader.post("/cluster/transfer").want(t, 200, "leader")
	(<-answered).want(t, 503, "leader")
	leader.stop()
	rest = leaderFirst(rest)
	// One order arrives late; the others are lost.
	b.answers(wire.PathVolumeCreate, 500)
	b.set(a.copies()[2])
	close(b.gate)
	rest[0].eventually("the new leader", func() bool { return rest[0].m.leading() != nil })
	if len(rest[0].holdersOf(2)) != 0 {
		t.Fatal("a volume is found that is still being made")
	}
	rest[0].at(a, b)
	rest[0].eventually("the volume that was made, alone", func() bool { return a.holds() == 1 && b.holds() == 1 })
	for _, f := range rest {
		f.eventually("the records", func() bool {
			return f.m.machine.View().VolumeCount() == 1 && f.record(2).State == state.Writable
		})
		if got := f.holdersOf(2); len(got) != 2 {
			t.Fatal(got)
		}
	}
	if got := rest[1].assign("?replication=001"); !strings.HasPrefix(got.FID, "2,") {
		t.Fatalf("%+v", got)
	}
}

func TestDeletionGoesOnUnderTheNextLeader(t *testing.T) {
	masters := trio(t)
	leader, rest := masters[0], masters[1:]
	a, b := leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc1", "r1", 40)
	leader.at(a, b)
	leader.assign("?replication=001&collection=x")
	b.answers(wire.PathVolumeDelete, 500)
	leader.post("/col/delete?collection=x").want(t, 200, `"left":6`)
	leader.stop()
	rest = leaderFirst(rest)
	rest[0].eventually("the new leader", func() bool { return rest[0].m.leading() != nil })
	b.answers(wire.PathVolumeDelete, 0)
	rest[0].at(a, b)
	rest[0].eventually("the copies that were left to be deleted", func() bool { return b.holds() == 0 })
	rest[1].eventually("the records to go", func() bool { return rest[1].m.machine.View().VolumeCount() == 0 })
}

// All masters say the same of all volumes, and the servers' deaths change nothing of it. A new leader assigns
// before it has heard of any server.
func TestMastersAgree(t *testing.T) {
	masters := trio(t)
	leader := masters[0]
	a, b := leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc2", "r1", 40)
	leader.at(a, b)
	leader.assign("?replication=100")
	leader.assign("?collection=c")
	agree := func(masters []*fixture) {
		t.Helper()
		last := masters[0].m.machine.LastVolumeID()
		for id := blob.VolumeID(1); id <= last; id++ {
			want := masters[0].get(fmt.Sprintf("/dir/lookup?volumeId=%d", id)).want(t, 200, "locations")
			for _, f := range masters[1:] {
				f.eventually("the masters to agree", func() bool {
					return f.get(fmt.Sprintf("/dir/lookup?volumeId=%d", id)).body == want.body
				})
			}
		}
	}
	agree(masters)
	v1 := leader.record(1)
	dead, alive := a, b
	if v1.Primary == state.ServerID(b.url) {
		dead, alive = b, a
	}
	dead.hb.Leaving = true
	dead.beat(false)
	agree(masters)
	for range 4 {
		if to := leader.get("/1,01637037d6").want(t, 301, "").header.Get("Location"); !strings.Contains(to, alive.url) {
			t.Fatal("the leader redirects to a server that it knows to be down:", to)
		}
	}
	targets := map[string]int{}
	for range 4 {
		targets[masters[1].get("/1,01637037d6").want(t, 301, "").header.Get("Location")]++
	}
	if len(targets) != 2 {
		t.Fatal("a follower does not know, and takes turns:", targets)
	}
	masters[1].get("/vol/lookup?volumeId=1&volumeId=2").want(t, 200, alive.url)
	masters[1].get("/dir/lookup?volumeId=999").want(t, 404, "not found")
	masters[1].get("/999,01637037d6").want(t, 404, "volume 999 not found")

	leader.stop()
	rest := leaderFirst(masters[1:])
	rest[0].eventually("the new leader", func() bool { return rest[0].m.leading() != nil })
	rest[0].assign("?replication=100") // the one that left is assumed to be back
	rest[1].assign("?collection=c")
	agree(rest)
	rest[0].stop()
	last := rest[1]
	last.eventually("the end of the leader", func() bool { return last.get("/readyz").status == 503 })
	if got := last.holdersOf(1); len(got) != 2 {
		t.Fatal("a master without a leader answers what it knows:", got)
	}
	last.get("/999,01637037d6").want(t, 503, "leader")
	last.get("/dir/assign").want(t, 503, "leader")
}
