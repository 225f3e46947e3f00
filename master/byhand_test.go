package master

import (
	"slices"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// The tests of this file are what operators do by hand with the files of servers, each once with masters that go
// on and once with one that is restarted in between.

func overRestarts(t *testing.T, test func(t *testing.T, restart func(*fixture))) {
	t.Run("masters that go on", func(t *testing.T) { test(t, func(*fixture) {}) })
	t.Run("a master that is restarted", func(t *testing.T) {
		test(t, func(f *fixture) {
			f.stop()
			f.run()
		})
	})
}

// write makes copies of a volume have some content.
func write(id uint32, bytes uint64, servers ...*volumeServer) {
	for _, v := range servers {
		info := v.copies()[id]
		info.SizeBytes, info.FileCount = bytes, bytes/100
		v.set(info)
	}
}

// Placement 000: v1 is stopped, its files are moved to v2, and v2 is restarted: all is served from v2.
func TestFilesOfOneCopyMovedByHand(t *testing.T) {
	overRestarts(t, func(t *testing.T, restart func(*fixture)) {
		f := start(t, nil)
		v1, v2 := f.joined("dc1", "r1", 20), f.joined("dc1", "r1", 20)
		f.get("/vol/grow?count=3&dataNode="+v1.url).want(t, 200, "")
		for id := range v1.copies() {
			write(id, 800, v1)
		}
		v1.beat(true)
		v2.beat(true)
		v1.leave()
		v2.leave()
		restart(f)
		v1.clone(v2)
		v2.comeBack()
		f.clock.advance(silencePulses * f.cfg.Pulse) // for a master that has not heard the goodbye of v1
		for id := range v1.copies() {
			f.awaits(id, []*volumeServer{v2})
		}
		if got := f.writables(); len(got) != 3 {
			t.Fatal(got)
		}
	})
}

// Placement 001: v3 is stopped, and its files are copied to v1 and to v2: every volume has two copies then, on v1
// and v2. (When they go to v1 only, those that both had are one copy now, which is made again.)
func TestFilesOfTwoCopiesMovedByHand(t *testing.T) {
	overRestarts(t, func(t *testing.T, restart func(*fixture)) {
		f := start(t, func(c *Config) { c.RepairDelay = time.Hour })
		v1, v2, v3 := f.joined("dc1", "r1", 20), f.joined("dc1", "r1", 20), f.joined("dc1", "r1", 20)
		f.get("/vol/grow?count=9&replication=001").want(t, 200, "")
		up := []*volumeServer{v1, v2, v3}
		for _, v := range up {
			for id := range v.copies() {
				write(id, 800, v)
			}
			v.beat(true)
		}
		v3.leave()
		// The members that are left notice, and go on alone.
		for id := range v3.copies() {
			for _, v := range up[:2] {
				if _, holds := v.copies()[id]; holds {
					v.drop(id, v3.url)
					v.beat(false)
				}
			}
			if len(f.membersOf(id)) != 1 || slices.Contains(f.membersOf(id), v3.url) {
				t.Fatal(f.membersOf(id))
			}
		}
		for id := blob.VolumeID(1); id <= 9; id++ {
			f.get("/"+id.String()+",01637037d6").want(t, 301, "") // readable all the while
		}
		v1.leave()
		v2.leave()
		restart(f)
		for id, info := range v3.copies() {
			for _, v := range up[:2] {
				if _, holds := v.copies()[id]; !holds {
					v.set(info)
				}
			}
		}
		v1.comeBack()
		v2.comeBack()
		for id := uint32(1); id <= 9; id++ {
			f.awaits(id, []*volumeServer{v1, v2})
		}
		f.eventually("all to be writable", func() bool {
			v1.beat(false)
			v2.beat(false)
			return len(f.writables()) == 9
		})
	})
}

// While one member is alive, a copy on another server is no reason to change the group: it becomes a member when
// the primary has made it equal, and not before.
func TestCopyBesideLivingMembers(t *testing.T) {
	f := start(t, func(c *Config) { c.RepairDelay = time.Hour })
	a, b, others := paired(f, 1)
	c := others[0]
	a.locked(func() { a.stuck = true })
	b.leave()
	a.drop(1, b.url)
	a.beat(false)
	info := b.copies()[1]
	info.SizeBytes = 8000 // with what the others never had, or do not have any more
	c.set(info)
	c.beat(true)
	f.eventually("the order to add it", func() (ordered bool) {
		a.locked(func() {
			ordered = slices.ContainsFunc(a.orders, func(o wire.ChangeCopies) bool { return o.Add == c.url })
		})
		return ordered
	})
	if r := f.record(1); r.Epoch != 2 || len(r.Members) != 1 {
		t.Fatalf("%+v", r)
	}
	a.locked(func() { a.stuck = false })
	f.awaits(1, []*volumeServer{a, c})
	if got := c.copies()[1].SizeBytes; got != 800 {
		t.Fatal(got)
	}
}

// Of several copies of a volume that nobody holds any more one takes its place, the one that has most; the others
// are made equal to it.
func TestDesertedVolume(t *testing.T) {
	f := start(t, nil)
	a, b, others := paired(f, 2)
	c, d := others[0], others[1]
	whole := a.copies()[1]
	short := whole
	short.SizeBytes = 792
	a.leave()
	b.leave()
	c.set(short)
	c.beat(true)
	if got := f.membersOf(1); !slices.Equal(got, urlsOf(a, b)) {
		t.Fatal("a copy that lacks something has taken the place of the volume:", got)
	}
	left := whole // of a server that was left out; what it has more was never acknowledged
	left.SizeBytes, left.WholeIn = 1600, whole.WholeIn-1
	c.set(left)
	c.beat(true)
	if got := f.membersOf(1); !slices.Equal(got, urlsOf(a, b)) {
		t.Fatal("a copy of an epoch that is over has taken the place of the volume:", got)
	}
	d.set(whole)
	d.beat(true)
	f.awaits(1, []*volumeServer{c, d})
	if r := f.record(1); r.Primary != state.ServerID(d.url) || c.copies()[1].SizeBytes != 800 || r.Epoch < 3 {
		t.Fatalf("%+v; %+v", r, c.copies()[1])
	}
}

// Masters that have lost their records go on above the epochs that servers know, and the copy of the latest epoch
// is the one that counts.
func TestWipedMasterKeepsToEpochs(t *testing.T) {
	f := start(t, nil)
	a, b := f.volumeServer("dc1", "r1", 20), f.volumeServer("dc1", "r1", 20)
	info := volumeInfo(4, "", func(i *wire.VolumeInfo) {
		i.ReplicaPlacement.SameRackCount, i.SizeBytes, i.CopyEpoch = 1, 8000, 5
	})
	a.set(info)
	info.SizeBytes, info.CopyEpoch = 800, 7
	b.set(info)
	f.complete(4, a, b)
	if r := f.record(4); r.Primary != state.ServerID(b.url) || r.Epoch < 8 || a.copies()[4].SizeBytes != 800 {
		t.Fatalf("%+v; %+v", r, a.copies()[4])
	}

	// A lone copy is waited with, for others may be better; then it is the volume.
	c := f.volumeServer("dc1", "r1", 20)
	info.ID = 6
	c.set(info)
	c.beat(true)
	if got := f.holdersOf(6); len(got) != 0 {
		t.Fatal(got)
	}
	f.pass(unknownPulses*f.cfg.Pulse, c)
	f.awaits(6, []*volumeServer{c})
	// One of a later epoch comes too late: it is left alone, for somebody to decide.
	info.CopyEpoch = 20
	b.set(info)
	b.beat(true)
	f.pass(3*f.cfg.Pulse, b, c)
	if r := f.record(6); len(r.Members) != 1 || f.m.term.Load().copies.of(6) != nil {
		t.Fatalf("%+v", r)
	}
}
