package filer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/filer/store"
	"weed/internal/httpx"
)

// TestVolumesThatRefuse: a chunk that one volume does not take goes to another one.
func TestVolumesThatRefuse(t *testing.T) {
	x := start(t)
	content := random(3<<20 + 1)
	bad := x.cluster.servers[0]
	bad.mu.Lock()
	bad.refuse = true
	bad.mu.Unlock()
	for i := range 4 {
		x.want(201, "PUT", fmt.Sprintf("/small%d", i), "x")
	}
	x.want(201, "PUT", "/large", content)
	if got := x.want(200, "GET", "/large", ""); got.body != content {
		t.Error("a file on the volumes that are left comes back changed")
	}
	x.settled(8)
	x.cluster.each(func(v *volumeServer) { v.refuse = true })
	if got := x.want(503, "PUT", "/none", content); got.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	x.cluster.each(func(v *volumeServer) { v.refuse = false })
	x.want(404, "GET", "/none", "")
	x.want(201, "PUT", "/none", content)
	x.settled(12)
}

// TestStoreThatIsAway: nothing is half written, and all works again by itself.
func TestStoreThatIsAway(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/a", "before")
	x.store.Fail(store.ErrUnavailable)
	for _, c := range [][2]string{{"GET", "/a"}, {"PUT", "/a"}, {"DELETE", "/a"}, {"GET", "/"}, {"GET", "/readyz"},
		{"POST", "/b?mv.from=/a"}, {"GET", "/.weed/entries"}, {"GET", "/.weed/conf"}} {
		if got := x.want(503, c[0], c[1], ""); got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", c[0], c[1])
		}
	}
	x.store.Fail(nil)
	if got := x.want(200, "GET", "/a", ""); got.body != "before" {
		t.Errorf("a store that came back has %q", got.body)
	}
	x.want(201, "PUT", "/a", "after")
	x.settled(1)
}

