package master

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/internal/freeport"
	"weed/internal/httpx"
	"weed/internal/wire"
)

func TestNoLeader(t *testing.T) {
	f := start(t, func(c *Config) { c.Peers = []string{freeport.Addr(t), freeport.Addr(t)} })
	for _, path := range []string{"/dir/assign", "/dir/lookup?volumeId=1", "/vol/lookup?volumeId=1", "/dir/status",
		"/vol/status", "/vol/grow?count=1", "/col/delete?collection=x", "/readyz", "/3,01637037d6"} {
		r := f.get(path).want(t, 503, `{"error":"`)
		if r.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	f.post("/submit").want(t, 503, "leader")
	f.post("/delete?fid=3,01637037d6").want(t, 503, "leader")
	f.do("POST", wire.PathHeartbeat, "application/json", `{"url":"a:1"}`).want(t, 503, "leader")
	f.get("/healthz").want(t, 200, "test")
	f.get("/cluster/status").want(t, 200, `"IsLeader":false,"Leader":""`)
}

func TestClusterStatusAndHealth(t *testing.T) {
	f := start(t, nil)
	f.get("/cluster/status").want(t, 200, fmt.Sprintf(`{"IsLeader":true,"Leader":"%[1]s","Peers":[],"Members":[{"Address":"%[1]s","Voter":true,"Leader":true}]}`, f.cfg.Address))
	f.get("/stats/health").want(t, 200, "test")
	f.joined("dc1", "r1", 28)
	f.assign("")
	f.get("/metrics").want(t, 200, "weed_master_assigned_fids_total 1")
	f.get("/metrics").want(t, 200, "weed_master_free_slots 21")
	f.get("/vol/unknown").want(t, 404, `{"error":"`)
	f.get("/").want(t, 200, `"IsLeader":true`)
	f.get("/a/b/c").want(t, 404, `{"error":"`)
}

func TestLookup(t *testing.T) {
	f := start(t, nil)
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc2", "r1", 7)
	info := volumeInfo(3, "c", func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 })
	a.set(info)
	b.set(info)
	b.hb.PublicURL = "public.example:80"
	f.complete(3, a, b)
	urls := []string{a.url, b.url}
	slices.Sort(urls)
	primary := urls[3%2]
	r := f.get("/dir/lookup?volumeId=3").want(t, 200, `{"volumeId":"3","volumeOrFileId":"3","locations":[{"url":"`+primary+`","publicUrl":`)
	if !strings.Contains(r.body, `{"url":"`+b.url+`","publicUrl":"public.example:80","dataCenter":"dc2"}`) {
		t.Fatal(r.body)
	}
	f.get("/dir/lookup?volumeId=3,01637037d6").want(t, 200, `"volumeId":"3","volumeOrFileId":"3,01637037d6"`)
	f.get("/dir/lookup?fileId=3,01637037d6&collection=c").want(t, 200, `"locations"`)
	f.get("/dir/lookup?volumeId=3&collection=d").want(t, 404, `"error":"volume 3 not found"`)
	f.get("/dir/lookup?volumeId=4").want(t, 404, `{"volumeId":"4","volumeOrFileId":"4","error":"volume 4 not found"}`)
	f.get("/dir/lookup?volumeId=x").want(t, 400, `"error"`)
	f.get("/dir/lookup").want(t, 400, `"error"`)
	f.get("/vol/lookup?volumeId=3&volumeId=9").want(t, 200, `"9":{"volumeId":"9"`).want(t, 200, `"3":{"volumeId":"3"`)
	f.get("/vol/lookup").want(t, 400, `"error"`)
}

func TestRedirect(t *testing.T) {
	f := start(t, nil)
	a, b := f.volumeServer("dc1", "r1", 7), f.volumeServer("dc2", "r1", 7)
	for _, v := range []*volumeServer{a, b} {
		v.set(volumeInfo(3, "", func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 }))
	}
	f.complete(3, a, b)
	targets := map[string]int{}
	for range 6 {
		r := f.get("/3,01637037d6.jpg?dl=1&x=a%20b").want(t, 301, "")
		targets[r.header.Get("Location")]++
	}
	for _, v := range []*volumeServer{a, b} {
		if targets["http://"+v.url+"/3,01637037d6.jpg?dl=1&x=a%20b"] != 3 {
			t.Fatal("reads must take turns over the replicas:", targets)
		}
	}
	for _, path := range []string{"/3/01637037d6", "/3/01637037d6/a%20b.jpg", "/3,01637037d6_2"} {
		if to := f.do("HEAD", path, "", "").want(t, 301, "").header.Get("Location"); !strings.HasSuffix(to, path) {
			t.Fatalf("%s went to %s", path, to)
		}
	}
	urls := []string{a.url, b.url}
	slices.Sort(urls)
	for range 3 {
		r := f.do("DELETE", "/3,01637037d6", "", "").want(t, 307, "")
		if to := r.header.Get("Location"); to != "http://"+urls[1]+"/3,01637037d6" {
			t.Fatal("what changes something goes to the primary:", to)
		}
	}
	f.get("/4,01637037d6").want(t, 404, "volume 4 not found")
	f.get("/3,0163").want(t, 404, "error")
}

