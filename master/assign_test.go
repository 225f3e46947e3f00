package master

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"weed/internal/blob"
	"weed/internal/wire"
)

func TestAssignOnAFreshCluster(t *testing.T) {
	f := start(t, nil)
	f.get("/dir/assign").want(t, 404, `{"error":"No free volumes left!"}`)
	v := f.joined("dc1", "r1", 28)
	a := f.assign("")
	fid, err := blob.ParseFileID(a.FID)
	if err != nil || fid.Key != 1 || a.URL != v.url || a.PublicURL != v.url || a.Count != 1 {
		t.Fatalf("%+v: %+v, %v", a, fid, err)
	}
	if v.holds() != 7 {
		t.Fatalf("%d volumes were made, want 7", v.holds())
	}
	if b := f.assign("?count=5"); b.Count != 5 {
		t.Fatalf("%+v", b)
	} else if next, _ := blob.ParseFileID(f.assign("").FID); next.Key != 7 {
		t.Fatalf("after keys 2 to 6 came %d", next.Key)
	}
	pretty := f.get("/dir/assign?pretty=y").want(t, 200, "{\n  \"fid\": \"").body
	if !strings.Contains(pretty, `"count": 1`) {
		t.Fatal(pretty)
	}
	f.do("HEAD", "/dir/assign", "", "").want(t, 200, "")
	f.do("HEAD", "/dir/assign?collection=other", "", "").want(t, 503, "")
	if v.holds() != 7 {
		t.Fatal("HEAD made volumes")
	}
}

func TestAssignParameters(t *testing.T) {
	f := start(t, nil)
	f.joined("dc1", "r1", 100)
	rows := []struct {
		query  string
		status int
		part   string
	}{
		{"count=0", 406, "count"},
		{"count=-1", 406, "count"},
		{"count=1e3", 406, "count"},
		{"count=1000000", 200, `"count":1000000`},
		{"count=1000001", 406, "count"},
		{"count=99999999999999999999999", 406, "count"},
		{"replication=000", 200, `"fid"`},
		{"replication=abc", 406, "replication"},
		{"replication=0000", 406, "replication"},
		{"replication=999", 406, "replication"},
		{"replication=001", 500, "Cannot grow volume group! Not enough data node found!"},
		{"replication=100", 500, "Cannot grow volume group! Not enough data node found!"},
		{"ttl=3m", 200, `"fid"`},
		{"ttl=300x", 406, "ttl"},
		{"collection=a.b-c_d", 200, `"fid"`},
		{"collection=..%2Fetc", 406, "collection"},
		{"collection=a%00b", 406, "collection"},
		{"collection=" + strings.Repeat("x", 129), 406, "collection"},
		{"dataCenter=dc1&rack=r1", 200, `"fid"`},
		{"dataCenter=dc2", 400, "data center"},
		{"dataCenter=dc1&rack=r2", 400, "rack"},
		{"dataNode=1.2.3.4:5", 400, "data node"},
		{"unknown=1&count=&ttl=&collection=", 200, `"count":1`},
	}
	for _, row := range rows {
		t.Run(row.query, func(t *testing.T) {
			f.get("/dir/assign?"+row.query).want(t, row.status, row.part)
			if strings.Contains(row.query, "%00") {
				return
			}
			values, _ := url.ParseQuery(row.query)
			contentType, body := form(values)
			f.do("POST", "/dir/assign", contentType, body).want(t, row.status, row.part)
		})
	}
	f.do("DELETE", "/dir/assign", "", "").want(t, 405, "error")
	if allow := f.do("OPTIONS", "/dir/assign", "", "").want(t, 204, "").header.Get("Allow"); !strings.Contains(allow, "POST") {
		t.Fatal(allow)
	}
}

func TestDefaultReplication(t *testing.T) {
	f := start(t, func(c *Config) { c.DefaultReplication = blob.Placement{DataCenters: 1} })
	a, b := f.joined("dc1", "r1", 100), f.joined("dc2", "r1", 100)
	f.assign("")
	if a.holds() != 6 || b.holds() != 6 {
		t.Fatalf("%d and %d copies, want 6 volumes on both", a.holds(), b.holds())
	}
}

func TestConcurrentAssignsGrowOnce(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 1000)
	v.locked(func() { v.gate = make(chan struct{}) })
	const clients = 40
	fids := make(chan string, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { fids <- f.assign("?collection=c").FID })
	}
	close(v.gate)
	wg.Wait()
	close(fids)
	seen := map[string]bool{}
	for fid := range fids {
		if key := fid[strings.IndexByte(fid, ','):]; seen[key] {
			t.Fatal("twice:", fid)
		} else {
			seen[key] = true
		}
	}
	if v.made() != 7 {
		t.Fatalf("%d volumes were made, want 7", v.made())
	}
}

func TestFailedOrderLeavesNothing(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 40), f.joined("dc1", "r1", 40)
	b.answers(wire.PathVolumeCreate, 500)
	f.get("/dir/assign?replication=001").want(t, 500, "Cannot grow volume group!")
	if a.holds() != 0 {
		t.Fatalf("%d copies of volumes that did not come about are left", a.holds())
	}
	f.get("/dir/status").want(t, 200, `"Max":80,"Free":80`)
	b.answers(wire.PathVolumeCreate, 0)
	f.assign("?replication=001")
	if a.holds() != 6 || b.holds() != 6 {
		t.Fatal(a.holds(), b.holds())
	}
}

