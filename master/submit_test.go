package master

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/topology"
)

type submitted struct {
	FID, FileName, FileURL, ETag string
	Size                         int
}

func TestSubmit(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, _ := w.CreateFormFile("file", "hello.txt")
	_, _ = part.Write([]byte("hello weed-fs!\n"))
	w.Close()
	rows := []struct{ name, contentType, body string }{
		{"multipart", w.FormDataContentType(), body.String()},
		{"raw", "text/plain", "hello"},
		{"what curl sends by default", "application/x-www-form-urlencoded", "collection=x&count=7"},
		{"empty", "", ""},
		{"large", "application/octet-stream", strings.Repeat("0123456789", 300_000)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var s submitted
			f.do("POST", "/submit", row.contentType, row.body).want(t, 201, `"fid":"`).into(t, &s)
			fid, err := blob.ParseFileID(s.FID)
			if err != nil || s.FileURL != v.url+"/"+s.FID || s.FileName != `a"b.txt` || s.Size != len(row.body) || s.ETag != "5b9a4a9c" {
				t.Fatalf("%+v, %v", s, err)
			}
			if stored, ok := v.blobs["/"+fid.String()]; !ok || stored != row.body {
				t.Fatalf("stored %d bytes instead of %d", len(stored), len(row.body))
			}
			if got := v.puts[len(v.puts)-1].Header.Get("Content-Type"); got != row.contentType {
				t.Fatalf("passed on as %q", got)
			}
		})
	}
	f.get("/submit").want(t, 405, `{"error":"Only submit via POST!"}`)
	f.do("OPTIONS", "/submit", "", "").want(t, 204, "")
	if v.made() != 7 {
		t.Fatalf("%d volumes were made: the body is no form", v.made())
	}
	f.post("/submit?pretty=y").want(t, 201, "\n  \"size\": 0")
}

func TestSubmitPassesOn(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	req, _ := http.NewRequest("POST", "http://"+f.cfg.Address+"/submit?ts=1700000000&ttl=3m&collection=c&cm=true&other=1", strings.NewReader("x"))
	req.Header.Set("Content-Md5", "abc")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Seaweed-Owner", "me")
	req.Header.Set("Authorization", "secret")
	f.send(req).want(t, 201, "fid")
	put := v.puts[0]
	if put.URL.RawQuery != "ts=1700000000&ttl=3m&cm=true" {
		t.Fatal(put.URL.RawQuery)
	}
	if put.Header.Get("Content-MD5") != "abc" || put.Header.Get("Content-Encoding") != "gzip" || put.Header.Get("Seaweed-Owner") != "me" {
		t.Fatal(put.Header)
	}
	if put.Header.Get("Authorization") != "" {
		t.Fatal("a header that is none of the volume server's business was passed on")
	}
}

func TestSubmitFailures(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	v.answers("blobs", 413)
	f.post("/submit").want(t, 413, "told to fail")
	v.answers("blobs", 503)
	r := f.post("/submit").want(t, 503, "no volume server took the blob")
	if r.header.Get("Retry-After") == "" {
		t.Fatal("no Retry-After")
	}
	other := f.joined("dc2", "r1", 28)
	f.get("/vol/grow?count=1&dataCenter=dc2").want(t, 200, "")
	f.post("/submit").want(t, 201, other.url)
	f.post("/submit?replication=001").want(t, 500, "Cannot grow volume group! Not enough data node found!")
	f.post("/submit?ttl=x").want(t, 406, "ttl")
}

func TestDelete(t *testing.T) {
	f := start(t, nil)
	v := f.joined("dc1", "r1", 28)
	var s submitted
	f.do("POST", "/submit", "text/plain", "four").want(t, 201, "").into(t, &s)
	r := f.post("/delete?fid="+s.FID+"&fid=999,01637037d6&fid=nonsense").want(t, 202, `[{"fid":"`+s.FID+`","size":4,"status":202}`)
	if !strings.Contains(r.body, `{"fid":"999,01637037d6","size":0,"status":404,"error":"volume 999 not found"}`) ||
		!strings.Contains(r.body, `{"fid":"nonsense","size":0,"status":400,"error":"`) {
		t.Fatal(r.body)
	}
	f.do("POST", "/delete", "application/x-www-form-urlencoded", "fid="+s.FID).want(t, 202, `"status":404`)
	f.post("/delete").want(t, 202, `[]`)
	f.get("/delete?fid="+s.FID).want(t, 405, "error")
	v.http.Close()
	f.post("/delete?fid="+s.FID).want(t, 202, `"status":503`)
}

// A submit that a server refuses goes elsewhere, and says that disks are full only when all were that it tried.
func TestSubmitTriesOtherVolumes(t *testing.T) {
	f := start(t, nil)
	full, roomy := f.joined("dc1", "r1", 3), f.joined("dc2", "r1", 1)
	f.get("/vol/grow?count=3&dataCenter=dc1").want(t, 200, "")
	f.get("/vol/grow?count=1&dataCenter=dc2").want(t, 200, "")
	for _, status := range []int{507, 503} {
		full.answers("blobs", status)
		for range 8 {
			f.post("/submit").want(t, 201, roomy.url)
		}
	}
	for id := range full.copies() { // other requests may take the turns of the volume that has room
		for range 8 {
			target, err := f.m.term.Load().pickAgain(wish{}, &attempts{volumes: []blob.VolumeID{blob.VolumeID(id)}, full: []string{full.url}})
			if err != nil || target.Locations[0].URL != roomy.url {
				t.Fatal(target, err)
			}
		}
	}
	full.answers("blobs", 507)
	roomy.answers("blobs", 503)
	for range 4 {
		f.post("/submit").want(t, 503, "no volume server took the blob")
	}
	f.post("/submit?dataCenter=dc1").want(t, 507, "that were tried are full")
}

func TestRegret(t *testing.T) {
	at := func(id blob.VolumeID, server string) *topology.Target {
		return &topology.Target{ID: id, Locations: []*topology.Location{{URL: server}}}
	}
	tried := attempts{volumes: []blob.VolumeID{1, 2}, full: []string{"a:1"}}
	for want, target := range []*topology.Target{at(3, "b:1"), at(3, "a:1"), at(2, "b:1")} {
		if got := tried.regret(target); got != want {
			t.Errorf("volume %d on %s: %d, want %d", target.ID, target.Locations[0].URL, got, want)
		}
	}
}
