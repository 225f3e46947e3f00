package master

import (
	"net"
	"slices"
	"testing"
	"time"
)

// writables are the volumes of all layouts that are assigned to.
func (f *fixture) writables() []uint32 {
	f.Helper()
	var status struct {
		Topology struct {
			Layouts []struct{ Writables []uint32 }
		}
	}
	f.get("/dir/status").want(f, 200, "").into(f, &status)
	var ids []uint32
	for _, l := range status.Topology.Layouts {
		ids = append(ids, l.Writables...)
	}
	slices.Sort(ids)
	return ids
}

// holding is a volume server that has reported one volume.
func (f *fixture) holding(id uint32) *volumeServer {
	f.Helper()
	v := f.volumeServer("dc1", "r1", 7)
	v.set(volumeInfo(id, "c", nil))
	v.beat(true)
	return v
}

// A leader that begins asks after the servers that it knows from before. By the clock of this test no server is
// ever silent for long.
func TestNewLeaderNoticesDeadServers(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = time.Second })
	dead, well := f.holding(1), f.holding(2)
	// One whose host takes connections, but which says nothing, as when its process stands still.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	still := f.volumeServer("dc1", "r1", 7)
	still.hb.URL = mute.Addr().String()
	still.set(volumeInfo(3, "c", nil))
	still.beat(true)
	if got := f.writables(); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Fatal(got)
	}
	f.stop()
	dead.http.Close()
	f.run()
	began := time.Now()
	f.eventually("the dead server to be noticed", func() bool { return !slices.Contains(f.writables(), 1) })
	noticed := time.Since(began)
	f.eventually("the server that stands still to be given up", func() bool {
		got := f.writables()
		if !slices.Contains(got, 2) {
			t.Fatal("a server that is up has dropped out:", got)
		}
		return !slices.Contains(got, 3)
	})
	if f.m.term.Load().warming() {
		t.Error("a server that stands still for a moment has not had the time to report")
	}
	t.Logf("noticed the dead one after %v, the one that stands still after %v", noticed, time.Since(began))
	f.assign("?collection=c")

	// Those that come back are taken in again.
	still.beat(true)
	well.beat(true)
	if got := f.writables(); !slices.Equal(got, []uint32{2, 3}) {
		t.Fatal(got)
	}
	// One that answers, but never reports, is silent like any other.
	f.stop()
	f.run()
	f.at(still)
	if got := f.writables(); !slices.Equal(got, []uint32{2, 3}) {
		t.Fatal(got)
	}
	f.clock.advance(2 * f.cfg.Pulse)
	still.beat(false)
	f.clock.advance(f.cfg.Pulse)
	f.eventually("the server that does not report to expire", func() bool { return slices.Equal(f.writables(), []uint32{3}) })
}

// A server that is found dead and reports at the same time stays.
func TestGivingUpLosesToAReport(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = time.Minute })
	v := f.holding(1)
	f.stop()
	f.run()
	f.at(v)
	f.m.term.Load().giveUp(v.url)
	if got := f.writables(); !slices.Equal(got, []uint32{1}) {
		t.Fatal(got)
	}
	f.m.term.Load().giveUp("127.0.0.1:1") // nobody's
	if p := f.m.term.Load().tree.Presence(1, v.url); !p.Here || !p.Heard || !p.Holds {
		t.Fatalf("%+v", p)
	}
}
