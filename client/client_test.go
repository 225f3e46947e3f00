package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var bg = context.Background()

const fid1 = "3,01637037d6"

func TestSubmitDownloadDelete(t *testing.T) {
	v := &fakeVolume{}
	addr := v.serve(t)
	m := &fakeMaster{assigns: []Assignment{{FID: fid1, URL: addr, PublicURL: addr, Count: 1}}}
	m.place("3", addr)
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	ctx, cancel := context.WithCancel(bg)
	defer cancel()

	content := strings.Repeat("hello weed-fs! ", 1000)
	s, err := c.Submit(ctx, AssignOptions{Collection: "a b&c", TTL: "3m", Replication: "001"}, &Blob{
		Name: `weird "ü".txt`, Mime: "text/plain", Data: []byte(content), ModTime: time.Unix(1600000000, 0),
		Pairs: map[string]string{"K": "v"}, MD5: make([]byte, 16), Gzipped: false,
	})
	if err != nil || s.FID != fid1 || s.Size != int64(len(content)) || s.ETag != "e1" {
		t.Fatalf("Submit = %+v, %v", s, err)
	}
	if want := "collection=a+b%26c&replication=001&ttl=3m"; m.queries()[0] != want {
		t.Errorf("assign asked %q, want %q", m.queries()[0], want)
	}
	_, h, query := v.stored(fid1)
	if h.Get("Seaweed-K") != "v" || h.Get("Content-MD5") != "AAAAAAAAAAAAAAAAAAAAAA==" || query != "ts=1600000000&ttl=3m" {
		t.Errorf("header %v, query %q", h, query)
	}

	got, meta, err := c.Get(ctx, fid1, nil)
	if err != nil || string(got) != content {
		t.Fatalf("Get = %d bytes, %v", len(got), err)
	}
	if meta.Name != `weird "ü".txt` || meta.Mime != "text/plain" || meta.ETag != `"5b9a4a9c"` ||
		!meta.LastModified.Equal(time.Unix(1700000000, 0)) || meta.Size != int64(len(content)) {
		t.Errorf("meta %+v", meta)
	}

	d, err := c.Download(ctx, fid1, DownloadOptions{Range: "bytes=6-9"})
	if err != nil {
		t.Fatal(err)
	}
	if d.Header["K"] != "v" || d.Header["Content-Type"] != "text/plain" {
		t.Errorf("header %v", d.Header)
	}
	part, err := io.ReadAll(d)
	if err != nil || string(part) != "weed" || d.Offset != 6 || d.Total != int64(len(content)) || d.Size != 4 {
		t.Errorf("range = %q, %+v, %v", part, d.Meta, err)
	}
	d.Close()

	d, err = c.Download(ctx, fid1, DownloadOptions{IfNoneMatch: meta.ETag})
	if err != nil || !d.NotModified {
		t.Errorf("conditional download = %+v, %v", d, err)
	}
	d.Close()

	if size, err := c.Delete(ctx, fid1); err != nil || size != int64(len(content)) {
		t.Errorf("Delete = %d, %v", size, err)
	}
	if _, err := c.Delete(ctx, fid1); !errors.Is(err, ErrNotFound) {
		t.Errorf("second Delete = %v, want ErrNotFound", err)
	}
	if _, _, err := c.Get(ctx, fid1, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of the deleted = %v, want ErrNotFound", err)
	}
	if n := m.lookupCount(); n != 1 {
		t.Errorf("%d lookups, want 1", n)
	}
}

func TestAssignmentAt(t *testing.T) {
	a := Assignment{FID: fid1, Count: 3}
	if a.At(0) != fid1 || a.At(2) != fid1+"_2" {
		t.Errorf("At = %q, %q", a.At(0), a.At(2))
	}
}

