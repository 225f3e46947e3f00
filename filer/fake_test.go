package filer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

// cluster is a master and some volume servers in one process: two volumes to a server, each blob on one of them.
type cluster struct {
	t       *testing.T
	master  *httptest.Server
	mu      sync.Mutex
	servers []*volumeServer
	key     uint64
	assigns int
}

// volumeServer keeps the blobs of two volumes.
type volumeServer struct {
	http    *httptest.Server
	volumes []blob.VolumeID

	mu      sync.Mutex
	blobs   map[blob.FileID]stored
	refuse  bool // answers 503 to every write
	deaf    bool // answers 503 to every delete
	cut     int  // so many GETs break off in the middle
	puts    int
	gate    chan struct{} // a put waits for it, if there is one
	compact int           // so many lists of needles break off, because the volume was compacted
	listed  func()        // is called after a list of needles, if there is one
	deletes map[blob.FileID]int
}

type stored struct {
	data  []byte
	pairs http.Header
	at    time.Time
	ttl   string
}

func newCluster(t *testing.T, servers int) *cluster {
	c := &cluster{t: t}
	for i := range servers {
		v := &volumeServer{blobs: map[blob.FileID]stored{}, deletes: map[blob.FileID]int{},
			volumes: []blob.VolumeID{blob.VolumeID(2*i + 1), blob.VolumeID(2*i + 2)}}
		v.http = httptest.NewServer(v)
		t.Cleanup(v.http.Close)
		c.servers = append(c.servers, v)
	}
	c.master = httptest.NewServer(c)
	t.Cleanup(c.master.Close)
	return c
}

func host(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// ServeHTTP is the master.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/dir/assign":
		if r.FormValue("collection") == "nowhere" {
			answer(w, 404, map[string]any{"error": "No free volumes left!"})
			return
		}
		count, _ := strconv.ParseUint(r.FormValue("count"), 10, 32)
		count = max(count, 1)
		c.assigns++
		v := c.servers[c.assigns%len(c.servers)]
		fid := blob.FileID{Volume: v.volumes[c.assigns/len(c.servers)%2], Key: blob.Key(c.key + 1), Cookie: 0xabad1dea}
		c.key += count
		answer(w, 200, map[string]any{"fid": fid.String(), "url": host(v.http), "publicUrl": host(v.http), "count": count})
	case "/dir/lookup":
		for _, v := range c.servers {
			for _, id := range v.volumes {
				if id.String() == r.FormValue("volumeId") {
					answer(w, 200, map[string]any{"locations": []any{map[string]any{"url": host(v.http), "publicUrl": host(v.http)}}})
					return
				}
			}
		}
		answer(w, 404, map[string]any{"error": "volume not found"})
	case "/vol/status":
		answer(w, 200, map[string]any{"Volumes": map[string]any{"DataCenters": map[string]any{"dc": map[string]any{"r": c.volumes()}}}})
	case "/cluster/status":
		answer(w, 200, map[string]any{"IsLeader": true, "Leader": "x:1"})
	}
}

// volumes returns what /vol/status tells of each server.
func (c *cluster) volumes() map[string]any {
	all := map[string]any{}
	for _, v := range c.servers {
		var list []any
		for _, id := range v.volumes {
			list = append(list, map[string]any{"Id": id, "FileCount": len(v.needles(id)), "Primary": host(v.http), "Members": []string{host(v.http)}, "State": "writable"})
		}
		all[host(v.http)] = list
	}
	return all
}

// needles returns the blobs of a volume in order of their keys.
func (v *volumeServer) needles(id blob.VolumeID) (list []wire.LiveNeedle) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for fid, b := range v.blobs {
		if fid.Volume == id {
			list = append(list, wire.LiveNeedle{Key: uint64(fid.Key), Cookie: uint32(fid.Cookie), Offset: int64(fid.Key) * 8, Size: int64(len(b.data)),
				Pair: b.pairs.Get("Seaweed-Filer"), AppendedAt: b.at.UnixNano()})
		}
	}
	slices.SortFunc(list, func(a, b wire.LiveNeedle) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// list answers a list of needles, three on a page.
func (v *volumeServer) list(w http.ResponseWriter, r *http.Request) {
	id, _ := blob.ParseVolumeID(r.FormValue("volumeId"))
	from, _ := strconv.ParseInt(r.FormValue("offset"), 10, 64)
	page := wire.NeedlePage{Needles: []wire.LiveNeedle{}}
	for _, n := range v.needles(id) {
		if n.Offset < from {
			continue
		}
		if page.Needles = append(page.Needles, n); len(page.Needles) == 3 {
			page.Next = n.Offset + 8
			break
		}
	}
	v.mu.Lock()
	refuse, listed := v.compact > 0 && from > 0, v.listed
	if refuse {
		v.compact--
	}
	v.mu.Unlock()
	if refuse {
		answer(w, 409, map[string]any{"error": "another revision"})
		return
	}
	answer(w, 200, page)
	if page.Next == 0 && listed != nil {
		listed()
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// ServeHTTP is a volume server.
func (v *volumeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == wire.PathVolumeNeedles {
		v.list(w, r)
		return
	}
	fid, err := blob.ParseFileID(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		answer(w, 400, map[string]any{"error": err.Error()})
		return
	}
	switch r.Method {
	case http.MethodPut:
		v.put(w, r, fid)
	case http.MethodDelete:
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.deaf {
			answer(w, 503, map[string]any{"error": "not now"})
			return
		}
		v.deletes[fid]++
		b, ok := v.blobs[fid]
		delete(v.blobs, fid)
		if !ok {
			answer(w, 404, map[string]any{"size": 0})
			return
		}
		answer(w, 202, map[string]any{"size": len(b.data)})
	default:
		v.get(w, r, fid)
	}
}

func (v *volumeServer) put(w http.ResponseWriter, r *http.Request, fid blob.FileID) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	v.mu.Lock()
	gate := v.gate
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.puts++
	if v.refuse {
		answer(w, 503, map[string]any{"error": "copies are missing"})
		return
	}
	v.blobs[fid] = stored{data, r.Header, time.Now(), r.FormValue("ttl")}
	answer(w, 201, map[string]any{"size": len(data), "eTag": `"12345678"`})
}

func (v *volumeServer) get(w http.ResponseWriter, r *http.Request, fid blob.FileID) {
	v.mu.Lock()
	b, ok := v.blobs[fid]
	cut := v.cut > 0 && len(b.data) > 100
	if cut {
		v.cut--
	}
	v.mu.Unlock()
	if !ok {
		answer(w, 404, map[string]any{"error": "not found"})
		return
	}
	if cut {
		w = &cutter{ResponseWriter: w, left: len(b.data) / 3}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.data))
}

// cutter breaks an answer off.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

// blobs returns all blobs that the volume servers hold.
func (c *cluster) blobs() map[blob.FileID][]byte {
	all := map[blob.FileID][]byte{}
	for _, v := range c.servers {
		v.mu.Lock()
		for id, b := range v.blobs {
			all[id] = b.data
		}
		v.mu.Unlock()
	}
	return all
}

// each does something to every volume server.
func (c *cluster) each(do func(*volumeServer)) {
	for _, v := range c.servers {
		v.mu.Lock()
		do(v)
		v.mu.Unlock()
	}
}

// waitFor polls until condition returns nil.
func waitFor(t *testing.T, what string, condition func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

func wantBlobs(c *cluster, n int) func() error {
	return func() error {
		if got := len(c.blobs()); got != n {
			return fmt.Errorf("%d blobs, want %d", got, n)
		}
		return nil
	}
}
