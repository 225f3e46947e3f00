package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// pass lets time pass by the clock of the master, while servers report.
func (f *fixture) pass(d time.Duration, servers ...*volumeServer) {
	f.Helper()
	for step := 2 * f.cfg.Pulse; d > 0; d -= step {
		f.clock.advance(min(d, step))
		for _, v := range servers {
			v.beat(false)
		}
	}
}

// members are those on record.
func (f *fixture) membersOf(id uint32) (urls []string) {
	for _, member := range f.record(blob.VolumeID(id)).Members {
		urls = append(urls, string(member))
	}
	slices.Sort(urls)
	return urls
}

func urlsOf(servers ...*volumeServer) (urls []string) {
	for _, v := range servers {
		urls = append(urls, v.url)
	}
	slices.Sort(urls)
	return urls
}

// awaits waits, while servers report, until a volume is held by some servers, all in sync.
func (f *fixture) awaits(id uint32, holders []*volumeServer, others ...*volumeServer) {
	f.Helper()
	f.eventually("the volume to be where it should", func() bool {
		for _, v := range append(slices.Clone(holders), others...) {
			v.beat(false)
		}
		for _, v := range holders {
			if info := v.copies()[id]; !info.InSync || info.CopyEpoch != f.record(blob.VolumeID(id)).Epoch {
				return false
			}
		}
		return slices.Equal(f.membersOf(id), urlsOf(holders...))
	})
	for _, v := range holders { // the master knows as well
		v.beat(false)
	}
}

// paired is a cluster with a volume of two copies on the first two servers.
func paired(f *fixture, more int) (a, b *volumeServer, others []*volumeServer) {
	f.Helper()
	a, b = f.joined("dc1", "r1", 40), f.joined("dc1", "r1", 40)
	f.get("/vol/grow?replication=001&count=1").want(f, 200, "")
	if f.record(1).Primary == state.ServerID(b.url) {
		a, b = b, a
	}
	for range more {
		others = append(others, f.joined("dc1", "r1", 40))
	}
	a.set(volumeInfo(1, "", func(i *wire.VolumeInfo) {
		i.ReplicaPlacement.SameRackCount, i.SizeBytes, i.FileCount = 1, 800, 3
	}))
	a.beat(false)
	b.beat(false)
	return a, b, others
}

func TestRepair(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay = time.Minute })
	a, b, others := paired(f, 1)
	c := others[0]
	b.leave()
	a.drop(1, b.url)
	a.beat(false)
	f.get("/vol/status").want(t, 200, `"Copies":2,"Doing":"repair: begins in 1m0s"`)
	f.pass(50*time.Second, a, c)
	if c.holds() != 0 || !slices.Equal(f.membersOf(1), []string{a.url}) {
		t.Fatal("too early:", c.holds(), f.membersOf(1))
	}
	a.locked(func() { a.stuck, a.learned = true, 300 })
	f.pass(20*time.Second, a, c)
	f.eventually("a copy that is being filled", func() bool {
		a.beat(false)
		c.beat(false)
		return c.holds() == 1 && strings.Contains(f.get("/vol/status").body, "has 300 of 800 bytes")
	})
	if info := c.copies()[1]; info.CopyEpoch > 2 || slices.Contains(f.membersOf(1), c.url) {
		t.Fatalf("%+v", info)
	}
	a.locked(func() { a.stuck = false })
	f.awaits(1, []*volumeServer{a, c})
	f.eventually("the volume to be writable", func() bool { return slices.Equal(f.writables(), []uint32{1}) })
	if info := c.copies()[1]; info.SizeBytes != 800 {
		t.Fatalf("%+v", info)
	}
	if strings.Contains(f.get("/vol/status").body, `"Doing"`) {
		t.Fatal("nothing is left to do:", f.get("/vol/status").body)
	}

	// The one that was away comes back: its copy is not needed, and stays.
	b.comeBack()
	f.pass(3*time.Minute, a, b, c)
	if b.holds() != 1 || !slices.Equal(f.membersOf(1), urlsOf(a, c)) {
		t.Fatal(b.holds(), f.membersOf(1))
	}
}

