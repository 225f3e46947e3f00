package filer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/wire"
)

// verify verifies and returns what was told.
func (x *fixture) verify(query string) (r wire.VerifyResult, events []wire.VerifyEvent) {
	x.t.Helper()
	got := x.do(http.MethodPost, wire.PathFilerVerify+"?"+query, nil)
	if got.err != nil || got.status != 200 {
		x.t.Fatalf("verify: status %d, %.200q, %v", got.status, got.body, got.err)
	}
	for line := range strings.Lines(got.body) {
		var e wire.VerifyEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			x.t.Fatal(err)
		}
		events = append(events, e)
	}
	last := events[len(events)-1].Result
	if last == nil {
		x.t.Fatalf("no result: %s", got.body)
	}
	return *last, events
}

// plant puts a blob of the filer's namespace where nothing refers to it.
func (x *fixture) plant(fid string, at time.Time) blob.FileID {
	x.t.Helper()
	pairs, err := x.filer.pairs(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	id, err := blob.ParseFileID(fid)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, v := range x.cluster.servers {
		if slices.Contains(v.volumes, id.Volume) {
			v.mu.Lock()
			v.blobs[id] = stored{[]byte("leak"), http.Header{"Seaweed-Filer": {pairs["Filer"]}}, at, ""}
			v.mu.Unlock()
		}
	}
	return id
}

// TestVerifyGroups lists a volume in parts, and several volumes one after the other.
func TestVerifyGroups(t *testing.T) {
	for _, keys := range []int64{1, 4, 13, 1 << 20} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			t.Parallel()
			x := start(t)
			x.filer.verifyKeys = keys
			for i := range 30 {
				x.want(201, "PUT", fmt.Sprintf("/d%d/f%d?collection=c%d", i%3, i, i%7), fmt.Sprint(i))
			}
			x.want(201, "PUT", "/large", random(5<<20+1))
			x.want(201, "PUT", "/empty", "")
			old := time.Now().Add(-time.Hour)
			for i := range 9 {
				x.plant(fmt.Sprintf("%d,ff%02x00000001", i%4+1, i), old)
			}
			x.plant("1,fe0000000001", time.Now())
			var lost blob.FileID
			for id := range x.cluster.blobs() {
				lost = id
				if id.Key < 0xfe00 {
					break
				}
			}
			x.cluster.each(func(v *volumeServer) { v.compact = 2; delete(v.blobs, lost) })
			r, events := x.verify("fix=true&graceSeconds=60")
			if r.Failures > 0 || r.Leaks != 9 || r.Queued != 9 || r.LeakBytes != 36 || r.Young != 1 || r.Dangling != 1 || r.Files != 32 ||
				r.Directories != 3 || r.Volumes != 4 || r.Chunks != 45 || r.Blobs != 45 {
				t.Errorf("%+v", r)
			}
			missed := ""
			for _, e := range events {
				if e.Dangling != nil {
					missed += e.Dangling.FID
				}
			}
			if missed != lost.String() {
				t.Errorf("missed %s, lost %s", missed, lost)
			}
			x.settled(36)
		})
	}
}

