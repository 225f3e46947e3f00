package master

import (
	"strings"
	"testing"

	"weed/internal/wire"
)

// TestCopiesMissing: a volume without all of its copies takes nothing, /vol/status says why beside what its
// server says, and nothing but the copy's return clears that.
func TestCopiesMissing(t *testing.T) {
	f := start(t, nil)
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc1", "r1", 7)
	report := func(v *volumeServer, reason string) {
		v.set(volumeInfo(5, "", func(i *wire.VolumeInfo) {
			i.ReplicaPlacement.SameRackCount = 1
			i.ReadOnly, i.ReadOnlyReason = reason != "", reason
		}))
		v.beat(true)
	}
	check := func(at *volumeServer, writable bool, reason string) {
		t.Helper()
		var r struct {
			Volumes struct {
				DataCenters map[string]map[string]map[string][]copyReport
			}
		}
		f.get("/vol/status").want(t, 200, "").into(t, &r)
		copies := r.Volumes.DataCenters["dc1"]["r1"][at.url]
		if len(copies) != 1 || copies[0].ReadOnly != (reason != "") || copies[0].ReadOnlyReason != reason {
			t.Errorf("%+v, want the reason %q", copies, reason)
		}
		if got := strings.Contains(f.get("/dir/status").body, `"writables":[5]`); got != writable {
			t.Errorf("writable %v, want %v", got, writable)
		}
	}
	report(a, "")
	report(b, "")
	f.complete(5, a, b)
	check(a, true, "")
	b.hb.Leaving = true
	b.beat(false)
	b.hb.Leaving, b.hb.Incarnation = false, b.hb.Incarnation+1
	check(a, false, "copies missing")
	report(a, "full")
	check(a, false, "full, copies missing")
	report(a, "")
	check(a, false, "copies missing")
	report(a, "marked by the operator")
	report(b, "")
	check(a, false, "marked by the operator")
	check(b, false, "")
	report(a, "")
	check(a, true, "")
}
