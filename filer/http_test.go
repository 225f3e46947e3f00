package filer

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
	"weed/internal/blob"
)

func TestFiles(t *testing.T) {
	x := start(t)
	body, kind := form("hello.txt", "hello weed-fs!\n")
	if got := x.want(201, "POST", "/foo/", body, "Content-Type", kind); got.body != `{"name":"hello.txt","size":15}` {
		t.Errorf("put: %s", got.body)
	}
	got := x.want(200, "GET", "/foo/hello.txt", "")
	sum := fmt.Sprintf(`"%x"`, md5.Sum([]byte("hello weed-fs!\n")))
	for name, want := range map[string]string{"Content-Type": "text/plain; charset=utf-8", "Etag": sum, "Accept-Ranges": "bytes",
		"Content-Disposition": `inline; filename="hello.txt"`, "Content-Length": "15"} {
		if h := got.header.Get(name); h != want {
			t.Errorf("%s: %q, want %q", name, h, want)
		}
	}
	if got.body != "hello weed-fs!\n" || got.header.Get("Last-Modified") == "" {
		t.Errorf("get: %q, %v", got.body, got.header)
	}
	if h := x.want(200, "HEAD", "/foo/hello.txt", "").header; h.Get("Content-Length") != "15" || h.Get("Etag") != sum {
		t.Errorf("head: %v", h)
	}
	x.want(206, "GET", "/foo/hello.txt", "", "Range", "bytes=-3")
	x.want(416, "GET", "/foo/hello.txt", "", "Range", "bytes=15-")
	x.want(304, "GET", "/foo/hello.txt", "", "If-None-Match", sum)
	x.want(412, "GET", "/foo/hello.txt", "", "If-Match", `"x"`)
	x.want(404, "GET", "/foo/hello.txt/", "")
	x.want(404, "GET", "/foo/hello.tx", "")
	if h := x.want(200, "GET", "/foo/hello.txt?dl=1", "").header.Get("Content-Disposition"); !strings.HasPrefix(h, "attachment") {
		t.Errorf("dl=1: %s", h)
	}

	// Raw bodies, whatever their type says.
	x.want(201, "POST", "/foo/form", "a=b&c=d", "Content-Type", "application/x-www-form-urlencoded")
	if got := x.want(200, "GET", "/foo/form", ""); got.body != "a=b&c=d" {
		t.Errorf("a form's bytes became %q", got.body)
	}
	x.want(201, "PUT", "/foo/empty", "")
	if got := x.want(200, "GET", "/foo/empty", ""); got.body != "" || got.header.Get("Content-Length") != "0" {
		t.Errorf("an empty file became %q", got.body)
	}
	x.want(201, "PUT", "/foo/", "named", "Content-Disposition", `inline; filename="n.bin"`)
	x.want(200, "GET", "/foo/n.bin", "")
	x.want(400, "PUT", "/foo/", "unnamed")
	x.want(201, "POST", "/dir/sub/", "")
	x.want(201, "POST", "/dir/sub/", "")
	if e := x.entry("/dir/sub"); e.Mode>>31 != 1 {
		t.Errorf("mode %o of a directory", e.Mode)
	}

	// Replacing and deleting leave nothing behind.
	x.want(201, "PUT", "/foo/hello.txt", "shorter")
	if got := x.want(202, "DELETE", "/foo/hello.txt", ""); got.body != `{"error":""}` {
		t.Errorf("delete: %s", got.body)
	}
	x.want(404, "GET", "/foo/hello.txt", "")
	x.want(202, "DELETE", "/foo/hello.txt", "")
	x.want(202, "DELETE", "/no/such/path", "")
	x.want(409, "DELETE", "/foo", "")
	x.want(409, "DELETE", "/?recursive=true", "")
	x.settled(2)
	x.want(202, "DELETE", "/foo?recursive=true", "")
	x.want(404, "GET", "/foo/form", "")
	x.settled(0)
}