// TestVerifyMoved moves a file, or a directory, behind the back of who reads the tree.
func TestVerifyMoved(t *testing.T) {
	direct := func(x *fixture, from, to store.Path) error {
		rec, err := x.store.Find(context.Background(), from)
		if err == nil {
			_, err = x.store.Store.Rename(context.Background(), from, rec.Version, to, 0, nil, store.Effects{})
		}
		return err
	}
	moves := map[string]func(x *fixture, from, to store.Path) error{
		"this filer": func(x *fixture, from, to store.Path) error {
			got := x.do("POST", string(to)+"?mv.from="+string(from), nil)
			if got.status != 204 {
				return fmt.Errorf("status %d, %w", got.status, got.err)
			}
			return nil
		},
		"another filer": direct,
	}
	for name, move := range moves {
		for _, what := range []string{"/z/f", "/z"} {
			t.Run(name+" moves "+what, func(t *testing.T) {
				t.Parallel()
				x := start(t)
				x.want(201, "PUT", "/a/f", "first")
				x.want(201, "PUT", "/m/f", "in the middle")
				x.want(201, "PUT", "/z/f", "last")
				leak := x.plant("1,ff0000000001", time.Now())
				x.filer.claims.giveUpAll(time.Now()) // all that is left is what records refer to
				waitFor(t, "claims are released", func() error {
					list, err := x.store.Claims(context.Background())
					if len(list) > 0 {
						err = errors.New("there are claims")
					}
					return err
				})
				n := 0 // times that the tree was read
				x.store.onList = func(dir store.Path, _ store.ListOptions) {
					var err error
					switch {
					case dir == "/m":
						if n++; n <= 2 { // from where it has not been seen yet to where it is not looked for again
							err = move(x, store.Path(what), "/a/moved")
						}
					case dir == "/" && n == 1:
						err = move(x, "/a/moved", store.Path(what))
					}
					if err != nil {
						t.Error(err)
					}
				}
				r, _ := x.verify("fix=true&graceSeconds=0")
				if !r.Clean() || r.Leaks != 1 || r.Dangling != 0 {
					t.Errorf("%+v", r)
				}
				if want := map[string]int{"this filer": 2, "another filer": 3}[name]; n != want {
					t.Errorf("the tree was read %d times, want %d", n, want)
				}
				x.settled(3)
				if _, ok := x.cluster.blobs()[leak]; ok {
					t.Error("the leak is still there")
				}
				n = 100
				x.store.onList = func(dir store.Path, _ store.ListOptions) { // without end
					if dir == "/m" && name == "another filer" {
						n++
						_ = direct(x, "/m/f", store.Path(fmt.Sprintf("/m/g%d", n)))
						_ = direct(x, store.Path(fmt.Sprintf("/m/g%d", n)), "/m/f")
					}
				}
				x.plant("1,ff0000000001", time.Now())
				r, _ = x.verify("fix=true&graceSeconds=0")
				if name == "another filer" && (r.Failures != 1 || r.Queued != 0) || name == "this filer" && !r.Clean() {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// TestVerifyFails makes sure that nothing is repaired when something could not be looked at.
func TestVerifyFails(t *testing.T) {
	for name, do := range map[string]func(x *fixture){
		"a record that is damaged": func(x *fixture) {
			if _, err := x.store.Store.Put(context.Background(), "/bad", 0, store.Record{Value: []byte{99}}, store.Effects{}); err != nil {
				t.Error(err)
			}
		},
		"a store that is closed":     func(x *fixture) { x.store.Fail(store.ErrClosed) },
		"a server that is away":      func(x *fixture) { x.cluster.servers[0].http.Close() },
		"a volume that is compacted": func(x *fixture) { x.cluster.each(func(v *volumeServer) { v.compact = 1000 }) },
		"masters that are away":      func(x *fixture) { x.cluster.master.Close() },
		"a server that goes afterwards": func(x *fixture) {
			x.cluster.servers[0].listed = sync.OnceFunc(func() { go x.cluster.servers[0].http.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t)
			x.filer.verifyPause = time.Millisecond
			for i := range 20 {
				x.want(201, "PUT", fmt.Sprintf("/f%d?collection=c%d", i, i), "content")
			}
			leaks := []blob.FileID{x.plant("1,ff0000000001", time.Now()), x.plant("3,ff0000000001", time.Now())}
			do(x)
			r, _ := x.verify("fix=true&moveDangling=true&graceSeconds=0")
			if r.Failures == 0 || r.Queued > 0 || r.Dangling+r.Aside > 0 || r.Clean() {
				t.Errorf("%+v", r)
			}
			for _, leak := range leaks {
				if _, ok := x.cluster.blobs()[leak]; !ok {
					t.Errorf("%s was deleted", leak)
				}
			}
			x.store.Fail(nil)
		})
	}
}

// TestVerifyRequests tells what is refused, and that two do not verify at once, nor longer than the filer runs.
func TestVerifyRequests(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/f", "content")
	for query, status := range map[string]int{"graceSeconds=x": 400, "graceSeconds=-1": 400, "moveDangling=true": 400} {
		x.want(status, "POST", wire.PathFilerVerify+"?"+query, "")
	}
	x.want(405, "GET", wire.PathFilerVerify, "")
	inside, on := make(chan struct{}), make(chan struct{})
	x.store.onList = func(store.Path, store.ListOptions) {
		close(inside)
		<-on
	}
	done := make(chan wire.VerifyResult)
	go func() {
		r, _ := x.verify("")
		done <- r
	}()
	<-inside
	x.want(409, "POST", wire.PathFilerVerify, "")
	x.store.mu.Lock()
	x.store.onList = nil
	x.store.mu.Unlock()
	stopped := make(chan error)
	go func() { stopped <- x.stop() }()
	<-x.filer.serving.Done()
	close(on)
	if r := <-done; r.Failures == 0 {
		t.Errorf("a filer that ends: %+v", r)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestVerifyWhileBusy verifies and repairs again and again, without any grace time, while files are written, appended to,
// moved, replaced and removed, through this filer or also through another one: it finds nothing, and breaks nothing.
func TestVerifyWhileBusy(t *testing.T) {
	t.Run("alone", func(t *testing.T) { testVerifyBusy(t, false) })
	t.Run("with another filer", func(t *testing.T) { testVerifyBusy(t, true) })
}

func testVerifyBusy(t *testing.T, shared bool) {
	small := func(c *Config) { c.ChunkBytes, c.Alone = 1<<10, !shared }
	x := start(t, small)
	x.filer.verifyKeys = 40
	other := x
	if shared {
		other = startOn(t, x.cluster, x.store, small)
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	const writers = 4
	var want [writers]map[string]string
	var ops [writers]atomic.Int64
	for w := range writers {
		want[w] = map[string]string{}
		at := []*fixture{x, other}[w%2]
		group.Go(func() { at.busy(ctx, w, want[w], &ops[w]) })
	}
	done := func() (n int64) {
		for w := range writers {
			n += ops[w].Load()
		}
		return n
	}
	for done() < 1000 {
		r, events := x.verify("fix=true&moveDangling=true&graceSeconds=0")
		gaveUp := shared && strings.Contains(fmt.Sprint(events), errMoving.Error())
		if !r.Clean() && !gaveUp || r.Leaks+r.Dangling+r.Aside > 0 {
			t.Errorf("%+v, %+v", r, events)
			break
		}
	}
	stop()
	group.Wait()
	chunks := 0
	for w := range writers {
		for path, content := range want[w] {
			if got := x.want(200, "GET", path, ""); got.body != content {
				t.Errorf("%s: %d bytes, want %d", path, len(got.body), len(content))
			}
			chunks += len(x.entry(path).Chunks)
		}
	}
	x.settled(chunks)
	if r, _ := x.verify("graceSeconds=0"); !r.Clean() || r.Leaks+r.Pending > 0 || int(r.Chunks) != chunks {
		t.Errorf("%+v, want %d chunks", r, chunks)
	}
}

// busy changes files, and keeps what they hold.
func (x *fixture) busy(ctx context.Context, w int, want map[string]string, ops *atomic.Int64) {
	r := rand.New(rand.NewPCG(uint64(w), 1))
	path := func() string { return fmt.Sprintf("/%c/w%d/%d", 'a'+r.IntN(3), w, r.IntN(6)) }
	for n := 0; ctx.Err() == nil; n, _ = n+1, ops.Add(1) {
		p, content := path(), fmt.Sprint(w, " ", n, " ", strings.Repeat("x", r.IntN(4000)))
		switch kind := r.IntN(6); {
		case kind < 2:
			if got := x.do("PUT", p, strings.NewReader(content)); got.status == 201 {
				want[p] = content
			}
		case kind == 2:
			if got := x.do("POST", p+"?op=append", strings.NewReader(content), "Content-Type", "text/plain"); got.status == 201 {
				want[p] += content
			}
		case kind == 3:
			to := path()
			if got := x.do("POST", to+"?mv.from="+p, nil); got.status == 204 && to != p {
				want[to] = want[p]
				delete(want, p)
			}
		case kind == 4:
			x.do("DELETE", p, nil)
			delete(want, p)
		default:
			dir := p[:strings.LastIndexByte(p, '/')]
			if got := x.do("DELETE", dir+"?recursive=true", nil); got.status == 202 {
				for name := range want {
					if strings.HasPrefix(name, dir+"/") {
						delete(want, name)
					}
				}
			}
		}
	}
}

// TestGroupVolumes cuts volumes into groups.
func TestGroupVolumes(t *testing.T) {
	var volumes []client.Volume
	for i, n := range []uint64{5, 5, 25, 0, 9, 10} {
		volumes = append(volumes, client.Volume{ID: uint32(i + 1), Copies: []client.VolumeCopy{{FileCount: n}, {FileCount: 99, Stray: true}}})
	}
	var b bytes.Buffer
	for _, g := range groupVolumes(volumes, 10) {
		for _, v := range g.volumes {
			fmt.Fprintf(&b, "%d ", v.ID)
		}
		fmt.Fprintf(&b, "%d/%d;", g.part, g.parts)
	}
	if got := b.String(); got != "1 2 4 0/1;5 0/1;6 0/1;3 0/3;3 1/3;3 2/3;" {
		t.Error(got)
	}
	if g := groupVolumes(nil, 10); len(g) != 1 {
		t.Errorf("%+v", g)
	}
}

// TestVerifyMissing tells which files miss chunks and why, and moves them aside, also twice from one path.
func TestVerifyMissing(t *testing.T) {
	x := start(t)
	lose := func(path string) {
		t.Helper()
		for _, c := range x.entry(path).Chunks {
			fid, _ := blob.ParseFileID(c.FID)
			x.cluster.each(func(v *volumeServer) { delete(v.blobs, fid) })
		}
	}
	entry := func(path, fid, more string) {
		t.Helper()
		line := fmt.Sprintf(`{"FullPath":%q,"FileSize":4,"chunks":[{"file_id":%q,"size":4}]%s}`, path, fid, more)
		if got := x.want(200, "POST", "/.weed/entries", line); !strings.Contains(got.body, `"files":1`) {
			t.Fatal(got.body)
		}
	}
	x.want(201, "PUT", "/d/lost", random(2<<20+1))
	lose("/d/lost")
	x.want(201, "PUT", "/d/kept", "content")
	kept := x.entry("/d/kept").Chunks[0].FID
	entry("/d/other cookie", kept[:len(kept)-8]+"00000001", "")
	entry("/d/no volume", "99,0100000001", "")
	entry("/d/over", "99,0200000001", fmt.Sprintf(`,"TtlSec":60,"Expires":%d`, time.Now().Unix()))
	entry("/lost+found/d/before", "99,0300000001", "")
	tell := func(events []wire.VerifyEvent) string {
		var lines []string
		for _, e := range events {
			if d := e.Dangling; d != nil {
				lines = append(lines, fmt.Sprintf("%s %d/%d %s %t %s", d.Path, d.Missing, d.Chunks, d.Reason, d.Aside, d.MovedTo))
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	r, events := x.verify("graceSeconds=0")
	want := "/d/lost 3/3 no server has the chunk false \n/d/no volume 1/1 there is no volume 99 false \n" +
		"/d/other cookie 1/1 no server has the chunk false \n/lost+found/d/before 1/1 there is no volume 99 true "
	if got := tell(events); got != want || r.Dangling != 3 || r.Aside != 1 || r.Clean() {
		t.Errorf("%s\n%+v", got, r)
	}
	if r, _ = x.verify("fix=true&moveDangling=true"); r.Dangling != 0 || r.Aside != 4 || !r.Clean() {
		t.Errorf("%+v", r)
	}
	x.want(404, "GET", "/d/lost", "")
	x.want(201, "PUT", "/d/lost", "again")
	lose("/d/lost")
	if _, events = x.verify("fix=true&moveDangling=true"); !strings.Contains(tell(events), "/d/lost 1/1 no server has the chunk false /lost+found/d/lost~1") {
		t.Error(tell(events))
	}
	if e := x.entry("/lost+found/d/lost~1"); e.FileSize != 5 {
		t.Errorf("%+v", e)
	}
	x.want(202, "DELETE", "/lost+found?recursive=true", "")
	if r, _ = x.verify("graceSeconds=0"); !r.Clean() || r.Aside != 0 || r.Files != 2 {
		t.Errorf("%+v", r)
	}
}
