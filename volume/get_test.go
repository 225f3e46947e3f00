package volume

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// sizes are lengths of blobs around which the server changes its ways: nothing, in memory, by sendfile.
var sizes = []int{0, 1, 1023, copyLimitBytes - 200, copyLimitBytes - 20, copyLimitBytes - 1, copyLimitBytes, copyLimitBytes + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2<<20 + 7}

func TestBlobsOfEverySize(t *testing.T) {
	for name, change := range map[string]func(*Config){"disk": nil, "memory": onDisk(vfs.NewMem())} {
		t.Run(name, func(t *testing.T) {
			n := start(t, change)
			for i, size := range sizes {
				path := fmt.Sprintf("/3,%02x637037d6", i+1)
				content := noise(size, uint32(size))
				n.put(path, content)
				length := fmt.Sprint(size)
				n.get(path).want(200).is(content).has("Content-Length", length, "ETag", etagOf(content), "Content-Encoding", "")
				n.get(path, "Accept-Encoding", "gzip").want(200).is(content).has("Content-Encoding", "", "Vary", "")
				n.do("HEAD", path, "").want(200).is("").has("Content-Length", length, "ETag", etagOf(content), "Accept-Ranges", "bytes")
				checkRanges(t, n, path, content)
			}
		})
	}
}

// Blobs that are stored compressed, where ranges still count bytes of the content.
func TestCompressedBlobsOfEverySize(t *testing.T) {
	n := start(t, nil)
	for i, size := range []int{0, 1, 1500, 2 * copyLimitBytes, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<20 + 200_000} {
		path := fmt.Sprintf("/3,%02x637037d6", i+1)
		content := noise(size, uint32(size)) // incompressible, so that what is stored is as long
		if i%2 == 0 {
			content = strings.Repeat("0123456789abcdef", size/16+1)[:size]
		}
		packed := deflate(content)
		n.do("PUT", path, packed, "Content-Encoding", "gzip").want(201)
		n.get(path).want(200).is(content).has("Content-Length", fmt.Sprint(size), "Vary", "Accept-Encoding")
		n.get(path, "Accept-Encoding", "gzip").want(200).is(packed).has("Content-Encoding", "gzip")
		checkRanges(t, n, path, content)
		checkRanges(t, n, path, content, "Accept-Encoding", "gzip")
	}
}

// checkRanges asks for parts of a blob in every way.
func checkRanges(t *testing.T, n *node, path, content string, header ...string) {
	t.Helper()
	size := len(content)
	get := func(ranges string) *answer {
		t.Helper()
		return n.get(path, append(header, "Range", ranges)...)
	}
	get(fmt.Sprintf("bytes=%d-", size)).want(416).has("Content-Range", fmt.Sprintf("bytes */%d", size), "Content-Disposition", "")
	for _, ignored := range []string{"lines=1-2", "bytes=x", "bytes=2-1", "bytes", "bytes=1-2,y"} {
		if a := get(ignored).want(200).has("Content-Range", ""); header == nil {
			a.is(content)
		}
	}
	head := n.do("HEAD", path, "", append(header, "Range", "bytes=0-0")...).want(200).has("Content-Range", "")
	if header == nil {
		head.has("Content-Length", fmt.Sprint(size))
	}
	if size < 1000 {
		return
	}
	for _, c := range []struct{ start, end int }{
		{0, 1}, {0, size}, {1, size}, {size - 1, size}, {size / 2, size/2 + 500}, {size - 1000, size},
	} {
		part := content[c.start:c.end]
		want := fmt.Sprintf("bytes %d-%d/%d", c.start, c.end-1, size)
		get(fmt.Sprintf("bytes=%d-%d", c.start, c.end-1)).want(206).is(part).has("Content-Range", want,
			"Content-Length", fmt.Sprint(len(part)), "Content-Encoding", "")
	}
	get("bytes=-10").want(206).is(content[size-10:])
	get(fmt.Sprintf("bytes=-%d", size+1)).want(206).is(content)
	get(fmt.Sprintf("bytes=%d-%d", size-5, size+5)).want(206).is(content[size-5:])
	get("bytes=0-9,5-19,20-29").want(206).is(content[:30]) // joined
	checkParts(t, get("bytes=0-1,100-199,-3").want(206), content, [][2]int{{0, 2}, {100, 200}, {size - 3, size}})
	if a := get("bytes=500-509,0-4"); a.StatusCode == 206 {
		checkParts(t, a, content, [][2]int{{500, 510}, {0, 5}})
	} else {
		a.want(200).is(content)
	}
}

