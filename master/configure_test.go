package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// configure asks a master for a configuration.
func (f *fixture) configure(c wire.VolumeConfig) reply {
	f.Helper()
	b, _ := json.Marshal(c)
	return f.do("POST", wire.PathConfigure, "application/json", string(b))
}

func TestConfigureIsACompareAndSwap(t *testing.T) {
	masters := trio(t)
	leader, follower := masters[0], masters[1]
	a, b := leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc1", "r1", 40)
	leader.at(a, b)
	leader.assign("?replication=001")
	first := leader.record(1)
	other := b.url
	if first.Primary == state.ServerID(b.url) {
		other = a.url
	}
	inForce := func(at *fixture, order wire.VolumeConfig, want wire.VolumeConfig) {
		t.Helper()
		var got wire.VolumeConfig
		at.configure(order).want(t, 200, "").into(t, &got)
		if got.ID != 1 || got.Epoch != want.Epoch || got.Primary != want.Primary || !slices.Equal(got.Members, want.Members) || got.Copies != 2 {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	alone := wire.VolumeConfig{ID: 1, Epoch: 2, Primary: other, Members: []string{other}}
	inForce(follower, alone, alone) // by way of the leader
	inForce(leader, alone, alone)   // once more
	late := wire.VolumeConfig{ID: 1, Epoch: 2, Primary: string(first.Primary), Members: []string{string(first.Primary)}}
	inForce(leader, late, alone)
	inForce(leader, wire.VolumeConfig{ID: 1, Epoch: 9, Primary: other, Members: []string{other}}, alone)
	both := wire.VolumeConfig{ID: 1, Epoch: 3, Primary: other, Members: []string{string(first.Primary), other}}
	inOrder := both
	inOrder.Members = []string{other, string(first.Primary)}
	inForce(leader, both, inOrder)

	leader.configure(wire.VolumeConfig{ID: 99, Epoch: 2, Primary: other, Members: []string{other}}).want(t, 404, "volume 99 not found")
	for _, bad := range []wire.VolumeConfig{
		{ID: 1, Epoch: 4},
		{ID: 1, Epoch: 0, Primary: other, Members: []string{other}},
		{ID: 1, Epoch: 1, Primary: other, Members: []string{other}},
		{ID: 1, Epoch: 4, Primary: "x:1", Members: []string{other}},
		{ID: 1, Epoch: 4, Primary: other, Members: []string{other, other}},
		{ID: 1, Epoch: 4, Primary: "x:1", Members: []string{"x:1"}},
		{ID: 1, Epoch: 4, Primary: other, Members: slices.Repeat([]string{other}, 5000)},
	} {
		leader.configure(bad).want(t, 400, `"error"`)
	}
	leader.do("POST", wire.PathConfigure, "application/json", "{").want(t, 400, "malformed")
	leader.get(wire.PathConfigure).want(t, 405, "")
	if r := leader.record(1); r.Epoch != 3 {
		t.Fatalf("%+v", r)
	}
	masters[1].stop()
	masters[2].stop()
	leader.eventually("the masters to have no leader", func() bool { return leader.get("/readyz").status == 503 })
	leader.configure(wire.VolumeConfig{ID: 1, Epoch: 4, Primary: other, Members: []string{other}}).want(t, 503, "leader")
}

// What is asked for while an entry of the Raft log is on its way shares the next one.
func TestConfiguresShareEntries(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 400), f.joined("dc1", "r1", 400)
	const volumes = 200
	f.get(fmt.Sprintf("/vol/grow?replication=001&count=%d", volumes)).want(t, 200, fmt.Sprint(`"count":`, volumes))
	a.beat(true)
	b.beat(true)
	term := f.m.term.Load()
	term.swaps.proposing.Lock() // as while an entry is on its way
	goOn := sync.OnceFunc(term.swaps.proposing.Unlock)
	defer goOn()
	before := f.m.machine.Revision()
	var wg sync.WaitGroup
	for id := uint32(1); id <= volumes; id++ {
		for _, only := range []string{a.url, b.url} { // one of which is late
			wg.Go(func() {
				got, err := term.configure(&wire.VolumeConfig{ID: id, Epoch: 2, Primary: only, Members: []string{only}})
				if err != nil || got.Epoch != 2 || f.record(blob.VolumeID(id)).Primary != got.Primary {
					t.Errorf("%+v, %v; on record %+v", got, err, f.record(blob.VolumeID(id)))
				}
			})
		}
	}
	f.eventually("all to wait", func() bool {
		term.swaps.mu.Lock()
		defer term.swaps.mu.Unlock()
		return len(term.swaps.waiting) >= volumes // those of the first entry have been taken
	})
	goOn()
	wg.Wait()
	if entries := f.m.machine.Revision() - before; entries > 3 {
		t.Fatalf("%d entries for %d changes", entries, volumes)
	}
}

func TestGrowthSaysWhoLeads(t *testing.T) {
	f := start(t, nil)
	a, b, c := f.joined("dc1", "r1", 100), f.joined("dc1", "r1", 100), f.joined("dc2", "r1", 100)
	servers := map[string]*volumeServer{a.url: a, b.url: b, c.url: c}
	for range 3 {
		f.get("/vol/grow?replication=001&count=4").want(t, 200, "")
	}
	leads := map[state.ServerID]int{}
	for id := blob.VolumeID(1); id <= 12; id++ {
		r := f.record(id)
		leads[r.Primary]++
		for _, member := range r.Members {
			servers[string(member)].locked(func() {
				if got := servers[string(member)].configs[uint32(id)]; got.Epoch != 1 || got.Primary != string(r.Primary) || len(got.Members) != 2 || got.Copies != 2 {
					t.Errorf("%s was told %+v, on record is %+v", member, got, r)
				}
			})
		}
		if got := f.holdersOf(id); got[0] != string(r.Primary) {
			t.Fatalf("lookup says %v, the primary is %s", got, r.Primary)
		}
	}
	if leads[state.ServerID(a.url)] != 6 || leads[state.ServerID(b.url)] != 6 {
		t.Fatal("one server leads more than the other: ", leads)
	}
	for range 12 {
		to := f.assign("?replication=001")
		fid, _ := blob.ParseFileID(to.FID)
		if to.URL != string(f.record(fid.Volume).Primary) {
			t.Fatal("assigned to a server that is not the primary:", to)
		}
	}
	f.assign("?replication=000")
	if r := f.record(13); r.Epoch != 1 || len(r.Members) != 1 {
		t.Fatalf("%+v", r)
	}
	servers[string(f.record(13).Primary)].locked(func() {
		if got := servers[string(f.record(13).Primary)].configs[13]; got.Epoch != 1 || got.Copies != 1 {
			t.Errorf("%+v", got)
		}
	})
	if to := f.assign("?replication=100&dataCenter=dc2"); to.URL != c.url {
		t.Fatal("the primary is not where it was asked for:", to)
	}
}

// A volume takes blobs only while all its copies have said, in the epoch on record, that they are in sync. Requests
// wait for that rather than have more volumes made.
func TestWritableInSync(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 100), f.joined("dc1", "r1", 100)
	f.get("/vol/grow?replication=001&count=1").want(t, 200, "")
	writable := func() bool { return slices.Equal(f.writables(), []uint32{1}) }
	if !writable() {
		t.Fatal(f.writables())
	}
	r := f.record(1)
	primary := a
	if r.Primary == state.ServerID(b.url) {
		primary = b
	}
	inSync := func(v *volumeServer, is bool) {
		v.locked(func() {
			info := v.volumes[1]
			info.InSync = is
			v.volumes[1] = info
		})
		v.beatOnce(false)
	}
	inSync(b, false)
	if writable() {
		t.Fatal("a copy is not in sync")
	}
	answered := make(chan assigned)
	go func() { answered <- f.assign("?replication=001") }()
	term := f.m.term.Load()
	f.eventually("the request to wait", func() bool {
		term.growths.mu.Lock()
		defer term.growths.mu.Unlock()
		return len(term.growths.open) > 0
	})
	inSync(b, true)
	if got := <-answered; !strings.HasPrefix(got.FID, "1,") || a.holds() != 1 {
		t.Fatalf("%+v, %d volumes", got, a.holds())
	}
	f.configure(wire.VolumeConfig{ID: 1, Epoch: 2, Primary: primary.url, Members: []string{a.url, b.url}}).want(t, 200, "")
	if writable() {
		t.Fatal("nobody has told of the new epoch")
	}
	answer := a.beatOnce(false)
	if len(answer.Configs) != 1 || answer.Configs[0].Epoch != 2 || answer.Configs[0].Copies != 2 {
		t.Fatalf("%+v", answer)
	}
	a.learn(answer.Configs...)
	if answer = a.beatOnce(false); len(answer.Configs) != 0 || writable() {
		t.Fatalf("%+v", answer)
	}
	b.beat(false)
	if !writable() {
		t.Fatal(f.get("/vol/status").body)
	}
}