// TestCrash: the next life of a filer that died between chunk and entry deletes the chunk.
func TestCrash(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/kept", "x")
	in, err := x.filer.ingest(context.Background(), strings.NewReader(random(3<<20)), -1, place{}, 1<<20, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(x.cluster.blobs()); n != 4 {
		t.Fatalf("%d blobs before the crash", n)
	}
	// What the dead one still holds is lost to it as soon as the next one begins.
	y := startOn(t, x.cluster, x.store)
	y.settled(1)
	err = x.filer.keep(context.Background(), &request{path: "/late"}, "PUT", "", &in, nil, 0)
	if !errors.Is(err, store.ErrClaimLost) {
		t.Errorf("an entry with chunks that are being deleted: %v", err)
	}
	y.want(404, "GET", "/late", "")
	y.want(200, "GET", "/kept", "")
	waitFor(t, "only the claims of the living are left", func() error {
		list, err := x.store.Claims(context.Background())
		for _, c := range list {
			if c.Owner != x.filer.claims.owner && c.Owner != y.filer.claims.owner {
				err = errors.Join(err, fmt.Errorf("claim of %s", c.Owner))
			}
		}
		return err
	})
}

// TestStopReleasesClaims: a filer that ends in order leaves no claim behind.
func TestStopReleasesClaims(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/a", "x")
	x.want(201, "PUT", "/b", random(2<<20))
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	if list, err := x.store.Claims(context.Background()); err != nil || len(list) != 0 {
		t.Errorf("%d claims are left, %v", len(list), err)
	}
}

// TestClaimsExpire: a filer on a shared store releases claims of those that are gone, when their time is over.
func TestClaimsExpire(t *testing.T) {
	s, c := newStore(t), newCluster(t, 1)
	for i, until := range []time.Duration{-time.Second, time.Hour} {
		err := s.AddClaim(context.Background(), store.Claim{ID: fmt.Sprint(i), Owner: "gone", FID: "1,0100000001", Count: 3, Until: time.Now().Add(until)})
		if err != nil {
			t.Fatal(err)
		}
	}
	startOn(t, c, s, func(c *Config) { c.Alone = false })
	waitFor(t, "the claim that has expired is released", func() error {
		list, _ := s.Claims(context.Background())
		if len(list) != 1 || list[0].ID != "1" {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
}

// TestDeletesAreRepeated: chunks are deleted as soon as their servers take that.
func TestDeletesAreRepeated(t *testing.T) {
	x := start(t)
	for i := range 10 {
		x.want(201, "PUT", fmt.Sprintf("/d/%d", i), "x")
	}
	x.cluster.each(func(v *volumeServer) { v.deaf = true })
	x.want(202, "DELETE", "/d?recursive=true", "")
	waitFor(t, "a try has failed", func() error {
		if x.filer.drops.failed.Load() == 0 {
			return errors.New("none has")
		}
		return nil
	})
	if n := len(x.cluster.blobs()); n != 10 {
		t.Errorf("%d blobs are left", n)
	}
	x.cluster.each(func(v *volumeServer) { v.deaf = false })
	x.settled(0)
}

// TestReadersKeepChunks: a file that is replaced while it is read is read to its end.
func TestReadersKeepChunks(t *testing.T) {
	x := start(t)
	content := random(24 << 20)
	x.want(201, "PUT", "/f", content)
	resp, err := http.Get(x.url + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}
	x.want(201, "PUT", "/f", "new")
	x.want(201, "PUT", "/g", "other")
	x.want(202, "DELETE", "/g", "")
	waitFor(t, "what nobody reads is deleted", wantBlobs(x.cluster, 25))
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(head)+string(rest) != content {
		t.Fatalf("a file that was replaced in the middle of a read: %d bytes, %v", len(rest), err)
	}
	x.settled(1)
}

// TestRaces lets two filers on one store change the same paths: no acknowledged state is odd, no chunk is left.
func TestRaces(t *testing.T) {
	x := start(t, func(c *Config) { c.Alone = false })
	y := startOn(t, x.cluster, x.store, func(c *Config) { c.Alone = false })
	var group sync.WaitGroup
	for i, at := range []*fixture{x, y, x, y} {
		group.Go(func() {
			for k := range 30 {
				path := fmt.Sprintf("/r/%d/f", k%3)
				for _, r := range []reply{
					at.do("PUT", path, strings.NewReader(fmt.Sprintf("%d-%d", i, k))),
					at.do("POST", fmt.Sprintf("/r/m%d?mv.from=%s", k%2, path), nil),
					at.do("DELETE", fmt.Sprintf("/r/%d?recursive=true", (k+1)%3), nil),
					at.do("PUT", "/r/log?op=append", strings.NewReader("x")),
				} {
					if r.err != nil || r.status >= 500 {
						t.Errorf("%d, %s, %v", r.status, r.body, r.err)
					}
				}
			}
		})
	}
	group.Wait()
	if got := x.want(200, "GET", "/r/log", ""); len(got.body) != 120 {
		t.Errorf("120 appends made %d bytes", len(got.body))
	}
	var winners int
	var mu sync.Mutex
	for _, at := range []*fixture{x, y, x, y, x, y} {
		group.Go(func() {
			if at.do("PUT", "/once", strings.NewReader("x"), "If-None-Match", "*").status == 201 {
				mu.Lock()
				winners++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if winners != 1 {
		t.Errorf("%d created one file", winners)
	}
	chunks := 0
	err := x.filer.visitTree(context.Background(), "/", func(_ store.Path, e *Entry) error {
		chunks += len(e.Chunks)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	x.settled(chunks)
}

// TestRawHTTP: errors of HTTP itself look like all others, and clients that stand still are let go.
func TestRawHTTP(t *testing.T) {
	x := start(t, func(c *Config) { c.IdleTimeout = 300 * time.Millisecond })
	for request, want := range map[string]string{
		"GARBAGE\r\n\r\n": "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: a\r\nX: y\x00\r\n\r\n":                "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\n\r\n":                                       "HTTP/1.1 400 ",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":   "HTTP/1.1 204 ",
		"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc": "HTTP/1.1 400 ",
		"GET /x HTTP/1.1\r\nHost: a":                                   "",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(x.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, request)
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), want) || strings.HasPrefix(want, "HTTP/1.1 4") && !strings.Contains(string(got), `{"error":"`) {
			t.Errorf("%q: %q, %v", request, got, err)
		}
		_ = c.Close()
	}
	x.settled(0)
}

func TestGuard(t *testing.T) {
	guard, err := httpx.ParseGuard("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	x := start(t, func(c *Config) { c.Guard = guard })
	x.want(403, "PUT", "/a", "x")
	x.want(403, "DELETE", "/a", "")
	x.want(403, "POST", "/.weed/conf", "{}")
	x.want(404, "GET", "/a", "")
	x.want(200, "GET", "/", "")
}

// TestMemory: many uploads share the budget, those that find little room make smaller chunks.
func TestMemory(t *testing.T) {
	x := start(t, func(c *Config) { c.BufferBytes = 3 << 20 })
	content := random(2 << 20)
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			if r := x.do("PUT", fmt.Sprintf("/m/%d", i), strings.NewReader(content)); r.status != 201 {
				t.Errorf("%d %s %v", r.status, r.body, r.err)
			}
		})
	}
	group.Wait()
	for i := range 12 {
		if got := x.want(200, "GET", fmt.Sprintf("/m/%d", i), ""); got.body != content {
			t.Errorf("file %d comes back changed", i)
		}
	}
	if !x.filer.buffers.room.TryAcquire(x.filer.buffers.total) {
		t.Error("buffers were not given back")
	}
}