func TestMastersInTurn(t *testing.T) {
	var first, second atomic.Int32
	noLeader := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first.Add(1)
		writeError(w, 503, "no leader")
	})
	good := serve(t, func(w http.ResponseWriter, r *http.Request) {
		second.Add(1)
		writeJSON(w, 200, Assignment{FID: fid1, URL: "h:1", Count: 1})
	})
	c, _ := newTestClient(t, Config{Masters: []string{deadAddr(t), noLeader, good}})
	for range 3 {
		if _, err := c.Assign(bg, AssignOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if first.Load() != 1 || second.Load() != 3 {
		t.Errorf("asked %d and %d times: the master that answers is not remembered", first.Load(), second.Load())
	}
}

func TestAssignErrors(t *testing.T) {
	for _, tc := range []struct {
		status int
		text   string
		want   error
		not    error
	}{
		{404, "No free volumes left!", ErrNoFreeVolumes, ErrNotFound},
		{500, "Cannot grow volume group! Not enough data node found!", ErrNoFreeVolumes, ErrUnavailable},
		{406, "malformed ttl", ErrInvalid, ErrNotFound},
		{400, "unknown data center", ErrInvalid, ErrNotFound},
		{503, "no leader", ErrUnavailable, ErrNoFreeVolumes},
	} {
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) { writeError(w, tc.status, tc.text) })
		c, _ := newTestClient(t, Config{Masters: []string{addr}})
		_, err := c.Assign(bg, AssignOptions{})
		var s *StatusError
		if !errors.Is(err, tc.want) || errors.Is(err, tc.not) || !errors.As(err, &s) || s.Status != tc.status || s.Message != tc.text {
			t.Errorf("%d %s: %v", tc.status, tc.text, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	var n atomic.Int32
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			w.Header().Set("Retry-After", "3")
			writeError(w, 503, "no leader")
			return
		}
		writeJSON(w, 200, Assignment{FID: fid1, URL: "h:1"})
	})
	c, clock := newTestClient(t, Config{Masters: []string{addr}})
	if _, err := c.Assign(bg, AssignOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := clock.Slept(); !slices.Equal(got, []time.Duration{3 * time.Second, 3 * time.Second}) {
		t.Errorf("slept %v", got)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "4")
		writeError(w, 503, "copies are missing")
	})
	m := &fakeMaster{}
	m.place("3", addr)
	master := m.serve(t)
	calls := map[string]func(ctx context.Context, c *Client) error{
		"assign": func(ctx context.Context, c *Client) error {
			c.cfg.Masters = []string{addr}
			_, err := c.Assign(ctx, AssignOptions{})
			return err
		},
		"upload": func(ctx context.Context, c *Client) error {
			_, err := c.Upload(ctx, fid1, &Blob{Data: []byte("x")})
			return err
		},
		"uploadTo": func(ctx context.Context, c *Client) error {
			_, err := c.UploadTo(ctx, addr, fid1, &Blob{Data: []byte("x")})
			return err
		},
		"delete": func(ctx context.Context, c *Client) error { _, err := c.Delete(ctx, fid1); return err },
		"get":    func(ctx context.Context, c *Client) error { _, _, err := c.Get(ctx, fid1, nil); return err },
	}
	for name, call := range calls {
		c, clock := newTestClient(t, Config{Masters: []string{master}})
		if err := call(bg, c); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", name, err)
		}
		if got := clock.Slept(); !slices.Equal(got, []time.Duration{4 * time.Second, 4 * time.Second}) {
			t.Errorf("%s slept %v, want two waits of 4 s within 10 s", name, got)
		}

		c, clock = newTestClient(t, Config{Masters: []string{master}})
		ctx, cancel := context.WithDeadline(bg, clock.Now().Add(3*time.Second))
		if err := call(ctx, c); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s with a near deadline = %v", name, err)
		}
		if got := clock.Slept(); len(got) != 0 {
			t.Errorf("%s slept %v, past its deadline", name, got)
		}
		cancel()
	}
}