// A repair is given up, and what it has made is deleted, when the server that was away comes back: that lacks less.
func TestRepairMakesWayForTheOldCopy(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay = time.Minute })
	a, b, others := paired(f, 1)
	c := others[0]
	b.leave()
	a.drop(1, b.url)
	a.locked(func() { a.stuck = true })
	f.pass(2*time.Minute, a, c)
	f.eventually("the repair to begin", func() bool {
		a.beat(false)
		c.beat(false)
		return c.holds() == 1
	})
	b.comeBack()
	f.eventually("the copy that was begun to go", func() bool { b.beat(false); c.beat(false); return c.holds() == 0 })
	forgot := false
	a.locked(func() {
		a.stuck = false
		for _, order := range a.orders {
			forgot = forgot || order.Forget == c.url
		}
	})
	if !forgot {
		t.Fatal("the primary has not been told")
	}
	f.awaits(1, []*volumeServer{a, b}, c)
	if c.holds() != 0 {
		t.Fatal(c.holds())
	}
}

// A server that has a copy already, and has yet to tell of it, has not failed: its report is waited for, and the copy
// is not taken for one that was made for this.
func TestCopyThatIsThereIsWaitedFor(t *testing.T) {
	f := start(t, nil)
	a, b, others := paired(f, 1)
	c := others[0]
	c.set(a.copies()[1])
	a.locked(func() { a.stuck = true })
	order := "/vol/move?volumeId=1&from=" + b.url + "&to=" + c.url
	f.post(order).want(t, 200, `"done":false`)
	f.eventually("the answer that the copy exists", func() bool {
		return strings.Contains(f.post(order).body, "has a copy that it has yet to report")
	})
	copies := &f.m.term.Load().copies
	open := copies.of(1)
	open.mu.Lock()
	made, tried := open.made, open.tried
	open.mu.Unlock()
	if made || tried || copies.avoids(1, state.ServerID(c.url), f.clock.Now()) {
		t.Fatalf("made %v, tried %v, avoided", made, tried)
	}
	f.clock.advance(stallTimeout + time.Second)
	for _, v := range []*volumeServer{a, b} {
		v.beat(false)
	}
	f.eventually("the move to be given up", func() bool { kick(copies.due); return copies.of(1) == nil })
	if c.holds() != 1 || c.made() != 0 || copies.avoids(1, state.ServerID(c.url), f.clock.Now()) {
		t.Fatalf("%d copies, %d made, or the server is avoided", c.holds(), c.made())
	}
	a.locked(func() { a.stuck = false })
	c.beat(true)
	f.post(order).want(t, 500, "has a copy that it has yet to report") // says so once
	f.post(order).want(t, 200, "")
	f.eventually("the move to be done", func() bool {
		for _, v := range []*volumeServer{a, b, c} {
			v.beat(false)
		}
		return slices.Equal(f.membersOf(1), urlsOf(a, c)) && b.holds() == 0
	})
}

// A configuration with a member whose copy has been given up does not come about.
func TestGivenUpCopyBecomesNoMember(t *testing.T) {
	f := start(t, nil)
	a, _, others := paired(f, 1)
	term := f.m.term.Load()
	term.copies.mu.Lock()
	term.copies.abandoned[1] = state.ServerID(others[0].url)
	term.copies.mu.Unlock()
	before := f.record(1)
	f.configure(wire.VolumeConfig{ID: 1, Epoch: 2, Primary: a.url, Members: append(f.membersOf(1), others[0].url)}).want(t, 200, `"epoch":1`)
	if now := f.record(1); now.Epoch != before.Epoch {
		t.Fatalf("%+v", now)
	}
	f.configure(wire.VolumeConfig{ID: 1, Epoch: 2, Primary: a.url, Members: []string{a.url}}).want(t, 200, `"epoch":2`)
}

