package filer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A directory has no entity tag: whoever names one means something else than what is there.
func TestConditionsOfDirectories(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/d/f", "x")
	for _, fields := range [][]string{{"If-Match", `"x"`}, {"If-Match", `""`}, {"If-None-Match", "*"},
		{"If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT"}} {
		x.want(412, "DELETE", "/d?recursive=true", "", fields...)
	}
	x.want(200, "GET", "/d/f", "")
	x.want(202, "DELETE", "/d?recursive=true", "", "If-Match", "*")
	x.want(404, "GET", "/d/f", "")
	x.want(412, "DELETE", "/d", "", "If-Match", "*")
}

// A query that can't be read changes nothing: the deletion of a tag must not become that of the file.
func TestQueriesThatDoNotRead(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/f", "x", "Seaweed-Done", "100%")
	x.want(201, "PUT", "/g", "y")
	for _, query := range []string{"tagging=100%", "tagging;Done", "tagging=Done;Other", "%zz"} {
		x.want(400, "DELETE", "/f?"+query, "")
	}
	x.want(400, "POST", "/f?mv.from=/g%", "")
	x.want(400, "PUT", "/f?tagging=%", "", "Seaweed-A", "b")
	if got := x.want(200, "GET", "/f", ""); got.body != "x" || got.header.Get("Seaweed-Done") != "100%" {
		t.Errorf("the file has become %q, %v", got.body, got.header)
	}
}

// The heads of a form's parts are bounded: mime/multipart keeps megabytes of each in memory.
func TestPartHeads(t *testing.T) {
	x := start(t)
	const kind = "multipart/form-data; boundary=XX"
	part := func(head, data string) string {
		return "--XX\r\nContent-Disposition: form-data; name=f; filename=a\r\nX: " + head + "\r\n\r\n" + data + "\r\n"
	}
	long := strings.Repeat("y", 2*maxPartHead)
	x.want(201, "POST", "/f", part("y", long)+part("y", long)+"--XX--\r\n", "Content-Type", kind)
	x.want(400, "POST", "/g", part(long, "x")+"--XX--\r\n", "Content-Type", kind)
	x.want(400, "POST", "/g", part("y", long)+part(long, "x")+"--XX--\r\n", "Content-Type", kind)
	x.want(404, "GET", "/g", "")
	if got := x.want(200, "GET", "/f", ""); got.body != long {
		t.Errorf("the file has %d bytes", len(got.body))
	}
}

// Forms that are held in memory do not wait for more of it: they would wait for each other.
func TestManySmallForms(t *testing.T) {
	x := start(t, func(c *Config) { c.ChunkBytes, c.BufferBytes = 64<<10, 192<<10 })
	content := random(60 << 10)
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			body, kind := form(fmt.Sprint(i), content)
			if r := x.do("POST", "/s/", strings.NewReader(body), "Content-Type", kind); r.status != 201 {
				t.Errorf("%d %s %v", r.status, r.body, r.err)
			}
		})
	}
	group.Wait()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, content)
	_ = z.Close()
	body, kind := form("z", packed.String())
	body = strings.Replace(body, "Content-Type:", "Content-Encoding: gzip\r\nContent-Type:", 1)
	x.want(201, "POST", "/s/", body, "Content-Type", kind)
	for _, name := range []string{"0", "23", "z"} {
		if got := x.want(200, "GET", "/s/"+name, ""); got.body != content {
			t.Errorf("file %s comes back changed", name)
		}
	}
	if !x.filer.buffers.room.TryAcquire(x.filer.buffers.total) {
		t.Error("buffers were not given back")
	}
}

// A client that is slow gives the memory of a chunk back before the chunk is full, and holds up no reads.
func TestSlowUpload(t *testing.T) {
	x := start(t, func(c *Config) { c.FillTime = time.Millisecond })
	x.want(201, "PUT", "/small", "read me")
	puts := func() (n int) {
		for _, v := range x.cluster.servers {
			v.mu.Lock()
			n += v.puts
			v.mu.Unlock()
		}
		return n
	}
	before, sent := puts(), 0
	r, w := io.Pipe()
	done := make(chan reply, 1)
	go func() { done <- x.do("PUT", "/slow", r) }()
	waitFor(t, "a chunk is stored before it is full", func() error {
		n, err := io.WriteString(w, "drop ")
		if sent += n; err != nil || puts() == before {
			return fmt.Errorf("none yet: %w", err)
		}
		return nil
	})
	taken := x.filer.buffers.room.TryAcquire(x.filer.buffers.total - 64<<10)
	if !taken {
		t.Error("a slow upload holds more than a little")
	}
	x.want(200, "GET", "/small", "")
	if taken {
		x.filer.buffers.room.Release(x.filer.buffers.total - 64<<10)
	}
	_ = w.Close()
	if got := <-done; got.status != 201 {
		t.Fatalf("%d %s %v", got.status, got.body, got.err)
	}
	if got := x.want(200, "GET", "/slow", ""); got.body != strings.Repeat("drop ", sent/5) {
		t.Errorf("%d bytes came back, %d were sent", len(got.body), sent)
	}
}