func TestReplicaFailover(t *testing.T) {
	good := &fakeVolume{}
	good.put(fid1, "content")
	goodAddr := good.serve(t)
	failing := serve(t, func(w http.ResponseWriter, r *http.Request) { writeError(w, 500, "disk") })
	truncating := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "7")
		w.Write([]byte("con"))
	})
	for name, bad := range map[string]string{"dead": deadAddr(t), "failing": failing, "truncating": truncating} {
		m := &fakeMaster{}
		m.place("3", bad, goodAddr)
		c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		for range 4 {
			got, _, err := c.Get(bg, fid1, []byte("old content of the buffer"))
			if err != nil || string(got) != "content" {
				t.Errorf("%s: Get = %q, %v", name, got, err)
			}
		}
	}
}

func TestTruncatedBodyIsAnError(t *testing.T) {
	heads := map[string]string{
		"length":    "Content-Length: 100\r\n\r\nabc",
		"chunk":     "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"chunks":    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"no length": "\r\nabc",
		"head":      "Content-Len",
	}
	for name, head := range heads {
		addr := serveOnce(t, "HTTP/1.1 200 OK\r\n"+head)
		m := &fakeMaster{}
		m.place("3", addr)
		c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		if got, _, err := c.Get(bg, fid1, nil); !errors.Is(err, ErrUnavailable) || len(got) != 0 {
			t.Errorf("%s: Get = %q, %v", name, got, err)
		}
		d, err := c.Download(bg, fid1, DownloadOptions{})
		if err == nil {
			_, err = io.Copy(io.Discard, d)
			d.Close()
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: Download = %v, want an error", name, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	holder := &fakeVolume{}
	holder.put(fid1, "content")
	holderAddr := holder.serve(t)
	for _, status := range []int{301, 302, 307, 308} {
		redirecting := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+holderAddr+r.URL.Path, status)
		})
		m := &fakeMaster{}
		m.place("3", redirecting)
		c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		if got, _, err := c.Get(bg, fid1, nil); err != nil || string(got) != "content" {
			t.Errorf("%d: Get = %q, %v", status, got, err)
		}
	}
}

func TestRedirectsEnd(t *testing.T) {
	var n atomic.Int32
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, r.URL.Path, 301)
	})
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.invalid/x", 301)
	})
	for _, addr := range []string{loop, elsewhere} {
		m := &fakeMaster{}
		m.place("3", addr)
		c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		if _, _, err := c.Get(bg, fid1, nil); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Get = %v, want ErrUnavailable", err)
		}
	}
	if n.Load() > 2*(maxRedirects+1) {
		t.Errorf("%d requests for a redirect to itself", n.Load())
	}
}

func TestSubmitGoesToAnotherVolume(t *testing.T) {
	v := &fakeVolume{}
	good := v.serve(t)
	full := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "5")
		writeError(w, 503, "read-only")
	})
	dead := deadAddr(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	blobs := map[string]func() *Blob{
		"data":     func() *Blob { return &Blob{Data: content} },
		"seekable": func() *Blob { return &Blob{Reader: bytes.NewReader(content), Size: int64(len(content))} },
	}
	for name, b := range blobs {
		m := &fakeMaster{assigns: []Assignment{
			{FID: "1,0100000001", URL: dead}, {FID: "1,0200000002", URL: dead}, {FID: "2,0300000003", URL: full},
			{FID: "4,0400000004", URL: good},
		}}
		c, clock := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		s, err := c.Submit(bg, AssignOptions{}, b())
		stored, _, _ := v.stored(s.FID)
		if err != nil || s.FID != "4,0400000004" || !bytes.Equal(stored, content) {
			t.Errorf("%s: Submit = %+v, %v", name, s, err)
		}
		if len(clock.Slept()) != 0 {
			t.Errorf("%s: Submit waits for a server although there are others", name)
		}
	}

	m := &fakeMaster{assigns: []Assignment{{FID: "2,0300000003", URL: full}}}
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	once := io.MultiReader(bytes.NewReader(content)) // no io.Seeker
	if _, err := c.Submit(bg, AssignOptions{}, &Blob{Reader: once, Size: int64(len(content))}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Submit = %v, want ErrUnavailable", err)
	}
	if len(m.queries()) != 1 {
		t.Errorf("%d assigns for a reader that can be read once", len(m.queries()))
	}
	if _, err := c.Submit(bg, AssignOptions{}, &Blob{Data: content}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Submit = %v, want ErrUnavailable", err)
	}
}