func TestServersComeAndGo(t *testing.T) {
	lines := &logLines{}
	f := start(t, func(c *Config) { c.Pulse = 20 * time.Millisecond })
	f.stop()
	f.log = slog.New(slog.NewTextHandler(lines, nil))
	f.run()
	v := f.volumeServer("dc7", "r9", 28)
	if reply := v.beat(false); !reply.Resend {
		t.Fatal("an unknown server must be asked for everything")
	}
	if reply := v.beat(true); reply.Resend || reply.Leader != f.cfg.Address || reply.PulseMillis != 20 || reply.VolumeSizeLimitBytes != 30000<<20 {
		t.Fatalf("%+v", reply)
	}
	if log := lines.String(); !strings.Contains(log, "joined") || !strings.Contains(log, "dataCenter=dc7") || !strings.Contains(log, "rack=r9") {
		t.Fatal(log)
	}
	f.assign("")
	f.clock.advance(59 * time.Millisecond)
	f.assign("")
	f.clock.advance(time.Millisecond)
	f.eventually("the silent server to expire", func() bool { return f.get("/dir/assign").status == 404 })
	if !strings.Contains(lines.String(), "silent") {
		t.Fatal(lines.String())
	}
	if reply := v.beat(false); !reply.Resend {
		t.Fatal("an expired server must register again")
	}
	v.beat(true)
	f.assign("")
	v.hb.Leaving = true
	v.beat(false)
	f.get("/dir/assign").want(t, 404, "No free volumes left!")
}

func TestMalformedHeartbeats(t *testing.T) {
	f := start(t, nil)
	for _, body := range []string{"", "{", "[]", `{"url":""}`, `{"url":"a:1","max":-5,"full":true}`, `{"url":5}`} {
		f.do("POST", wire.PathHeartbeat, "application/json", body).want(t, 400, `{"error":"`)
	}
	f.get(wire.PathHeartbeat).want(t, 405, "error")
	f.get("/dir/status").want(t, 200, `"DataCenters":[]`)
}

// After a restart the master goes on by its records, before a volume server has reported. New volumes are
// made only where one has.
func TestAfterRestart(t *testing.T) {
	f := start(t, func(c *Config) { c.Pulse = 10 * time.Second })
	v := f.joined("dc1", "r1", 28)
	before := f.assign("")
	v.set(volumeInfo(1, "", func(i *wire.VolumeInfo) { i.ReadOnly = true }))
	v.beat(false)
	f.stop()
	f.run()
	f.get("/"+before.FID).want(t, 301, "")
	f.get("/dir/lookup?volumeId="+before.FID).want(t, 200, v.url)
	f.get("/dir/lookup?volumeId=1000").want(t, 404, "error")
	for range 20 {
		if after := f.assign(""); after.URL != v.url || strings.HasPrefix(after.FID, "1,") {
			t.Fatalf("%+v, though volume 1 is read-only", after)
		}
	}
	if v.made() != 7 {
		t.Fatalf("%d volumes were made, want the 7 of before", v.made())
	}
	f.get("/dir/status").want(t, 200, `"Max":28,"Free":0`)
	var wg sync.WaitGroup
	wg.Go(func() { f.assign("?collection=new") })
	wg.Go(func() { f.get("/vol/grow?count=2&collection=asked").want(t, 200, `{"count":2}`) })
	v.beat(true)
	wg.Wait()
	if v.made() <= 7 {
		t.Fatal("no volumes were made for the new collection")
	}
}