// The answer to an append has the tag of what the file is now, and its tags stay bounded.
func TestAppendTellsTheTag(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/a", "one")
	got := x.want(201, "PUT", "/a?op=append", "two")
	if now := x.want(200, "GET", "/a", ""); now.header.Get("Etag") != got.header.Get("Etag") {
		t.Errorf("%s was told, it is %s", got.header.Get("Etag"), now.header.Get("Etag"))
	}
	long := strings.Repeat("x", maxTagBytes/2)
	x.want(201, "PUT", "/a?op=append", "three", "Seaweed-A", long)
	x.want(400, "PUT", "/a?op=append", "four", "Seaweed-B", long)
	if got := x.want(200, "GET", "/a", ""); got.body != "onetwothree" || got.header.Get("Seaweed-B") != "" {
		t.Errorf("the file is %q", got.body)
	}
}

// A loaded entry is one that this program could have written.
func TestLoadedEntriesAreBounded(t *testing.T) {
	x := start(t)
	for what, rest := range map[string]string{
		"sizes that overflow": `"FileSize":-2,"chunks":[{"file_id":"1,0112345678","offset":0,"size":9223372036854775807},` +
			`{"file_id":"1,0212345678","offset":9223372036854775807,"size":9223372036854775807}]`,
		"tags":         `"FileSize":0,"chunks":[],"Extended":{"Seaweed-A":"` + strings.Repeat("YWFh", maxTagBytes) + `"}`,
		"a mime":       `"FileSize":0,"chunks":[],"Mime":"` + strings.Repeat("m", maxMimeBytes+1) + `"`,
		"a collection": `"FileSize":0,"chunks":[],"Collection":"../x"`,
		"an etag of a chunk": `"FileSize":1,"chunks":[{"file_id":"1,0112345678","offset":0,"size":1,"e_tag":"` +
			strings.Repeat("e", 9<<20) + `"}]`,
	} {
		line := `{"FullPath":"/l","Mtime":"2026-01-02T03:04:05Z","Crtime":"2026-01-02T03:04:05Z","Mode":420,` + rest + "}\n"
		if got := x.want(200, "POST", "/.weed/entries", line); !strings.Contains(got.body, `"failed":1`) {
			t.Errorf("%s: %.200s", what, got.body)
		}
		x.want(404, "GET", "/l", "")
	}
}

// A name that is too long is refused, not cut: it would take the place of another file.
func TestLongNamesOfForms(t *testing.T) {
	x := start(t)
	name := strings.Repeat("n", maxNameBytes)
	for _, c := range []struct {
		name    string
		content string
		status  int
	}{{name, "first", 201}, {name + "o", "second", 400}, {name + "o", random(100 << 10), 400}} {
		body, kind := form(c.name, c.content)
		x.want(c.status, "POST", "/long/", body, "Content-Type", kind)
	}
	x.want(400, "PUT", "/long/", "third", "Content-Disposition", `attachment; filename="`+name+`o"`)
	body, kind := form(name+"o", "fourth")
	x.want(201, "POST", "/long/named", body, "Content-Type", kind)
	if got := x.want(200, "GET", "/long/"+name, ""); got.body != "first" {
		t.Errorf("the file has become %.20q", got.body)
	}
}

// An indented listing is that of json.Indent, and is not gathered in memory.
func TestIndentedListing(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", `/i/q%22%5C,:%7B%5B`, "x", "Seaweed-A", "b")
	x.want(201, "PUT", "/i/e", "")
	x.want(201, "POST", "/i/d/", "")
	for _, path := range []string{"/i/", "/i/d/", "/i/?limit=1"} {
		plain := x.want(200, "GET", path, "").body
		var want bytes.Buffer
		if err := json.Indent(&want, []byte(plain), "", "  "); err != nil {
			t.Fatal(err)
		}
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		if got := x.want(200, "GET", path+sep+"pretty=y", ""); got.body != want.String() {
			t.Errorf("%s: %s, want %s", path, got.body, want.String())
		}
	}
	if !x.filer.listings.TryAcquire(listedAtOnce) {
		t.Error("a listing has not left")
	}
}

func FuzzIndent(f *testing.F) {
	for _, text := range []string{`{}`, `[]`, `[{},[],"\\\"{",null,-1.5e3]`, `{"a":{"b":[1,2]},"c":""}`, `"x"`, `[[[[]]]]`} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var plain, want bytes.Buffer
		if json.Compact(&plain, []byte(text)) != nil || json.Indent(&want, plain.Bytes(), "", "  ") != nil {
			return
		}
		var got bytes.Buffer
		out := bufio.NewWriter(&got)
		i := &indenter{out: out}
		cut = max(0, min(cut, plain.Len()))
		_, _ = i.Write(plain.Bytes()[:cut])
		_, _ = i.Write(plain.Bytes()[cut:])
		_ = out.Flush()
		if got.String() != want.String() {
			t.Errorf("%q, want %q", got.String(), want.String())
		}
	})
}