func TestLargeFiles(t *testing.T) {
	x := start(t)
	content := random(5<<20 + 12345)
	x.want(201, "PUT", "/big", content)
	if e := x.entry("/big"); len(e.Chunks) != 6 || e.FileSize != int64(len(content)) {
		t.Errorf("%d chunks, %d bytes", len(e.Chunks), e.FileSize)
	}
	if got := x.want(200, "GET", "/big", ""); got.body != content {
		t.Error("a large file comes back changed")
	}
	if got := x.want(206, "GET", "/big", "", "Range", "bytes=1048570-2097160"); got.body != content[1048570:2097161] {
		t.Error("a range over two chunks comes back changed")
	}
	got := x.want(206, "GET", "/big", "", "Range", "bytes=0-9,2000000-3500000")
	if !strings.Contains(got.body, content[2000000:3500001]) || !strings.HasPrefix(got.header.Get("Content-Type"), "multipart/byteranges") {
		t.Error("two ranges come back changed")
	}
	body, kind := form("form.bin", content)
	x.want(201, "POST", "/form/", body, "Content-Type", kind)
	if got := x.want(200, "GET", "/form/form.bin", ""); got.body != content {
		t.Error("a large form comes back changed")
	}
	x.want(201, "PUT", "/exact", content[:1<<20])
	x.want(201, "PUT", "/maxMB?maxMB=3", content)
	if e := x.entry("/maxMB"); len(e.Chunks) != 2 {
		t.Errorf("maxMB=3: %d chunks", len(e.Chunks))
	}
	x.want(400, "PUT", "/maxMB?maxMB=0", content)
	x.want(400, "PUT", "/maxMB?maxMB=1000", content)

	// Replicas that break off in the middle.
	x.cluster.each(func(v *volumeServer) { v.cut = 3 })
	if got := x.want(200, "GET", "/big", ""); got.body != content {
		t.Error("a file whose volume servers break off comes back changed")
	}
	last, err := blob.ParseFileID(x.entry("/big").Chunks[5].FID)
	if err != nil {
		t.Fatal(err)
	}
	x.cluster.each(func(v *volumeServer) { v.cut = 0; delete(v.blobs, last) })
	got = x.do("GET", "/big", nil)
	if got.err == nil {
		t.Errorf("a read that can't be completed ends well, with %d bytes", len(got.body))
	}
	x.cluster.each(func(v *volumeServer) { clear(v.blobs) })
	x.want(500, "GET", "/big", "")
}

func TestBodiesThatAreNotKept(t *testing.T) {
	x := start(t)
	content := random(3 << 20)
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 16))
	sum := md5.Sum([]byte(content))
	x.want(400, "PUT", "/a", content, "Content-Md5", wrong)
	x.want(400, "PUT", "/a", content[:10], "Content-Md5", wrong)
	x.want(201, "PUT", "/sum", content, "Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	body, kind := form("a", content)
	x.want(400, "POST", "/a", body[:len(body)-30], "Content-Type", kind)
	x.want(400, "POST", "/a", body[:1000], "Content-Type", kind)
	x.want(400, "POST", "/a", "--x", "Content-Type", "multipart/form-data; boundary=x")
	x.want(400, "POST", "/a", "x", "Content-Type", "multipart/form-data")
	x.want(415, "PUT", "/a", "x", "Content-Encoding", "br")
	x.want(400, "PUT", "/a", "no gzip", "Content-Encoding", "gzip")
	x.want(400, "PUT", "/a", "x", "Content-Range", "bytes 0-0/2")
	for _, size := range []string{"20", "4000000"} { // a body that ends early
		got := x.do("PUT", "/a", strings.NewReader(content[:min(len(content), 10)]), "Content-Length", size)
		if got.err == nil && got.status < 400 {
			t.Errorf("a body that breaks off is answered %d", got.status)
		}
	}
	x.want(404, "GET", "/a", "")
	x.settled(3)
}

func TestHostilePaths(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/f", "x")
	for _, path := range []string{"/a//b", "/a/../b", "/a/./b", "/a/%2e%2e/b", "/%2e%2e", "/a%00b", "/%ff", "/a%2f%2e%2e%2fb", "/a//",
		"/" + strings.Repeat("x", 256), strings.Repeat("/x", 257)} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			x.want(400, method, path, "")
		}
	}
	for _, path := range []string{"/.weed/x", "/healthz", "/readyz", "/metrics", "/healthz/x", "/.weed"} {
		if got := x.do("PUT", path, strings.NewReader("x")); got.status != 400 && got.status != 405 {
			t.Errorf("PUT %s: %d", path, got.status)
		}
	}
	x.want(400, "DELETE", "/.weed?recursive=true", "")
	x.want(400, "POST", "/.weed/y?mv.from=/f", "")
	x.want(400, "POST", "/y?mv.from=/../f", "")
	x.want(404, "GET", "/.weed/x", "")
	for _, name := range []string{"ä ö", "☃", "a%b", "a?b#c", "<script>", "q\"uote", "back\\slash", "...", "new\nline"} {
		path := "/names" + linkTo(store.Path("/"+name), false)
		x.want(201, "PUT", path, name)
		if got := x.want(200, "GET", path, ""); got.body != name {
			t.Errorf("%q holds %q", name, got.body)
		}
	}
	var list struct{ Files []struct{ Name string } }
	if err := json.Unmarshal([]byte(x.want(200, "GET", "/names/", "").body), &list); err != nil || len(list.Files) != 9 {
		t.Errorf("%d names, %v", len(list.Files), err)
	}
	if page := x.want(200, "GET", "/names/", "", "Accept", "text/html"); strings.Contains(page.body, "<script>") {
		t.Error("a page holds a name as it is")
	}
}