func TestStatusShapes(t *testing.T) {
	f := start(t, nil)
	v := f.volumeServer("dc1", "r1", 7)
	for _, id := range []uint32{1, 2, 3, 5} {
		v.set(volumeInfo(id, "pic", func(i *wire.VolumeInfo) { i.TTL = "3d"; i.ReadOnly = id == 2 }))
	}
	v.beat(true)
	node := fmt.Sprintf(`{"Url":"%s","PublicUrl":"%s","Max":7,"Free":3,"Volumes":4,"VolumeIds":"1-3 5"}`, v.url, v.url)
	layouts := `[{"collection":"pic","replication":"000","ttl":"3d","writables":[1,3,5]}]`
	f.get("/dir/status").want(t, 200, `{"Version":"test","Topology":{"Max":7,"Free":3,"DataCenters":[{"Id":"dc1","Max":7,"Free":3,`+
		`"Racks":[{"Id":"r1","Max":7,"Free":3,"DataNodes":[`+node+`]}]}],"layouts":`+layouts+`,"Layouts":`+layouts+`}}`)
	r := f.get("/vol/status").want(t, 200, `{"Version":"test","Volumes":{"Max":7,"Free":3,"DataCenters":{"dc1":{"r1":{"`+v.url+`":[{"Id":1,`)
	for _, part := range []string{`"ReplicaPlacement":{"SameRackCount":0,"DiffRackCount":0,"DiffDataCenterCount":0}`, `"Ttl":"3d"`,
		`"Primary":"` + v.url + `","Members":["` + v.url + `"],"State":"writable"`, `"State":"readonly"`} {
		if !strings.Contains(r.body, part) {
			t.Fatalf("%s is missing in %s", part, r.body)
		}
	}
}

func TestGrow(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 6)
	f.get("/vol/grow?count=2").want(t, 200, `{"count":2}`)
	f.get("/vol/grow?count=10").want(t, 406, "Only 4 volumes left! Not enough for 10")
	f.get("/vol/grow?count=5&replication=001").want(t, 406, "Only 2 volumes left! Not enough for 5")
	f.get("/vol/grow?count=1&replication=001").want(t, 500, "Cannot grow volume group! Not enough data node found!")
	f.get("/vol/grow").want(t, 406, "count")
	f.get("/vol/grow?count=x").want(t, 406, "count")
	f.get("/vol/grow?count=1&dataCenter=z").want(t, 400, "data center")
	f.get("/vol/grow?count=1&collection=a/b").want(t, 406, "collection")
	f.do("HEAD", "/vol/grow?count=1", "", "").want(t, 405, "")
	f.do("POST", "/vol/grow", "application/x-www-form-urlencoded", "count=1&collection=c&dataCenter=dc1").want(t, 200, `{"count":1}`)
	if v.holds() != 3 {
		t.Fatal(v.holds())
	}
}

func TestCollectionDelete(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 40), f.joined("dc1", "r1", 40)
	f.assign("?collection=x&replication=001")
	f.assign("")
	others := a.holds() + b.holds() - 12
	f.get("/col/delete").want(t, 400, "collection")
	f.get("/col/delete?collection=y").want(t, 400, `{"error":"collection y does not exist"}`)
	f.do("HEAD", "/col/delete?collection=x", "", "").want(t, 405, "")
	b.answers(wire.PathVolumeDelete, 500)
	f.post("/col/delete?collection=x").want(t, 200, `{"left":6}`)
	f.post("/col/delete?collection=x").want(t, 400, "collection x does not exist")
	f.get("/dir/lookup?volumeId=1&collection=x").want(t, 404, "not found")
	b.answers(wire.PathVolumeDelete, 0)
	f.eventually("the copies that were left to be deleted", func() bool { return a.holds()+b.holds() == others })
	f.eventually("the records to go", func() bool { return f.m.machine.View().VolumeCount() == others })
	f.assign("?collection=x&replication=001")
	f.post("/col/delete?collection=x").want(t, 200, `{}`)
	if a.holds()+b.holds() != others {
		t.Fatalf("%d volumes are left, want the %d of the other collection", a.holds()+b.holds(), others)
	}
}

func TestWhiteList(t *testing.T) {
	guard, err := httpx.ParseGuard("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *Config) { c.Guard = guard })
	for _, path := range []string{"/dir/assign", "/vol/grow?count=1", "/col/delete?collection=x"} {
		f.get(path).want(t, 403, "whiteList")
	}
	f.post("/submit").want(t, 403, "whiteList")
	f.get("/dir/status").want(t, 200, "Topology")
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{Address: "nonsense"}, {Bind: "9333"}, {Pulse: -1}, {IdleTimeout: -1}} {
		if _, err := New(cfg, Deps{}); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	m, err := New(Config{}, Deps{})
	if err != nil || m.cfg.Bind != "127.0.0.1:9333" || m.cfg.Pulse != 5*time.Second || m.Addr() != "" {
		t.Fatalf("%+v, %v", m, err)
	}
}
