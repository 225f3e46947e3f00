package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeClock is time that passes only in Sleep and Advance.
type fakeClock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Now()} }

func (f *fakeClock) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeClock) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	f.mu.Lock()
	f.slept = append(f.slept, d)
	f.mu.Unlock()
	f.Advance(d)
	return ctx.Err()
}

func (f *fakeClock) Slept() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.slept...)
}

// newTestClient returns a client on a fake clock.
func newTestClient(t *testing.T, cfg Config) (*Client, *fakeClock) {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	clock := newFakeClock()
	c.clock = clock
	return c, clock
}

// serve starts an HTTP server and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// serveRaw hands every connection to script, which owns it; n counts them from 0.
func serveRaw(t *testing.T, script func(n int, nc net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				script(n, nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// readRequest reads one request with its body; nil at the end of the connection.
func readRequest(br *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return r
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

// fakeMaster answers assigns and lookups from tables and counts them.
type fakeMaster struct {
	mu        sync.Mutex
	locations map[string][]string // by volume id
	assigns   []Assignment        // handed out in turn, the last one for ever
	lookups   int
	asked     []string // queries of assigns
}

func (m *fakeMaster) serve(t *testing.T) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch r.URL.Path {
		case "/dir/assign":
			m.asked = append(m.asked, r.URL.RawQuery)
			if len(m.assigns) == 0 {
				writeError(w, 404, "No free volumes left!")
				return
			}
			a := m.assigns[0]
			if len(m.assigns) > 1 {
				m.assigns = m.assigns[1:]
			}
			writeJSON(w, 200, a)
		case "/dir/lookup":
			m.lookups++
			vid := r.URL.Query().Get("volumeId")
			locs := []Location{}
			for _, a := range m.locations[vid] {
				locs = append(locs, Location{URL: a, PublicURL: a})
			}
			if len(locs) == 0 {
				writeError(w, 404, fmt.Sprintf("volume %s not found", vid))
				return
			}
			writeJSON(w, 200, map[string]any{"volumeId": vid, "locations": locs})
		default:
			writeError(w, 404, "no such path")
		}
	})
}

func (m *fakeMaster) lookupCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookups
}

func (m *fakeMaster) queries() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.asked...)
}

func (m *fakeMaster) place(volume string, addrs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locations == nil {
		m.locations = make(map[string][]string)
	}
	m.locations[volume] = addrs
}

// fakeVolume keeps blobs in memory, with the header they came with.
type fakeVolume struct {
	mu    sync.Mutex
	blobs map[string][]byte
	heads map[string]http.Header
	query map[string]string
	gets  int
}

func (v *fakeVolume) serve(t *testing.T) string { return serve(t, v.handle) }

func (v *fakeVolume) handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.blobs == nil {
		v.blobs, v.heads, v.query = map[string][]byte{}, map[string]http.Header{}, map[string]string{}
	}
	fid := strings.TrimPrefix(r.URL.Path, "/")
	old, ok := v.blobs[fid]
	switch r.Method {
	case "PUT", "POST":
		v.blobs[fid], v.heads[fid], v.query[fid] = body, r.Header, r.URL.RawQuery
		writeJSON(w, 201, UploadResult{Size: int64(len(body)), ETag: "e1"})
	case "DELETE":
		if !ok {
			writeJSON(w, 404, map[string]int{"size": 0})
			return
		}
		delete(v.blobs, fid)
		writeJSON(w, 202, map[string]int{"size": len(old)})
	default:
		v.gets++
		if !ok {
			writeError(w, 404, "not found")
			return
		}
		h := w.Header()
		h.Set("ETag", `"5b9a4a9c"`)
		if d := v.heads[fid].Get("Content-Disposition"); d != "" {
			h.Set("Content-Disposition", d)
		}
		if ct := v.heads[fid].Get("Content-Type"); ct != "" {
			h.Set("Content-Type", ct)
		}
		for name, values := range v.heads[fid] {
			if pair, ok := strings.CutPrefix(name, "Seaweed-"); ok {
				h.Set(pair, values[0])
			}
		}
		http.ServeContent(w, r, "", time.Unix(1700000000, 0), strings.NewReader(string(old)))
	}
}

func (v *fakeVolume) put(fid, content string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.blobs == nil {
		v.blobs, v.heads, v.query = map[string][]byte{}, map[string]http.Header{}, map[string]string{}
	}
	v.blobs[fid], v.heads[fid] = []byte(content), http.Header{}
}

// stored returns a blob and the header and query it came with.
func (v *fakeVolume) stored(fid string) (content []byte, head http.Header, query string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.blobs[fid], v.heads[fid], v.query[fid]
}

func (v *fakeVolume) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.blobs)
}

func (v *fakeVolume) reads() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gets
}

// deadAddr is an address where nobody listens.
func deadAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
