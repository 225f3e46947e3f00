package master

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/wire"
)

// expirable makes a volume server answer whether a volume is over: as told for it.
func expirable(v *volumeServer, status map[uint32]int) {
	v.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathVolumeExpire {
			v.ServeHTTP(w, r)
			return
		}
		var order wire.ExpireVolume
		err := json.NewDecoder(r.Body).Decode(&order)
		w.Header().Set("Content-Type", "application/json")
		v.mu.Lock()
		defer v.mu.Unlock()
		info, held := v.volumes[order.ID]
		if err != nil || !held || info.Collection != order.Collection || info.ModifiedAtSecond != order.ModifiedAtSecond {
			w.WriteHeader(404)
		} else if status[order.ID] != 0 {
			w.WriteHeader(status[order.ID])
		}
		_ = json.NewEncoder(w).Encode(info)
	})
}

// TestExpiredVolumesGo lets the time of three volumes pass. One of them was written to after its last report, as its
// server knows.
func TestExpiredVolumesGo(t *testing.T) {
	f := start(t, nil)
	a, b := f.volumeServer("dc1", "r1", 9), f.volumeServer("dc1", "r1", 9)
	refused := map[uint32]int{3: 409}
	expirable(a, refused)
	expirable(b, nil)
	written := f.clock.Now().Unix()
	for _, v := range []*volumeServer{a, b} {
		v.set(volumeInfo(2, "pair", func(i *wire.VolumeInfo) {
			i.TTL, i.ModifiedAtSecond, i.ReplicaPlacement.SameRackCount = "1h", written, 1
		}))
	}
	for id := uint32(3); id <= 5; id++ {
		a.set(volumeInfo(id, "single", func(i *wire.VolumeInfo) { i.TTL, i.ModifiedAtSecond = "1h", written }))
	}
	a.locked(func() {
		info := a.volumes[5]
		info.TTL = ""
		a.volumes[5] = info
	})
	f.complete(2, a, b)
	f.eventually("all volumes to take blobs", func() bool {
		body := f.get("/dir/status").body
		return strings.Contains(body, `"writables":[3,4]`) && strings.Contains(body, `"writables":[2]`) && strings.Contains(body, `"writables":[5]`)
	})
	f.clock.advance(55 * time.Minute)
	a.beat(true)
	b.beat(true)
	f.eventually("the volumes near their end to take none", func() bool {
		a.beat(false)
		b.beat(false)
		body := f.get("/dir/status").body
		return !strings.Contains(body, `"writables":[3,4]`) && !strings.Contains(body, `"writables":[2]`) && strings.Contains(body, `"writables":[5]`)
	})
	if a.holds() != 4 || b.holds() != 1 {
		t.Fatalf("%d and %d volumes are left", a.holds(), b.holds())
	}
	f.clock.advance(12 * time.Minute)
	f.eventually("two volumes to be deleted on all their servers", func() bool {
		a.beat(true) // or they would expire themselves
		b.beat(true)
		return a.holds() == 2 && b.holds() == 0
	})
	var left []uint32
	for id := range a.copies() {
		left = append(left, id)
	}
	if slices.Sort(left); !slices.Equal(left, []uint32{3, 5}) {
		t.Errorf("left %v", left)
	}
	f.eventually("the records to go", func() bool {
		return f.get("/dir/lookup?volumeId=2").status == 404 && f.get("/dir/lookup?volumeId=4").status == 404
	})
	f.get("/dir/lookup?volumeId=3").want(t, 200, "")
	a.locked(func() { refused[3] = 0 })
	f.eventually("the last one to be deleted", func() bool {
		a.beat(true)
		return a.holds() == 1
	})
}