func TestShortReaderIsAnError(t *testing.T) {
	v := &fakeVolume{}
	addr := v.serve(t)
	c, _ := newTestClient(t, Config{})
	_, err := c.UploadTo(bg, addr, fid1, &Blob{Reader: strings.NewReader("abc"), Size: 100})
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrUnavailable) {
		t.Errorf("UploadTo = %v, want io.ErrUnexpectedEOF alone", err)
	}
	if v.count() != 0 {
		t.Error("a truncated blob was stored")
	}
	_, err = c.UploadTo(bg, addr, fid1, &Blob{Reader: strings.NewReader("abcdef"), Size: 3})
	if stored, _, _ := v.stored(fid1); err != nil || string(stored) != "abc" {
		t.Errorf("UploadTo = %v, stored %q", err, stored)
	}
}

func TestDeleteMany(t *testing.T) {
	a, b := &fakeVolume{}, &fakeVolume{}
	addrA, addrB := a.serve(t), b.serve(t)
	m := &fakeMaster{}
	m.place("1", addrA)
	m.place("2", addrB)
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	var fids []string
	for i := range 100 {
		fid := fmt.Sprintf("%d,%02x00000001", 1+i%2, i+1)
		[]*fakeVolume{a, b}[i%2].put(fid, strings.Repeat("x", i))
		fids = append(fids, fid)
	}
	fids = append(fids, "1,ff00000001", "9,0100000001", "nonsense")
	results := c.DeleteMany(bg, fids)
	for i, r := range results[:100] {
		if r.FID != fids[i] || r.Size != int64(i) || r.Err != nil {
			t.Errorf("result %d = %+v", i, r)
		}
	}
	for i, want := range []error{ErrNotFound, ErrNotFound, ErrInvalid} {
		if r := results[100+i]; !errors.Is(r.Err, want) || r.FID != fids[100+i] {
			t.Errorf("result of %s = %+v, want %v", fids[100+i], r, want)
		}
	}
	if left := a.count() + b.count(); left != 0 || m.lookupCount() != 3 {
		t.Errorf("%d blobs left, %d lookups", left, m.lookupCount())
	}
}

func TestInvalid(t *testing.T) {
	c, _ := newTestClient(t, Config{})
	for name, b := range map[string]*Blob{
		"mime":      {Mime: "text/plain\r\nX: y"},
		"multipart": {Mime: "Multipart/Form-Data; boundary=x"},
		"pair name": {Pairs: map[string]string{"a b": "v"}},
		"pair":      {Pairs: map[string]string{"a": "v\r\n"}},
		"md5":       {MD5: []byte("short")},
		"size":      {Reader: strings.NewReader(""), Size: -1},
	} {
		if _, err := c.UploadTo(bg, "127.0.0.1:1", fid1, b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	for _, fid := range []string{"", "3", "3,01637037d6?x=y", "3/01637037d6/a b", "3,zz", "3,01637037d6 HTTP/1.1"} {
		if _, _, err := c.Get(bg, fid, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("Get %q: %v, want ErrInvalid", fid, err)
		}
		if _, err := c.UploadTo(bg, "127.0.0.1:1", fid, &Blob{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("UploadTo %q: %v, want ErrInvalid", fid, err)
		}
	}
	for _, host := range []string{"", "host", "host:1/x", "h\r\n:1", "a b:1"} {
		if _, _, err := c.Forward(bg, &Request{Host: host, Path: "/"}, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("Forward to %q: %v, want ErrInvalid", host, err)
		}
	}
	if _, err := New(Config{Masters: []string{"nohost"}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("New = %v, want ErrInvalid", err)
	}
	if _, err := c.Assign(bg, AssignOptions{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("Assign without masters = %v", err)
	}
}