// A server that makes no progress is left for another one.
func TestStalledRepairGoesElsewhere(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay, c.Pulse = time.Minute, 5*time.Second })
	a, b, others := paired(f, 2)
	b.leave()
	a.drop(1, b.url)
	a.locked(func() { a.stuck = true })
	f.pass(2*time.Minute, a, others[0], others[1])
	var first *volumeServer
	f.eventually("the repair to begin", func() bool {
		kick(f.m.term.Load().copies.due)
		for _, v := range others {
			if v.holds() == 1 {
				first = v
			}
		}
		return first != nil
	})
	first.beat(false)
	f.pass(stallTimeout+time.Minute, a, others[0], others[1])
	f.eventually("it to be given up", func() bool {
		copies := &f.m.term.Load().copies
		kick(copies.due)
		return copies.avoids(1, state.ServerID(first.url), f.clock.Now())
	})
	a.locked(func() { a.stuck = false })
	second := others[0]
	if first == second {
		second = others[1]
	}
	f.eventually("another server to get the copy", func() bool {
		kick(f.m.term.Load().copies.due)
		a.beat(false)
		second.beat(false)
		first.beat(false)
		return slices.Equal(f.membersOf(1), urlsOf(a, second)) && first.holds() == 0
	})
}

// Bounded repairs begin with the volumes that have the fewest copies left, and no server gets many at a time.
func TestRepairsAreBoundedAndOrdered(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay = time.Minute })
	var all []*volumeServer
	for range 3 {
		all = append(all, f.joined("dc1", "r1", 100))
	}
	f.get("/vol/grow?replication=002&count=12").want(t, 200, `"count":12`)
	for _, v := range all {
		v.beat(true)
	}
	lost := all[2]
	lost.leave()
	for id := uint32(1); id <= 12; id++ {
		r := f.record(blob.VolumeID(id))
		heir := all[0]
		if r.Primary == state.ServerID(all[1].url) {
			heir = all[1]
		}
		if id == 11 { // which has lost two
			for _, v := range all[:2] {
				if v != heir {
					v.locked(func() { delete(v.volumes, id) })
					v.beat(true)
				}
			}
			f.configure(wire.VolumeConfig{ID: id, Epoch: 2, Primary: heir.url, Members: []string{heir.url}}).want(t, 200, "")
			continue
		}
		f.configure(wire.VolumeConfig{ID: id, Epoch: 2, Primary: heir.url, Members: []string{all[0].url, all[1].url}}).want(t, 200, "")
	}
	fresh := []*volumeServer{f.joined("dc1", "r1", 100), f.joined("dc1", "r1", 100), f.joined("dc1", "r1", 100)}
	up := append(slices.Clone(fresh), all[0], all[1])
	for _, v := range up {
		v.locked(func() { v.stuck = true })
		v.beat(true)
	}
	f.pass(2*time.Minute, up...)
	term := f.m.term.Load()
	f.eventually("the repairs to begin", func() bool { return term.copyingLoad().total == maxCopyings })
	f.pass(time.Minute, up...)
	load, open := term.copyingLoad(), term.copies.all()
	for server, n := range load.of {
		if n > maxServerCopyings {
			t.Errorf("%s has %d", server, n)
		}
	}
	if load.total != maxCopyings || !slices.ContainsFunc(open, func(c *copying) bool { return c.id == 11 }) {
		t.Fatalf("%d copyings, the most endangered volume not among them: %v", load.total, open)
	}
	for _, v := range up {
		v.locked(func() { v.stuck = false })
	}
	f.eventually("all to be repaired", func() bool {
		f.pass(time.Second, up...)
		for id := uint32(1); id <= 12; id++ {
			if len(f.membersOf(id)) < 3 {
				return false
			}
		}
		return true
	})
}

func TestRepairWithoutRoom(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay = time.Minute })
	a, b, _ := paired(f, 0)
	b.leave()
	a.drop(1, b.url)
	f.pass(2*time.Minute, a)
	f.eventually("the reason", func() bool {
		return strings.Contains(f.get("/vol/status").body, `"Doing":"repair: not possible now: not enough servers for the placement"`)
	})
	f.post("/vol/replicate?volumeId=1").want(t, 500, "Not enough data node found")
	c := f.joined("dc1", "r1", 7)
	f.awaits(1, []*volumeServer{a, c})
}

