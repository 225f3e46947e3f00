package master

import (
	"slices"
	"testing"

	"weed/internal/blob"
	"weed/master/state"
)

// A server that is being emptied when the leader is lost is emptied by the next one, unless that was taken back.
func TestDrainOutlivesTheLeader(t *testing.T) {
	masters := trio(t)
	leader := masters[0]
	a, b := leader.joined("dc1", "r1", 20), leader.joined("dc1", "r1", 20)
	leader.get("/vol/grow?replication=001&count=4").want(t, 200, "")
	c := leader.joined("dc1", "r1", 20)
	up := []*volumeServer{a, b, c}
	order := "/server/drain?server="
	// What was taken back stays so.
	leader.post(order+b.url).want(t, 200, `"draining":true`)
	leader.post(order+b.url+"&undo=true").want(t, 200, `"draining":false`)
	leader.eventually("what was begun for the other one to be given up", func() bool {
		for _, v := range up {
			v.beat(false)
		}
		return leader.post(order+a.url).status == 200
	})
	leader.stop()

	masters = leaderFirst(masters[1:])
	next := masters[0]
	for _, v := range up {
		v.f = next
		v.beat(true)
	}
	next.eventually("all to have left the server, without another order", func() bool {
		for _, v := range up {
			v.beat(false)
		}
		for id := blob.VolumeID(1); id <= 4; id++ {
			r := next.record(id)
			if len(r.Members) != r.Copies() || slices.Contains(r.Members, state.ServerID(a.url)) {
				return false
			}
		}
		return true
	})
	if to := next.assign("?collection=new"); to.URL == a.url {
		t.Error("a volume was placed on the server that is being emptied")
	}
	next.assign("?collection=other&dataNode=" + b.url)
	next.post(order+a.url+"&undo=true").want(t, 200, `"draining":false`)
	next.assign("?collection=another&dataNode=" + a.url)
}

// A master that starts again from its log and snapshots knows what is being emptied.
func TestDrainOutlivesARestart(t *testing.T) {
	f := start(t, nil)
	a := f.joined("dc1", "r1", 20)
	f.post("/server/drain?server="+a.url).want(t, 200, `"draining":true`)
	f.stop()
	f.run()
	if got := f.m.machine.View().Draining(); !slices.Equal(got, []state.ServerID{state.ServerID(a.url)}) {
		t.Fatal(got)
	}
	a.beat(true)
	f.get("/dir/assign").want(t, 404, "No free volumes left!")
	f.post("/server/drain?server="+a.url+"&undo=true").want(t, 200, `"draining":false`)
	f.assign("?dataNode=" + a.url)
}
