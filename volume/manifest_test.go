package volume

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/storage"
)

// chunked stores content in pieces at the servers in turn, the i-th in volume 3+i%len(nodes), and returns the
// manifest's text.
func chunked(nodes []*node, content string, piece int, name, mime string) string {
	m := manifest{Name: name, Mime: mime, Size: int64(len(content))}
	for at, i := 0, 0; at < len(content); at, i = at+piece, i+1 {
		part := content[at:min(at+piece, len(content))]
		v := i % len(nodes)
		path := fmt.Sprintf("/%d,%x637037d6", 3+v, 0x100+i)
		nodes[v].put(path, part, "Content-Type", "text/plain") // some are stored compressed
		m.Chunks = append(m.Chunks, manifestChunk{FID: path[1:], Offset: int64(at), Size: int64(len(part))})
	}
	for i, j := 0, len(m.Chunks)-1; i < j; i, j = i+1, j-1 { // any order will do
		m.Chunks[i], m.Chunks[j] = m.Chunks[j], m.Chunks[i]
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // plain fields
	}
	return string(text)
}

// pair starts a server that holds volume 3 and one that holds volume 4, which know of each other.
func pair(t *testing.T) []*node {
	a := start(t, nil)
	b := run(t, func(c *Config) { c.Masters = []string{a.master.addr()} })
	b.create(4, "")
	a.master.hold("3", a.addr)
	a.master.hold("4", b.addr)
	return []*node{a, b}
}

func TestChunkManifest(t *testing.T) {
	nodes := pair(t)
	a := nodes[0]
	for _, content := range []string{"", "0123456789", noise(40_000, 1), strings.Repeat("some text ", 60_000), noise(1<<20+5, 2)} {
		text := chunked(nodes, content, max(1, len(content)/7), "big.txt", "text/x-big")
		for _, sent := range []struct{ body, coding string }{{text, ""}, {deflate(text), "gzip"}} {
			a.put(fid+"?cm=true", sent.body, "Content-Encoding", sent.coding, "Seaweed-Owner", "me").says(fmt.Sprintf(`"size":%d`, len(sent.body)))
			a.get(fid).want(200).is(content).has("Content-Length", fmt.Sprint(len(content)), "Content-Type", "text/x-big", "Content-Encoding", "",
				"Content-Disposition", `inline; filename="big.txt"`, "ETag", etagOf(sent.body), "Owner", "me", "Accept-Ranges", "bytes")
			a.get(fid, "Accept-Encoding", "gzip").want(200).is(content).has("Content-Encoding", "")
			a.do("HEAD", fid, "").want(200).has("Content-Length", fmt.Sprint(len(content)), "Content-Type", "text/x-big")
			a.get(fid, "If-None-Match", etagOf(sent.body)).want(304)
			if sent.coding == "" {
				checkRanges(t, a, fid, content)
			}
			a.get(fid + "?cm=false").want(200).is(text)
			a.do("HEAD", fid+"?cm=0", "").want(200).has("Content-Length", fmt.Sprint(len(text)))
		}
		a.do("DELETE", fid, "").want(202).is(fmt.Sprintf(`{"size":%d}`, len(content)))
		for i, n := range nodes {
			if live := n.store.Volumes()[0].Live; live != 0 {
				t.Fatalf("server %d still holds %d needles", i, live)
			}
		}
	}
}

func TestManifestNamesAndTypes(t *testing.T) {
	a := start(t, nil)
	for _, c := range []struct{ name, mime, path, wantType, wantName string }{
		{"x.css", "", fid, "text/css; charset=utf-8", "x.css"},
		{"x.css", "", "/3/01637037d6/y.png", "image/png", "y.png"},
		{"x.unknown", "", fid, "application/octet-stream", "x.unknown"},
		{"", "", fid, "application/octet-stream", ""},
		{"", "", fid + ".png", "image/png", ""},
		{"a\r\nX-Y: z", "text/x\r\nX-Y: z", fid, "application/octet-stream", "aX-Y: z"},
	} {
		a.put(fid+"?cm=true", chunked([]*node{a}, "content", 3, c.name, c.mime), "Content-Type", "application/json")
		got := a.get(c.path).want(200).is("content").has("X-Y", "")
		if c.mime == "" {
			got.has("Content-Type", c.wantType)
		}
		if want := `inline; filename="` + c.wantName + `"`; c.wantName != "" {
			got.has("Content-Disposition", want)
		}
	}
}