// A leader that is lost in the middle of a repair leaves a copy behind that its successor goes on with.
func TestRepairGoesOnUnderTheNextLeader(t *testing.T) {
	masters := trio(t)
	leader, rest := masters[0], masters[1:]
	a, b, c := leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc1", "r1", 40), leader.volumeServer("dc1", "r1", 40)
	leader.at(a, b)
	leader.get("/vol/grow?replication=001&count=1").want(t, 200, "")
	leader.at(c)
	if leader.record(1).Primary == state.ServerID(b.url) {
		a, b = b, a
	}
	b.leave()
	a.drop(1, b.url)
	a.locked(func() { a.stuck = true })
	leader.post("/vol/replicate?volumeId=1").want(t, 200, `"why":"replica"`)
	leader.eventually("the copy", func() bool { return c.holds() == 1 })
	leader.stop()
	rest = leaderFirst(rest)
	rest[0].eventually("the new leader", func() bool { return rest[0].m.leading() != nil })
	a.locked(func() { a.stuck = false })
	rest[0].at(a, c)
	rest[0].awaits(1, []*volumeServer{a, c})
}

func TestMove(t *testing.T) {
	f := start(t, nil)
	a, b, others := paired(f, 1)
	c := others[0]
	order := "/vol/move?volumeId=1&from=" + a.url + "&to=" + c.url
	f.post("/vol/move?volumeId=1&from="+a.url).want(t, 400, "from and to")
	f.post("/vol/move?volumeId=77&from=x&to=y").want(t, 404, "volume 77 not found")
	f.post("/vol/move?volumeId=1&from="+c.url+"&to="+a.url).want(t, 200, `"done":true`) // as when it is asked once more
	f.post("/vol/move?volumeId=1&from="+c.url+"&to="+c.url).want(t, 409, "same server")
	f.post("/vol/move?volumeId=1&from="+a.url+"&to="+b.url).want(t, 409, "both servers have a copy")
	f.post("/vol/move?volumeId=1&from="+a.url+"&to=1.2.3.4:5").want(t, 400, "unknown data node")
	far := f.joined("dc2", "r1", 7)
	f.post("/vol/move?volumeId=1&from="+a.url+"&to="+far.url).want(t, 409, "replication 001 does not allow a copy on "+far.url)
	full := f.joined("dc1", "r1", 0)
	f.post("/vol/move?volumeId=1&from="+a.url+"&to="+full.url).want(t, 409, "no room on")
	f.get(order).want(t, 405, "")

	a.locked(func() { a.stuck, a.learned = true, 100 })
	f.post(order).want(t, 200, `"done":false`)
	f.eventually("the first bytes", func() bool { return strings.Contains(f.post(order).body, `"bytes":100,"of":800`) })
	f.post("/vol/move?volumeId=1&from="+b.url+"&to="+c.url).want(t, 409, "is being copied to "+c.url)
	a.locked(func() { a.stuck = false })
	f.eventually("the move to be done", func() bool {
		for _, v := range []*volumeServer{a, b, c} {
			v.beat(false)
		}
		return strings.Contains(f.post(order).want(t, 200, "").body, `"done":true`)
	})
	if a.holds() != 0 || f.record(1).Primary != state.ServerID(c.url) || c.copies()[1].SizeBytes != 800 {
		t.Fatalf("%d copies are left, %+v", a.holds(), f.record(1))
	}
	f.awaits(1, []*volumeServer{b, c})
	if got := f.m.term.Load().tree.Counts(); got.Free != got.Max-2 {
		t.Fatalf("slots were lost: %+v", got)
	}

	// One that does not come about says why, once.
	d := f.joined("dc1", "r1", 7)
	d.answers(wire.PathVolumeCreate, 507)
	order = "/vol/move?volumeId=1&from=" + b.url + "&to=" + d.url
	f.post(order).want(t, 200, "")
	var last reply
	f.eventually("the failure", func() bool { last = f.post(order); return last.status == 500 })
	last.want(t, 500, "volume 1: "+d.url+" makes no copy: told to fail")
	if !slices.Equal(f.membersOf(1), urlsOf(b, c)) {
		t.Fatal(f.membersOf(1))
	}
}