// checkParts reads a multipart/byteranges answer.
func checkParts(t *testing.T, a *answer, content string, want [][2]int) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		t.Fatalf("%s: type %q", a.what, a.Header.Get("Content-Type"))
	}
	a.has("Content-Length", fmt.Sprint(len(a.body)), "Content-Range", "")
	r := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for _, w := range want {
		p, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(p)
		if err != nil || string(data) != content[w[0]:w[1]] {
			t.Fatalf("%s: part %v: %v, %d bytes", a.what, w, err, len(data))
		}
		if got := p.Header.Get("Content-Range"); got != fmt.Sprintf("bytes %d-%d/%d", w[0], w[1]-1, len(content)) {
			t.Errorf("%s: part %v: Content-Range %q", a.what, w, got)
		}
	}
	if _, err := r.NextPart(); err != io.EOF {
		t.Fatalf("%s: more parts: %v", a.what, err)
	}
}

func TestConditions(t *testing.T) {
	n := start(t, nil)
	n.put(fid+"?ts=784111777", "0123456789", "Seaweed-Cache-Control", "max-age=60", "Content-Disposition", `inline; filename="x.txt"`)
	const (
		modified = "Sun, 06 Nov 1994 08:49:37 GMT"
		before   = "Sun, 06 Nov 1994 08:49:36 GMT"
	)
	tag := etagOf("0123456789")
	for _, c := range []struct {
		status int
		header []string
	}{
		{304, []string{"If-None-Match", tag}},
		{304, []string{"If-None-Match", "W/" + tag}},
		{304, []string{"If-None-Match", `"x", ` + tag}},
		{304, []string{"If-None-Match", "*"}},
		{200, []string{"If-None-Match", `"x"`}},
		{304, []string{"If-Modified-Since", modified}},
		{200, []string{"If-Modified-Since", before}},
		{200, []string{"If-Modified-Since", "nonsense"}},
		{200, []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}},
		{200, []string{"If-Match", tag}},
		{200, []string{"If-Match", "*"}},
		{412, []string{"If-Match", "W/" + tag}},
		{412, []string{"If-Match", `"x"`}},
		{200, []string{"If-Unmodified-Since", modified}},
		{412, []string{"If-Unmodified-Since", before}},
		{206, []string{"Range", "bytes=1-2"}},
		{304, []string{"Range", "bytes=1-2", "If-None-Match", tag}},
		{206, []string{"Range", "bytes=1-2", "If-Range", tag}},
		{200, []string{"Range", "bytes=1-2", "If-Range", "W/" + tag}},
		{200, []string{"Range", "bytes=1-2", "If-Range", `"x"`}},
		{206, []string{"Range", "bytes=1-2", "If-Range", modified}},
		{200, []string{"Range", "bytes=1-2", "If-Range", before}},
		{412, []string{"Range", "bytes=1-2", "If-Match", `"x"`}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			status := c.status
			if method == "HEAD" && status == 206 {
				status = 200
			}
			a := n.do(method, fid, "", c.header...).want(status)
			switch status {
			case 200, 206, 304:
				a.has("ETag", tag, "Last-Modified", modified, "Cache-Control", "max-age=60", "Accept-Ranges", "bytes")
			case 412:
				a.has("ETag", "", "Last-Modified", "", "Cache-Control", "", "Content-Disposition", "")
			}
			switch {
			case method == "HEAD" || status == 304:
				a.is("")
			case status == 200:
				a.is("0123456789").has("Content-Type", "text/plain; charset=utf-8", "Content-Disposition", `inline; filename="x.txt"`)
			case status == 206:
				a.is("12").has("Content-Range", "bytes 1-2/10", "Content-Disposition", `inline; filename="x.txt"`)
			}
		}
	}
}

