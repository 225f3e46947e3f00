package filer

import (
	"bytes"
	"compress/gzip"
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