func TestDrain(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 20), f.joined("dc1", "r1", 20)
	f.get("/vol/grow?replication=001&count=6").want(t, 200, "")
	f.get("/vol/grow?dataNode="+a.url+"&count=3").want(t, 200, "")
	order := "/server/drain?server=" + a.url
	f.post("/server/drain?server=x:1").want(t, 404, "not found")
	f.post(order+"&undo=maybe").want(t, 400, "undo")
	f.post(order).want(t, 409, "no room for 6 of the 9 volumes on "+a.url+", such as volume 1 of replication 001")
	if len(f.writables()) != 9 {
		t.Fatal("what was refused has changed something:", f.writables())
	}
	c := f.joined("dc1", "r1", 20)
	up := []*volumeServer{a, b, c}
	var report drainReport
	f.post(order).want(t, 200, "").into(t, &report)
	if !report.Draining || report.Left == 0 {
		t.Fatalf("%+v", report)
	}
	// Nothing new comes there.
	if to := f.assign("?collection=new"); to.URL == a.url {
		t.Fatal(to)
	}
	f.eventually("the server to be empty", func() bool {
		for _, v := range up {
			v.beat(false)
		}
		report = drainReport{}
		f.post(order).want(t, 200, "").into(t, &report)
		return report.Left == 0 && len(report.Moving) == 0
	})
	if a.holds() != 0 || report.Strays != 0 {
		t.Fatalf("%d copies, %+v", a.holds(), report)
	}
	for id := uint32(1); id <= 9; id++ {
		r := f.record(blob.VolumeID(id))
		if len(r.Members) != r.Copies() || slices.Contains(r.Members, state.ServerID(a.url)) {
			t.Fatalf("%+v", r)
		}
	}
	f.post(order+"&undo=true").want(t, 200, `"draining":false`)
	f.assign("?dataNode=" + a.url + "&collection=other")
}

func TestBalance(t *testing.T) {
	f := start(t, nil)
	a := f.joined("dc1", "r1", 20)
	f.get("/vol/grow?count=6").want(t, 200, "")
	f.get("/vol/balance").want(t, 200, `{"moves":[]}`)
	f.joined("dc1", "r1", 20)
	var plan struct{ Moves []plannedMove }
	f.get("/vol/balance").want(t, 200, "").into(t, &plan)
	if len(plan.Moves) != 3 || plan.Moves[0].From != a.url {
		t.Fatalf("%+v", plan)
	}
	f.post("/vol/balance").want(t, 405, "")
}

func TestAdopt(t *testing.T) {
	f := start(t, nil)
	a, b, others := paired(f, 1)
	c := others[0]
	order := "/vol/adopt?volumeId=1&server=" + c.url
	f.post("/vol/adopt?volumeId=1").want(t, 400, "server is missing")
	f.post(order).want(t, 409, "has reported no copy")
	short := a.copies()[1]
	short.SizeBytes = 792
	c.set(short)
	c.beat(true)
	f.post(order).want(t, 409, "it has all its copies")
	a.leave()
	b.leave()
	if got := f.membersOf(1); !slices.Equal(got, urlsOf(a, b)) {
		t.Fatal("a shorter copy has taken the place of the volume:", got)
	}
	f.post(order).want(t, 200, `"done":true`)
	f.awaits(1, []*volumeServer{c})
	f.post(order).want(t, 200, `"done":true`)
}

// A volume that has come by more members than copies, each in sync, gives one of them up, and not its primary.
func TestSurplusMember(t *testing.T) {
	f := start(t, nil)
	a, b, others := paired(f, 1)
	c := others[0]
	c.set(a.copies()[1])
	c.beat(false)
	members, err := json.Marshal([]string{a.url, b.url, c.url})
	if err != nil {
		t.Fatal(err)
	}
	order := fmt.Sprintf(`{"id":1,"epoch":%d,"primary":%q,"members":%s}`, f.record(1).Epoch+1, a.url, members)
	f.do("POST", wire.PathConfigure, "application/json", order).want(t, 200, c.url)
	f.eventually("one of three to be left out", func() bool {
		for _, v := range []*volumeServer{a, b, c} {
			v.beat(false)
		}
		return len(f.membersOf(1)) == 2 && f.record(1).Epoch > 2
	})
	if f.record(1).Primary != state.ServerID(a.url) {
		t.Fatal("another primary:", f.record(1))
	}
}