// The ETag is that of the stored bytes, for both forms of the content. Whoever has the beginning of the
// compressed form must not be given the rest of the plain one.
func TestIfRangeDoesNotMixTwoForms(t *testing.T) {
	n := start(t, nil)
	text := strings.Repeat("text ", 1000)
	packed := deflate(text)
	n.do("PUT", fid, packed, "Content-Encoding", "gzip").want(201)
	resume := []string{"Range", "bytes=10-", "If-Range", etagOf(packed)}
	n.get(fid, append(resume, "Accept-Encoding", "gzip")...).want(200).is(packed).has("Content-Encoding", "gzip", "Content-Range", "")
	n.get(fid, resume...).want(206).is(text[10:]).has("Content-Encoding", "")
}

func TestTypes(t *testing.T) {
	n := start(t, nil)
	for _, c := range []struct{ path, mime, name, content, want string }{
		{"/3,01637037d6", "image/x-own", "a.png", "x", "image/x-own"},
		{"/3,01637037d6", "", "a.png", "x", "image/png"},
		{"/3,01637037d6", "application/octet-stream", "a.png", "x", "image/png"},
		{"/3,01637037d6.png", "", "", "x", "image/png"},
		{"/3/01637037d6/b.svg", "", "a.png", "<svg", "image/svg+xml"},
		{"/3/01637037d6/b.unknown", "", "a.png", "x", "text/plain; charset=utf-8"},
		{"/3,01637037d6.png", "", "a.css", "x", "text/css; charset=utf-8"},
		{"/3,01637037d6", "", "", "x", "text/plain; charset=utf-8"},
		{"/3,01637037d6", "", "", "\x00\x01", "application/octet-stream"},
		{"/3,01637037d6", "", "", "\x89PNG\r\n\x1a\n", "image/png"},
		{"/3,01637037d6", "", "noext", "%PDF-1.4", "application/pdf"},
		{"/3,01637037d6", "", "", "%PDF-1.4" + noise(3*copyLimitBytes, 1), "application/pdf"},
		{"/3,01637037d6", "", "", noise(3*copyLimitBytes, 1), "application/octet-stream"},
	} {
		header := []string{"Content-Type", c.mime}
		if c.name != "" {
			header = append(header, "Content-Disposition", `inline; filename="`+c.name+`"`)
		}
		n.put(fid, c.content, header...)
		n.get(c.path).want(200).has("Content-Type", c.want).is(c.content)
		n.do("HEAD", c.path, "").want(200).has("Content-Type", c.want)
	}
	// The type is that of the content, however it is sent.
	for _, content := range []string{strings.Repeat("text ", 100), strings.Repeat("<html>", 1_000_000), "\x00bin" + noise(3<<20, 2)} {
		n.do("PUT", fid, deflate(content), "Content-Encoding", "gzip").want(201)
		want := http.DetectContentType([]byte(content[:min(len(content), 512)]))
		for _, coding := range []string{"gzip", "identity"} {
			n.get(fid, "Accept-Encoding", coding).want(200).has("Content-Type", want)
		}
		n.get(fid, "Range", "bytes=1-2").want(206).has("Content-Type", want)
	}
}

func TestDownloadName(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "x")
	n.get(fid).want(200).has("Content-Disposition", "")
	n.get(fid+"?dl=1").want(200).has("Content-Disposition", "attachment")
	n.get("/3/01637037d6/other.txt?dl=true").want(200).has("Content-Disposition", `attachment; filename="other.txt"`)
	n.get("/3/01637037d6/other.txt?dl=false").want(200).has("Content-Disposition", `inline; filename="other.txt"`)
}