func TestCopiesThatCouldNotBeDeletedAreDeletedLater(t *testing.T) {
	f := start(t, nil)
	a, b := f.joined("dc1", "r1", 40), f.joined("dc1", "r1", 40)
	b.answers(wire.PathVolumeCreate, 500)
	a.answers(wire.PathVolumeDelete, 500)
	f.get("/dir/assign?replication=001").want(t, 500, "Cannot grow volume group!")
	if a.holds() == 0 {
		t.Fatal("the fake must have kept its copies")
	}
	a.answers(wire.PathVolumeDelete, 0)
	a.beat(false)
	f.eventually("the copies to be deleted", func() bool { return a.holds() == 0 })
	f.eventually("their slots to be free", func() bool {
		return strings.Contains(f.get("/dir/status").body, `"Max":80,"Free":80`)
	})
}

// A volume whose copies are all reported while the answer to the order is lost has come about: it may hold
// blobs already, and is not undone.
func TestLostAnswerToAnOrder(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 4)
	v.locked(func() { v.lost = func() { v.beat(false) } })
	f.assign("")
	if v.holds() != 1 {
		t.Fatalf("%d volumes, want the one whose answer was lost", v.holds())
	}
	f.get("/dir/status").want(t, 200, `"Max":4,"Free":3`)
}

// Where it is not reported, it is deleted as soon as it is.
func TestLostAnswerBeforeTheReport(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 4)
	v.locked(func() { v.lost = func() {} })
	v.answers(wire.PathVolumeDelete, 500)
	f.get("/dir/assign").want(t, 500, "Cannot grow volume group!")
	if v.holds() != 1 {
		t.Fatal(v.holds())
	}
	v.beat(false)
	f.get("/dir/lookup?volumeId=1").want(t, 404, "not found")
	v.answers(wire.PathVolumeDelete, 0)
	v.beat(false)
	f.eventually("the volume to be deleted", func() bool { return v.holds() == 0 })
}

func TestNoKeyTwiceAfterRestart(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	seen := map[blob.Key]bool{}
	for round := range 3 {
		for i := range 30 {
			query := ""
			if i%10 == 9 {
				query = fmt.Sprintf("?count=%d", 40_000)
			}
			a := f.assign(query)
			fid, _ := blob.ParseFileID(a.FID)
			for n := range a.Count {
				if key := fid.Key + blob.Key(n); seen[key] {
					t.Fatalf("round %d: key %d twice", round, key)
				} else {
					seen[key] = true
				}
			}
		}
		f.stop()
		f.run()
		v.beat(true)
	}
}

func TestReportedKeysAndIDsAreNotReused(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	f.assign("") // leases keys 1 to 65536
	if last := v.beat(false).LastKey; last != 65536 {
		t.Errorf("the server hears that keys up to %d are given out", last)
	}
	v.set(volumeInfo(77, "old", func(i *wire.VolumeInfo) { i.MaxKey = 1_000_000 }))
	v.beat(false)
	if fid, _ := blob.ParseFileID(f.assign("").FID); fid.Key <= 1_000_000 {
		t.Fatalf("key %d may be in use", fid.Key)
	}
	a := f.assign("?collection=new")
	if fid, _ := blob.ParseFileID(a.FID); fid.Volume <= 77 {
		t.Fatalf("volume id %d may be in use", fid.Volume)
	}
	for _, far := range []uint64{1<<64 - 1, 1<<63 - 1, 1<<63 - 2} {
		v.set(volumeInfo(4_000_000_000, "far", func(i *wire.VolumeInfo) { i.MaxKey = far }))
		v.beat(false)
	}
	fid, _ := blob.ParseFileID(f.assign("?collection=newer").FID)
	if fid.Volume > 1000 || fid.Key > 2_000_000 {
		t.Fatalf("a far id or key used the sequences up: %v", fid)
	}
}

func TestGrowthAhead(t *testing.T) {
	f := start(t, func(c *Config) { c.VolumeSizeLimitBytes = 1000 })
	v := f.joined("dc1", "r1", 4)
	f.assign("")
	if v.holds() != 1 {
		t.Fatal(v.holds())
	}
	for id := range v.copies() {
		v.set(volumeInfo(id, "", func(i *wire.VolumeInfo) { i.SizeBytes = 950 }))
	}
	v.beat(false)
	f.eventually("another volume", func() bool { return v.holds() == 2 })
}

// Whatever a client asks for, the answer has a status that fits and a body that is JSON.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, uri string }{
		{"GET", "/dir/assign?count=2&collection=a&replication=000&ttl=3d"}, {"GET", "/dir/assign?count=%zz&&==&count"},
		{"GET", "/dir/lookup?volumeId=3,01637037d6"}, {"GET", "/vol/lookup?volumeId=1&volumeId=,"}, {"HEAD", "/3,01637037d6"},
		{"DELETE", "/3/01637037d6/n.jpg?x=%0d%0a"}, {"GET", "//../3,01637037d6"}, {"GET", "/vol/status?pretty=y"},
		{"OPTIONS", "/submit"}, {"GET", "/col/delete?collection=../x"}, {"PATCH", "/dir/status"},
	} {
		f.Add(seed.method, seed.uri)
	}
	m := twoVolumes(f)
	f.Fuzz(func(t *testing.T, method, uri string) {
		if strings.HasPrefix(uri, "/vol/grow") || method == "POST" {
			return // would have to reach a volume server
		}
		ctx := request(method, uri)
		m.route(ctx)
		body, status := ctx.Response.Body(), ctx.Response.StatusCode()
		if status < 200 || status >= 500 && status != 503 && status != 500 || status >= 400 && !json.Valid(body) {
			t.Fatalf("%s %q: %d %q", method, uri, status, body)
		}
		if at := ctx.Response.Header.Peek("Location"); strings.ContainsAny(string(at), "\r\n") {
			t.Fatalf("a header was split: %q", at)
		}
	})
}