func TestMalformedManifests(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "kept")
	chunk := func(fid string, offset, size int64) string {
		return fmt.Sprintf(`{"fid":%q,"offset":%d,"size":%d}`, fid, offset, size)
	}
	const a, b = "3,02637037d6", "3,03637037d6"
	for _, text := range []string{
		"", "x", "null", "[]", "1", `{"chunks":{}}`, `{"chunks":[1]}`, `{"size":1}`, `{"size":-1}`, `{"size":1e99}`,
		`{"size":3,"chunks":[` + chunk("nonsense", 0, 3) + `]}`,
		`{"size":3,"chunks":[` + chunk("/"+a, 0, 3) + `]}`,
		`{"size":4,"chunks":[` + chunk(a, 0, 3) + `]}`,
		`{"size":3,"chunks":[` + chunk(a, 1, 3) + `]}`,
		`{"size":3,"chunks":[` + chunk(a, -3, 3) + `]}`,
		`{"size":0,"chunks":[` + chunk(a, 0, 3) + "," + chunk(b, 3, -3) + `]}`,
		`{"size":5,"chunks":[` + chunk(a, 0, 3) + "," + chunk(b, 2, 3) + `]}`,
		`{"size":7,"chunks":[` + chunk(a, 0, 3) + "," + chunk(b, 4, 3) + `]}`,
		`{"size":-2,"chunks":[` + chunk(a, 0, 1<<62) + "," + chunk(b, 1<<62, 1<<62) + "," + chunk(b, -1<<63, 1<<62) + `]}`,
		`{"chunks":[` + strings.Repeat("{},", maxManifestChunks) + `{}]}`,
		strings.Repeat(`{"chunks":[`, 100_000),
		`{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}",
	} {
		if got := n.do("PUT", fid+"?cm=true", text); got.StatusCode != 400 {
			t.Errorf("%.80s: %d %.100s", text, got.StatusCode, got.body)
		}
	}
	n.do("PUT", fid+"?cm=true", deflate(strings.Repeat(" ", maxManifestBytes+1)), "Content-Encoding", "gzip").want(400)
	n.get(fid).is("kept")
	n.put(fid+"?cm=true", "{}")
	n.get(fid).want(200).is("").has("Content-Length", "0")
}

// A manifest from elsewhere that makes no sense is not served, and can be deleted alone.
func TestForeignManifests(t *testing.T) {
	n := start(t, nil)
	v, _ := n.store.Volume(3)
	for i, text := range []string{"x", strings.Repeat("x", maxManifestBytes+1)} {
		if err := v.Put(&storage.Needle{Key: 1, Cookie: 0x637037d6, Data: []byte(text), Manifest: true}); err != nil {
			t.Fatal(err)
		}
		n.get(fid).want(500)
		n.get(fid + "?cm=false").want(200).is(text)
		n.do("DELETE", fid, "").want(500)
		if i == 0 {
			n.get(fid + "?cm=false").want(200)
		}
		n.do("DELETE", fid+"?cm=false", "").want(202).is(fmt.Sprintf(`{"size":%d}`, len(text)))
	}
}

func TestChunksThatAreNotThere(t *testing.T) {
	nodes := pair(t)
	a, b := nodes[0], nodes[1]
	content := noise(100_000, 1)
	text := chunked(nodes, content, 30_000, "", "")
	a.put(fid+"?cm=true", text)
	// The second chunk, on the other server, and the third, here.
	b.do("DELETE", "/4,101637037d6", "").want(202)
	a.get(fid, "Range", "bytes=0-29999").want(206).is(content[:30_000])
	a.get(fid, "Range", "bytes=30000-").want(500).has("Content-Range", "", "ETag", "")
	// The answer has begun when the damage is found: it is cut off, not filled up.
	if got, err := a.try("GET", fid, nil); err == nil {
		t.Errorf("%d, %d bytes, and no error", got.StatusCode, len(got.body))
	}
	// One of another length is as bad.
	a.put("/3,102637037d6", content[60_000:]+"x")
	a.get(fid, "Range", "bytes=60000-60001").want(500)
	a.put("/3,102637037d6", content[60_000:90_000])
	b.put("/4,101637037d6", content[30_000:59_999])
	a.get(fid, "Range", "bytes=30000-").want(500)
	b.put("/4,101637037d6", content[30_000:60_000])
	a.get(fid).want(200).is(content)
	a.do("DELETE", "/3,102637037d6", "").want(202)
	a.get(fid, "Range", "bytes=60000-60001").want(500)
	// What is gone does not hinder a delete. What is away does, and the manifest stays.
	b.stop()
	a.get(fid, "Range", "bytes=30000-").want(503)
	if got := a.do("DELETE", fid, "").want(503); got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	a.get(fid + "?cm=false").want(200).is(text)
	a.master.hold("4")
}

// Manifests that list themselves or each other end nobody in a loop.
func TestManifestsAreNotFollowedInCircles(t *testing.T) {
	nodes := pair(t)
	a, b := nodes[0], nodes[1]
	link := func(fid string) string {
		return fmt.Sprintf(`{"size":9,"chunks":[{"fid":%q,"offset":0,"size":9}]}`, fid)
	}
	// One that is as long as it says its chunk is.
	self := link("3,01637037d6")
	self = strings.ReplaceAll(self, "9", fmt.Sprint(len(self)+2))
	a.put("/3,01637037d6?cm=true", self)
	a.put("/3,02637037d6?cm=true", link("4,02637037d6"))
	b.put("/4,02637037d6?cm=true", link("3,02637037d6"))
	for _, path := range []string{"/3,01637037d6", "/3,02637037d6"} {
		a.get(path).want(500)
		a.get(path, "Range", "bytes=1-2").want(500)
	}
	b.get("/4,02637037d6").want(500)
	a.get("/3,01637037d6?cm=false").want(200).has("Content-Length", fmt.Sprint(len(self))).says(fmt.Sprintf(`"size":%d}]`, len(self)))
	// The needle that was named goes as a chunk of itself.
	a.do("DELETE", "/3,01637037d6", "")
	a.get("/3,01637037d6").want(404)
	a.do("DELETE", "/3,02637037d6", "").want(202)
	a.get("/3,02637037d6").want(404)
	b.get("/4,02637037d6").want(404)
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", `{"name":"x","mime":"y","size":3,"chunks":[{"fid":"3,01637037d6","offset":0,"size":3}]}`,
		`{"size":6,"chunks":[{"fid":"3/01637037d6","offset":3,"size":3},{"fid":"3,01637037d6_1","offset":0,"size":3}]}`,
		`{"size":0,"chunks":[{"fid":"3,01637037d6","offset":0,"size":0}]}`, `{"chunks":null}`, `{"chunks":[null]}`, `{"chunks":[[[`,
		`{"size":9223372036854775807,"chunks":[{"fid":"3,01637037d6","offset":0,"size":9223372036854775807}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		end := int64(0)
		for _, c := range m.Chunks {
			if c.Offset != end || c.Size < 0 || c.end() < end || c.id == (blob.FileID{}) {
				t.Fatalf("chunk %+v after byte %d", c, end)
			}
			end = c.end()
		}
		if end != m.Size {
			t.Fatalf("size %d, chunks up to %d", m.Size, end)
		}
	})
}