// prepared returns a server that was never run, on a store of its own, for calls of its handler.
func prepared(tb testing.TB, cfg Config, now func() time.Time) *Server {
	cfg.Bind, cfg.Masters = "127.0.0.1:0", []string{"127.0.0.1:1"}
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	s.store, err = storage.OpenStore(s.cfg.FS, []storage.Directory{{Path: tb.TempDir(), MaxVolumes: 3}}, storage.Config{Sync: storage.SyncNever, Now: now})
	if err == nil {
		_, err = s.store.Create(3, "", blob.Placement{}, blob.TTL{})
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			tb.Error(err)
		}
		_ = s.client.Close()
	})
	return s
}

// call hands a request to the handler and returns the status.
func call(s *Server, method, uri, body string) (status int) {
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod(method)
	ctx.Request.SetRequestURI(uri)
	ctx.Request.SetBodyString(body)
	s.handle(&ctx)
	return ctx.Response.StatusCode()
}

func TestExpiredBlobsAreGone(t *testing.T) {
	now := time.Now()
	s := prepared(t, Config{}, func() time.Time { return now })
	if _, err := s.store.Create(4, "", blob.Placement{}, blob.TTL{Count: 1, Unit: blob.TTLHour}); err != nil {
		t.Fatal(err)
	}
	large := noise(2*copyLimitBytes, 1)
	for uri, body := range map[string]string{
		"/3,01637037d6": "stays", "/3,02637037d6?ttl=3m": "goes", "/3,03637037d6?ttl=3m": large, "/4,01637037d6": "hour", "/4,02637037d6?ttl=3m": "goes",
	} {
		if status := call(s, "PUT", uri, body); status != 201 {
			t.Fatalf("PUT %s: %d", uri, status)
		}
	}
	check := func(want map[string]int) {
		t.Helper()
		for uri, status := range want {
			for _, method := range []string{"GET", "HEAD"} {
				if got := call(s, method, uri, ""); got != status {
					t.Errorf("%s %s: %d, want %d", method, uri, got, status)
				}
			}
		}
	}
	now = now.Add(2 * time.Minute)
	check(map[string]int{"/3,01637037d6": 200, "/3,02637037d6": 200, "/3,03637037d6": 200, "/4,01637037d6": 200, "/4,02637037d6": 200})
	now = now.Add(2 * time.Minute)
	check(map[string]int{"/3,01637037d6": 200, "/3,02637037d6": 404, "/3,03637037d6": 404, "/4,01637037d6": 200, "/4,02637037d6": 404})
	now = now.Add(time.Hour)
	check(map[string]int{"/3,01637037d6": 200, "/4,01637037d6": 404})
	if status := call(s, "DELETE", "/3,02637037d6", ""); status != 404 {
		t.Errorf("DELETE of what has expired: %d", status)
	}
}

// A client of this project's own reads what the server writes.
func TestWithTheClientPackage(t *testing.T) {
	n := start(t, nil)
	n.master.hold("3", n.addr)
	c, err := client.New(client.Config{Masters: []string{n.master.addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	content := strings.Repeat("some text ", 1000)
	if _, err := c.Upload(t.Context(), fid[1:], &client.Blob{Name: "a.txt", Data: []byte(content), Pairs: map[string]string{"Owner": "me"}}); err != nil {
		t.Fatal(err)
	}
	got, meta, err := c.Get(t.Context(), fid[1:], nil)
	if err != nil || string(got) != content || meta.Name != "a.txt" || meta.Mime != "text/plain; charset=utf-8" {
		t.Fatalf("%d bytes, %+v, %v", len(got), meta, err)
	}
	if size, err := c.Delete(t.Context(), fid[1:]); err != nil || size != int64(len(content)) {
		t.Fatal(size, err)
	}
}
