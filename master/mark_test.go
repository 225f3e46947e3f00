package master

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/wire"
)

// markable makes a volume server carry out marks, which it reports at its next heartbeat. While refused is
// set it answers 500.
func markable(v *volumeServer, refused *atomic.Bool) {
	v.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathVolumeMark {
			v.ServeHTTP(w, r)
			return
		}
		var order wire.MarkVolume
		err := json.NewDecoder(r.Body).Decode(&order)
		w.Header().Set("Content-Type", "application/json")
		v.mu.Lock()
		defer v.mu.Unlock()
		info, held := v.volumes[order.ID]
		if err != nil || !held || refused.Load() {
			w.WriteHeader(500)
			_ = json.NewEncoder(w).Encode(wire.Error{Error: "told to fail"})
			return
		}
		info.ReadOnly = order.ReadOnly
		v.volumes[order.ID] = info
		_ = json.NewEncoder(w).Encode(info)
	})
}

func TestMark(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = 5 * time.Second })
	var refused atomic.Bool
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc2", "r1", 7)
	urls := []string{a.url, b.url}
	for _, v := range []*volumeServer{a, b} {
		v.set(volumeInfo(2, "", func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 }))
	}
	markable(a, new(atomic.Bool))
	markable(b, &refused)
	f.complete(2, a, b)
	writable := func() bool { return strings.Contains(f.get("/dir/status").body, `"writables":[2]`) }
	if !writable() {
		t.Fatal(f.get("/dir/status").body)
	}

	// The answer waits for the heartbeat by which the volume leaves the writables.
	answered := make(chan reply)
	go func() { answered <- f.post("/vol/mark?volumeId=2&readonly=true") }()
	f.eventually("both copies to be marked", func() bool {
		for _, v := range []*volumeServer{a, b} {
			if !v.copies()[2].ReadOnly {
				return false
			}
		}
		return true
	})
	select {
	case r := <-answered:
		t.Errorf("answered before the topology knew: %+v", r)
	default:
	}
	a.beat(true)
	r := (<-answered).want(t, 200, `{"volumeId":2,"readonly":true,"servers":[`)
	var m marked
	r.into(t, &m)
	slices.Sort(urls)
	if slices.Sort(m.Servers); !slices.Equal(m.Servers, urls) || writable() {
		t.Fatalf("%+v, writable: %v", m, writable())
	}
	b.beat(true)

	refused.Store(true)
	r = f.post("/vol/mark?volumeId=2&readonly=false").want(t, 500, "volume 2 was marked on 1 of 2 servers, but not on "+b.url+" (told to fail)")
	if strings.Contains(r.body, a.url) {
		t.Fatal("names a server that did as it was told:", r.body)
	}
	refused.Store(false)
	contentType, body := form(map[string][]string{"volumeId": {"2"}, "readonly": {"false"}})
	f.do("POST", "/vol/mark", contentType, body).want(t, 200, `"readonly":false`)
	a.beat(true)
	b.beat(true)
	if !writable() {
		t.Fatal("still not writable:", f.get("/dir/status").body)
	}
	b.http.Close()
	f.post("/vol/mark?volumeId=2&readonly=true").want(t, 500, b.url+" (it can't be reached)")
}

func TestMarkRefused(t *testing.T) {
	f := start(t, nil)
	f.post("/vol/mark?volumeId=9&readonly=true").want(t, 404, "volume 9 not found")
	f.post("/vol/mark?volumeId=x&readonly=true").want(t, 400, "volumeId")
	f.post("/vol/mark?readonly=true").want(t, 400, "volumeId")
	f.post("/vol/mark?volumeId=9").want(t, 400, "readonly")
	f.post("/vol/mark?volumeId=9&readonly=1").want(t, 400, "neither true nor false")
}
