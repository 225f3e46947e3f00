package master

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/wire"
)

// vacuumable makes a volume server carry out vacuums, which it says to go on at first, and reports at its next
// heartbeat. It counts those that are done; while refused is set it says why not.
func vacuumable(v *volumeServer, refused *atomic.Bool) *atomic.Int32 {
	done, asked := new(atomic.Int32), map[uint32]bool{}
	v.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case wire.PathVolumeVacuum:
		case wire.PathVolumeReport:
			v.beat(false)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{}"))
			return
		default:
			v.ServeHTTP(w, r)
			return
		}
		var order wire.VacuumVolume
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		v.mu.Lock()
		defer v.mu.Unlock()
		if r.Method == http.MethodGet {
			id, _ := strconv.ParseUint(r.URL.Query().Get("volumeId"), 10, 32)
			order.ID = uint32(id)
		} else {
			_ = json.Unmarshal(body, &order)
		}
		info := v.volumes[order.ID]
		status := wire.VacuumStatus{Origin: wire.Origin{Revision: info.CompactRevision, Floor: info.CompactFloor}}
		switch o := order.Follow; {
		case r.Method == http.MethodGet || o != nil && *o == status.Origin:
		case o == nil && info.CompactRevision != order.Revision: // done already
		case order.Survey:
			status.Planned = &wire.Origin{Revision: info.CompactRevision + 1, Floor: int64(max(info.LogLength, info.SizeBytes))}
		case refused != nil && refused.Load():
			status.Error = "told to fail"
		case !asked[order.ID]:
			asked[order.ID], status.Running = true, true
		default:
			info.LogLength = max(info.LogLength, info.SizeBytes)
			info.CompactRevision, info.CompactFloor = info.CompactRevision+1, int64(info.LogLength)
			if o != nil {
				info.CompactRevision, info.CompactFloor = o.Revision, o.Floor
			}
			info.SizeBytes -= info.DeletedByteCount
			info.DeletedByteCount, info.DeleteCount = 0, 0
			v.volumes[order.ID] = info
			status.Origin = wire.Origin{Revision: info.CompactRevision, Floor: info.CompactFloor}
			done.Add(1)
		}
		_ = json.NewEncoder(w).Encode(status)
	})
	return done
}

// garbageVolume is a volume of 1000 bytes, of which some are deleted.
func garbageVolume(id uint32, deleted uint64, change func(*wire.VolumeInfo)) wire.VolumeInfo {
	return volumeInfo(id, "", func(i *wire.VolumeInfo) {
		i.SizeBytes, i.DeletedByteCount, i.DeleteCount = 1000, deleted, 1
		if change != nil {
			change(i)
		}
	})
}

func TestVacuum(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse, c.GarbageThreshold = 200*time.Millisecond, 1 })
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc2", "r1", 7)
	doneA, doneB := vacuumable(a, nil), vacuumable(b, nil)
	twice := func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 }
	a.set(garbageVolume(1, 400, nil))
	a.set(garbageVolume(2, 300, nil))
	a.set(garbageVolume(3, 900, twice))
	b.set(garbageVolume(3, 900, twice))
	b.set(garbageVolume(4, 500, nil))
	f.complete(3, a, b)
	for _, malformed := range []string{"garbageThreshold=x", "garbageThreshold=1.1", "garbageThreshold=NaN", "garbageThreshold=-1",
		"volumeId=x"} {
		f.get("/vol/vacuum?"+malformed).want(t, 406, `"error"`)
	}
	f.get("/vol/vacuum?volumeId=99").want(t, 404, `volume 99 not found`)
	f.get("/vol/vacuum?garbageThreshold=0.4").want(t, 200, `"Topology"`)
	if doneA.Load() != 2 || doneB.Load() != 2 || a.copies()[1].CompactRevision != 1 || a.copies()[3].CompactRevision != 1 ||
		b.copies()[3].CompactFloor != a.copies()[3].CompactFloor {
		t.Errorf("%d and %d volumes were vacuumed: %+v", doneA.Load(), doneB.Load(), a.copies())
	}
	a.beat(true)
	b.beat(true)
	f.post("/vol/vacuum?garbageThreshold=0&volumeId=4").want(t, 200, `"Topology"`)
	f.post("/vol/vacuum?garbageThreshold=0&volumeId=2").want(t, 200, `"Topology"`)
	b.set(garbageVolume(5, 600, nil)) // of which no heartbeat has told
	f.post("/vol/vacuum?garbageThreshold=0.5").want(t, 200, `"Topology"`)
	if doneA.Load() != 3 || doneB.Load() != 3 {
		t.Errorf("%d and %d volumes were vacuumed in the end", doneA.Load(), doneB.Load())
	}
}

// TestVacuumOfCopiesThatLag: where one copy was compacted and the other one was not, that follows; while a copy is away
// nothing is compacted.
func TestVacuumOfCopiesThatLag(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = 100 * time.Millisecond })
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc2", "r1", 7)
	doneA, doneB := vacuumable(a, nil), vacuumable(b, nil)
	twice := func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 }
	for id := range uint32(2) {
		a.set(garbageVolume(id+1, 0, twice))
		b.set(garbageVolume(id+1, 0, twice))
		f.complete(id+1, a, b)
	}
	change := func(v *volumeServer, id uint32, how func(*wire.VolumeInfo)) {
		v.locked(func() {
			info := v.volumes[id]
			how(&info)
			v.volumes[id] = info
		})
		v.beat(true)
	}
	for _, v := range []*volumeServer{a, b} {
		change(v, 1, func(i *wire.VolumeInfo) { i.InSync, i.DeletedByteCount = false, 900 })
	}
	change(b, 2, func(i *wire.VolumeInfo) { i.CompactRevision, i.CompactFloor = 1, 500 })
	f.eventually("the copy that lags follows", func() bool {
		a.beat(true)
		b.beat(true)
		return a.copies()[2].CompactFloor == 500 && a.copies()[2].CompactRevision == 1
	})
	f.get("/vol/vacuum?garbageThreshold=0.5&volumeId=1").want(t, 409, "a copy of the volume is missing")
	if held := a.copies(); held[1].CompactRevision != 0 || doneA.Load() != 1 || doneB.Load() != 0 {
		t.Errorf("%d, %d, %+v", doneA.Load(), doneB.Load(), held)
	}
}

func TestVacuumByItself(t *testing.T) {
	var refused atomic.Bool
	refused.Store(true)
	var orders atomic.Int32
	f := start(t, func(c *Config) { c.Pulse = 100 * time.Millisecond })
	a := f.volumeServer("dc1", "r1", 7)
	done := vacuumable(a, &refused)
	a.set(garbageVolume(1, 200, nil))
	a.set(garbageVolume(2, 400, nil))
	carriesOut := a.http.Config.Handler
	a.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == wire.PathVolumeVacuum {
			orders.Add(1)
		}
		carriesOut.ServeHTTP(w, r)
	})
	f.eventually("an order", func() bool { a.beat(true); return orders.Load() > 0 })
	refused.Store(false)
	a.set(garbageVolume(5, 400, nil))
	f.eventually("a vacuum", func() bool { a.beat(true); return done.Load() == 1 })
	if held := a.copies(); held[5].CompactRevision != 1 || held[1].CompactRevision != 0 || held[2].CompactRevision != 0 {
		t.Errorf("%+v", held)
	}
	f.clock.advance(vacuumRetry)
	f.eventually("another try", func() bool { a.beat(true); return a.copies()[2].CompactRevision == 1 })
}