func TestDirectories(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/d/f", "file")
	x.want(409, "PUT", "/d/f/g", "x")
	x.want(409, "PUT", "/d/f/g/h", "x")
	x.want(409, "PUT", "/d", "x")
	x.want(409, "POST", "/d/f/", "")
	for i := range 25 {
		x.want(201, "PUT", fmt.Sprintf("/d/n%02d", i), "x")
	}
	x.want(201, "POST", "/d/sub/", "")
	for path, chunks := range map[string]bool{"/d/sub": false, "/d/f": true} {
		if got := x.want(200, "GET", path+"?metadata=true", ""); strings.Contains(got.body, `"chunks"`) != chunks {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	type listing struct {
		Path, LastFileName, Directory string
		Entries                       []entryJSON
		Files                         []struct{ Name, FID string }
		Subdirectories                []string
		Limit                         int
		ShouldDisplayLoadMore         bool
	}
	page := func(query string) (l listing) {
		t.Helper()
		if err := json.Unmarshal([]byte(x.want(200, "GET", "/d/?"+query, "").body), &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	all := page("pretty=y")
	if len(all.Files) != 26 || len(all.Subdirectories) != 1 || len(all.Entries) != 27 || all.Limit != 100 || all.ShouldDisplayLoadMore ||
		all.Path != "/d/" || all.Directory != "/d/" || all.LastFileName != "sub" || all.Entries[0].FullPath != "/d/f" {
		t.Errorf("%+v", all)
	}
	seen, last := 0, ""
	for more := true; more; seen++ {
		l := page("limit=1&lastFileName=" + last)
		if len(l.Entries) != 1 || l.LastFileName <= last {
			t.Fatalf("page behind %q: %+v", last, l)
		}
		last, more = l.LastFileName, l.ShouldDisplayLoadMore
	}
	if seen != 27 {
		t.Errorf("%d pages of one", seen)
	}
	if l := page("namePattern=n1*&limit=4"); len(l.Files) != 4 || !l.ShouldDisplayLoadMore {
		t.Errorf("%+v", l)
	}
	if l := page("namePattern=?&limit=4"); len(l.Files) != 1 || l.ShouldDisplayLoadMore {
		t.Errorf("%+v", l)
	}
	if l := page("namePattern=n%5B01%5D%5B%5E1-9%5D"); len(l.Files) != 2 || l.Files[1].Name != "n10" {
		t.Errorf("%+v", l)
	}
	x.want(400, "GET", "/d/?limit=0", "")
	x.want(400, "GET", "/d/?namePattern=[", "")
	x.want(404, "GET", "/e/", "")
	html := x.want(200, "GET", "/d/?limit=5", "", "Accept", "text/html,*/*").body
	if !strings.Contains(html, "lastFileName=n03") || !strings.Contains(html, `href="/d/n00"`) {
		t.Errorf("the page lacks its links: %s", html)
	}
	x.want(200, "GET", "/", "")
	x.want(200, "HEAD", "/d", "")
}

func TestMethods(t *testing.T) {
	x := start(t)
	if got := x.want(204, "OPTIONS", "/x", ""); got.header.Get("Allow") != "GET, HEAD, PUT, POST, DELETE, OPTIONS" {
		t.Errorf("Allow: %s", got.header.Get("Allow"))
	}
	if got := x.want(405, "PATCH", "/x", "y"); got.header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	x.want(405, "DELETE", "/.weed/conf", "")
	x.want(200, "GET", "/healthz", "")
	x.want(200, "GET", "/readyz", "")
	if got := x.want(200, "GET", "/metrics", ""); !strings.Contains(got.body, "weed_filer_requests_total") {
		t.Errorf("metrics: %s", got.body)
	}
	x.want(200, "GET", "/.weed/status", "")
	x.want(400, "PUT", "/x?op=prepend", "y")
	x.want(400, "PUT", "/x?ttl=3x", "y")
	x.want(400, "PUT", "/x?mode=9", "y")
	for _, ts := range []string{"x", "-1", "1.", "1.x", "1.-5", "1.0000000001", "9223372036", "99999999999999999999"} {
		x.want(400, "PUT", "/x?ts="+ts, "y")
	}
	x.want(400, "PUT", "/x?replication=x", "y")
	x.want(400, "PUT", "/x?collection=..", "y")
	x.want(400, "PUT", "/x?tag=%zz", "y")
	x.want(507, "PUT", "/x?collection=nowhere", "y")
	x.want(400, "PUT", "/x?mv.from=/y", "")
	x.want(400, "POST", "/x?tagging", "")
	x.want(404, "GET", "/x", "")
}

// TestModified keeps the time that a client tells.
func TestModified(t *testing.T) {
	x := start(t)
	const last = "Wed, 15 Nov 2023 00:00:00 GMT"
	for ts, want := range map[string]time.Time{"0": time.Unix(0, 0), "1700006400.25": time.Unix(1700006400, 25e7), "9223372035.999999999": time.Unix(9223372035, 999999999)} {
		x.want(201, "PUT", "/f?ts="+ts, "content")
		if got := x.entry("/f"); !got.Mtime.Equal(want) || time.Since(got.Crtime) > time.Hour {
			t.Errorf("ts=%s: modified at %v, created at %v", ts, got.Mtime, got.Crtime)
		}
	}
	x.want(201, "POST", "/f?op=append&ts=1700006400", "more")
	if got := x.want(200, "GET", "/f", ""); got.header.Get("Last-Modified") != last || got.body != "contentmore" {
		t.Errorf("%v, %q", got.header, got.body)
	}
	x.want(412, "PUT", "/f", "new", "If-Unmodified-Since", "Tue, 14 Nov 2023 00:00:00 GMT")
	x.want(201, "PUT", "/f", "new", "If-Unmodified-Since", last)
	if got := x.entry("/f"); time.Since(got.Mtime) > time.Hour {
		t.Errorf("modified at %v without ts", got.Mtime)
	}
}

func TestConditions(t *testing.T) {
	x := start(t)
	x.want(412, "PUT", "/c", "x", "If-Match", "*")
	etag := x.want(201, "PUT", "/c", "one", "If-None-Match", "*").header.Get("Etag")
	x.want(412, "PUT", "/c", "two", "If-None-Match", "*")
	x.want(412, "PUT", "/c", "two", "If-Match", `"other"`)
	x.want(201, "PUT", "/c", "two", "If-Match", etag)
	x.want(412, "DELETE", "/c", "", "If-Match", etag)
	x.want(201, "PUT", "/c2", "x")
	x.want(412, "POST", "/c?mv.from=/c2", "", "If-None-Match", "*")
	x.want(202, "DELETE", "/c", "", "If-Match", "*")
	x.settled(1)
}

func TestAppend(t *testing.T) {
	x := start(t)
	x.want(201, "POST", "/log?op=append", "one ")
	first := x.want(200, "GET", "/log", "").header.Get("Etag")
	x.want(201, "POST", "/log?op=append", "two ")
	x.want(201, "PUT", "/log?op=append", random(2<<20))
	got := x.want(200, "GET", "/log", "")
	if len(got.body) != 8+2<<20 || !strings.HasPrefix(got.body, "one two ") || got.header.Get("Etag") == first {
		t.Errorf("%d bytes, %s", len(got.body), got.header.Get("Etag"))
	}
	x.settled(4)
}

func TestMove(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/a/f", "f")
	x.want(201, "PUT", "/a/g", "g")
	x.want(204, "POST", "/b/c/f?mv.from=/a/f", "")
	x.want(404, "GET", "/a/f", "")
	x.want(204, "POST", "/b/c/f?mv.from=/a/g", "")
	if got := x.want(200, "GET", "/b/c/f", ""); got.body != "g" {
		t.Errorf("moved: %q", got.body)
	}
	x.settled(1)
	x.want(204, "POST", "/d?mv.from=/b", "")
	x.want(200, "GET", "/d/c/f", "")
	x.want(409, "POST", "/d/c/x?mv.from=/d", "")
	x.want(404, "POST", "/x?mv.from=/b", "")
	x.want(409, "POST", "/d?mv.from=/d/c/f", "")
	x.want(409, "POST", "/d/c/f/x?mv.from=/d/c/f", "")
	x.want(204, "POST", "/e/?mv.from=/d/c/f", "")
	x.want(200, "GET", "/e/f", "")
	x.want(204, "POST", "/e/f?mv.from=/e/f", "")
	x.want(409, "POST", "/?mv.from=/", "")
}

func TestTags(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/t", "x", "Seaweed-Owner", "me")
	x.want(202, "PUT", "/t?tagging", "", "Seaweed-Colour", "red", "Seaweed-Size", "9")
	h := x.want(200, "GET", "/t", "").header
	if h.Get("Seaweed-Owner") != "me" || h.Get("Seaweed-Colour") != "red" {
		t.Errorf("%v", h)
	}
	x.want(202, "DELETE", "/t?tagging=Colour", "")
	if e := x.entry("/t").Extended; len(e) != 2 || string(e["Seaweed-Owner"]) != "me" {
		t.Errorf("%v", e)
	}
	x.want(202, "DELETE", "/t?tagging", "")
	if e := x.entry("/t").Extended; len(e) != 0 {
		t.Errorf("%v", e)
	}
	x.want(404, "PUT", "/u?tagging", "", "Seaweed-A", "b")
	x.want(400, "PUT", "/t?tagging", "")
}

func TestTTL(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/t/a?ttl=3m", "short")
	x.want(201, "PUT", "/t/b", "long")
	if e := x.entry("/t/a"); e.TTLSec != 180 || e.Expires == 0 {
		t.Errorf("%+v", e)
	}
	x.clock.pass(4 * time.Minute)
	x.want(404, "GET", "/t/a", "")
	if got := x.want(200, "GET", "/t/", ""); strings.Contains(got.body, "/t/a") {
		t.Error("a file that has expired is listed")
	}
	x.settled(1)
	x.want(201, "PUT", "/u?ttl=1m", "dir to be")
	x.clock.pass(time.Hour)
	x.want(201, "PUT", "/u/v?ttl=1m", "x")
	x.clock.pass(time.Hour)
	x.want(201, "PUT", "/u/v", "y", "If-None-Match", "*")
	x.want(201, "PUT", "/w/z?ttl=1m", "x")
	x.clock.pass(time.Hour)
	x.want(202, "DELETE", "/w", "")
	x.settled(2)
}

// TestAppendTTL makes sure that no part of a file goes before the file, whatever the request or a rule says.
func TestAppendTTL(t *testing.T) {
	x := start(t)
	x.want(200, "POST", "/.weed/conf", `{"version":0,"rules":[{"prefix":"/short/","ttl":"5m"}]}`)
	x.want(201, "PUT", "/ever", "one ")
	x.want(201, "POST", "/ever?op=append&ttl=3m", "two")
	x.want(204, "POST", "/short/ever?mv.from=/ever", "")
	x.want(201, "POST", "/short/ever?op=append", " three")
	x.want(201, "PUT", "/hour?ttl=1h", "one ")
	x.want(201, "POST", "/hour?op=append&ttl=3m", "two")
	x.want(201, "POST", "/hour?op=append", " three")
	x.want(201, "POST", "/new?op=append&ttl=3m", "first")
	for path, want := range map[string]string{"/short/ever": "", "/hour": "1h", "/new": "3m"} {
		e := x.entry(path)
		if ttl, err := ttlOf(e.TTLSec); err != nil || ttl.String() != want {
			t.Errorf("%s: ttl %s, %v, want %q", path, ttl, err, want)
		}
		for _, c := range e.Chunks {
			fid, _ := blob.ParseFileID(c.FID)
			x.cluster.each(func(v *volumeServer) {
				if b, ok := v.blobs[fid]; ok && b.ttl != want {
					t.Errorf("%s: a chunk has ttl %q, want %q", path, b.ttl, want)
				}
			})
		}
	}
}

// TestAppendToAnother is an append during which the file is replaced by one that lives longer.
func TestAppendToAnother(t *testing.T) {
	x := start(t)
	q := request{append: true, ttl: blob.TTL{Count: 3, Unit: blob.TTLMinute}}
	if _, _, err := x.filer.compose(&q, "", &ingested{}, &Entry{}); !errors.Is(err, errLifetime) {
		t.Error(err)
	}
	if _, _, err := x.filer.compose(&q, "", &ingested{}, &Entry{TTL: q.ttl}); err != nil {
		t.Error(err)
	}
}

func TestConf(t *testing.T) {
	x := start(t)
	if got := x.want(200, "GET", "/.weed/conf", ""); got.body != `{"version":0,"rules":[]}` {
		t.Errorf("no rules: %s", got.body)
	}
	x.want(200, "POST", "/.weed/conf", `{"version":0,"rules":[{"prefix":"/p/","collection":"pics","ttl":"5d"},{"prefix":"/p/q/","collection":"deep"}]}`)
	x.want(409, "POST", "/.weed/conf", `{"version":0,"rules":[]}`)
	for _, bad := range []string{"", "[", `{"rules":[{"prefix":"p"}]}`, `{"rules":[{"prefix":"/p","ttl":"x"}]}`,
		`{"rules":[{"prefix":"/p","collection":"/"}]}`, `{"rules":[{"prefix":"/p"},{"prefix":"/p"}]}`} {
		x.want(400, "POST", "/.weed/conf", bad)
	}
	x.want(201, "PUT", "/p/a", "x")
	x.want(201, "PUT", "/p/q/a", "x")
	x.want(201, "PUT", "/p/b?collection=mine&ttl=1h", "x")
	if e := x.entry("/p/a"); e.Collection != "pics" || e.TTLSec != 5*86400 {
		t.Errorf("%+v", e)
	}
	if e := x.entry("/p/q/a"); e.Collection != "deep" || e.TTLSec != 0 {
		t.Errorf("%+v", e)
	}
	if e := x.entry("/p/b"); e.Collection != "mine" || e.TTLSec != 3600 {
		t.Errorf("%+v", e)
	}
	other := startOn(t, x.cluster, x.store, func(c *Config) { c.Alone = false })
	waitFor(t, "another filer knows the rules", func() error {
		if other.filer.rules.Load().Version == 0 {
			return errors.New("it has none")
		}
		return nil
	})
}

func TestEntriesStream(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/a/b/c", "one")
	x.want(201, "PUT", "/a/d", random(2<<20+5))
	x.want(201, "POST", "/a/empty/", "")
	dump := x.want(200, "GET", "/.weed/entries?path=/a", "").body
	if lines := strings.Count(dump, "\n"); lines != 4 {
		t.Errorf("%d lines: %s", lines, dump)
	}
	if one := x.want(200, "GET", "/.weed/entries?path=/a/d", "").body; strings.Count(one, "\n") != 1 {
		t.Errorf("a file: %s", one)
	}
	x.want(404, "GET", "/.weed/entries?path=/x", "")
	x.want(400, "GET", "/.weed/entries?path=x", "")
	moved := strings.ReplaceAll(dump, `"FullPath":"/a`, `"FullPath":"/z/a`)
	y := startOn(t, x.cluster, newStore(t))
	if got := y.want(200, "POST", "/.weed/entries", moved+"nonsense\n"); got.body[:38] != `{"files":2,"directories":2,"failed":1,` {
		t.Errorf("load: %s", got.body)
	}
	if got := y.want(200, "GET", "/z/a/d", ""); got.body != x.want(200, "GET", "/a/d", "").body {
		t.Error("a loaded file differs")
	}
	if again := y.want(200, "GET", "/.weed/entries", "").body; !strings.HasSuffix(again, moved) {
		t.Errorf("a dump of what was loaded differs:\n%s\n%s", again, moved)
	}
	y.want(200, "POST", "/.weed/entries", moved) // once more deletes nothing
	y.settled(4)
}

func TestOptions(t *testing.T) {
	x := start(t, func(c *Config) { c.DisableDirListing, c.RedirectOnRead = true, true })
	x.want(403, "GET", "/", "")
	x.want(201, "PUT", "/f", "content")
	got := x.want(302, "GET", "/f", "")
	resp, err := http.Get(got.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ContentLength != 7 {
		t.Errorf("behind %s: %d, %d bytes", got.header.Get("Location"), resp.StatusCode, resp.ContentLength)
	}
}
