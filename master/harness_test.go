package master

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/internal/freeport"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/raftstore"
)

// quickRaft lets a single master lead within a moment.
var quickRaft = raftstore.Timeouts{Heartbeat: 50 * time.Millisecond, Election: 50 * time.Millisecond, Lease: 50 * time.Millisecond}

// calmRaft is what is shipped: several masters do not lose each other on a busy machine.
var calmRaft raftstore.Timeouts

// fakeClock is the clock by which servers expire.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a running master.
type fixture struct {
	testing.TB
	cfg   Config
	clock *fakeClock
	log   *slog.Logger
	m     *Master
	stop  func()
}

// start runs a master; change may alter its configuration. It ends with the test, or with stop.
func start(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	cfg := Config{MetaDir: t.TempDir(), Version: "test", Pulse: 200 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	f := &fixture{TB: t, cfg: cfg, clock: &fakeClock{now: time.Unix(1_700_000_000, 0)},
		log: testLog(t)}
	f.run()
	t.Cleanup(func() { f.stop() })
	return f
}

// run starts the master on a free port, or again on the one that it had.
func (f *fixture) run() {
	f.Helper()
	if f.cfg.Address == "" {
		f.cfg.Address = freeport.Addr(f)
	}
	ln, err := httpx.Listen(f.cfg.Address)
	if err != nil {
		f.Fatal(err)
	}
	timeouts := quickRaft
	if len(f.cfg.Peers) > 0 {
		timeouts = calmRaft
	}
	f.m, err = New(f.cfg, Deps{Listener: ln, Now: f.clock.Now, RaftTimeouts: timeouts, Logger: f.log})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m := f.m
	go func() { done <- m.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error("the master ended with", err)
		}
	})
	if len(f.cfg.Peers) == 0 {
		f.eventually("the master to lead", func() bool { return f.get("/readyz").status == 200 })
	}
}

// Whatever a test starts must have ended with it: Run leaves nothing behind.
func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-look.C {
		if time.Now().After(end) {
			f.Fatal("waited in vain for ", what)
		}
	}
}

// reply is an HTTP answer.
type reply struct {
	status int
	header http.Header
	body   string
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (f *fixture) do(method, path, contentType, body string) reply {
	f.Helper()
	req, err := http.NewRequest(method, "http://"+f.cfg.Address+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return f.send(req)
}

func (f *fixture) send(req *http.Request) reply {
	f.Helper()
	resp, err := noRedirects.Do(req)
	if err != nil {
		f.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Error(err)
	}
	if len(b) > 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && !json.Valid(b) {
		f.Errorf("%s %s: no JSON: %s", req.Method, req.URL, b)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

func (f *fixture) get(path string) reply  { f.Helper(); return f.do("GET", path, "", "") }
func (f *fixture) post(path string) reply { f.Helper(); return f.do("POST", path, "", "") }

// want checks the status and, unless it is empty, a part of the body.
func (r reply) want(t testing.TB, status int, part string) reply {
	t.Helper()
	if r.status != status || !strings.Contains(r.body, part) {
		t.Fatalf("got %d %s, want %d with %q", r.status, r.body, status, part)
	}
	return r
}

func (r reply) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

type assigned struct {
	FID, URL, PublicURL string
	Count               int
}

func (f *fixture) assign(query string) assigned {
	f.Helper()
	var a assigned
	f.get("/dir/assign"+query).want(f, 200, `"fid"`).into(f, &a)
	return a
}

// volumeServer is a fake that makes and deletes volumes, stores blobs and sends heartbeats when told to.
type volumeServer struct {
	f    *fixture
	http *httptest.Server
	url  string

	mu      sync.Mutex
	hb      wire.Heartbeat
	volumes map[uint32]wire.VolumeInfo
	configs map[uint32]wire.VolumeConfig // of the volumes, as far as it was told
	told    map[uint32]wire.VolumeInfo   // in the last heartbeat
	adding  map[uint32][]string          // servers that it was ordered to make members
	blobs   map[string]string
	puts    []*http.Request
	creates int
	fail    map[string]int // status by path
	gate    chan struct{}  // if set, creates wait for it
	lost    func()         // if set, called after a create, whose answer is then lost
	orders  []wire.ChangeCopies
	stuck   bool // nobody is added: learners have got the first so many bytes
	learned int64
}

func (f *fixture) volumeServer(dc, rack string, slots int) *volumeServer {
	f.Helper()
	v := &volumeServer{f: f, volumes: map[uint32]wire.VolumeInfo{}, blobs: map[string]string{}, fail: map[string]int{},
		configs: map[uint32]wire.VolumeConfig{}, adding: map[uint32][]string{}}
	v.http = httptest.NewServer(v)
	f.Cleanup(v.http.Close)
	v.url = strings.TrimPrefix(v.http.URL, "http://")
	fakes.Store(v.url, v)
	f.Cleanup(func() { fakes.Delete(v.url) })
	v.hb = wire.Heartbeat{URL: v.url, PublicURL: v.url, DataCenter: dc, Rack: rack, Max: slots, Incarnation: rand.Uint64()}
	return v
}

// joined is a volume server that has sent its first heartbeat.
func (f *fixture) joined(dc, rack string, slots int) *volumeServer {
	f.Helper()
	v := f.volumeServer(dc, rack, slots)
	v.beat(true)
	return v
}

// beat sends a heartbeat with everything that the server holds; full says so. When it learns of new configurations
// it reports at once how it stands then.
func (v *volumeServer) beat(full bool) wire.HeartbeatReply {
	v.f.Helper()
	answer := v.beatOnce(full)
	for range 3 {
		if len(answer.Configs) == 0 {
			break
		}
		v.learn(answer.Configs...)
		answer = v.beatOnce(false)
	}
	return answer
}

func (v *volumeServer) beatOnce(full bool) wire.HeartbeatReply {
	v.f.Helper()
	v.mu.Lock()
	v.hb.Sequence++
	hb := v.hb
	hb.Full = full
	for _, info := range v.volumes {
		hb.Volumes = append(hb.Volumes, info)
	}
	for id := range v.told {
		if _, here := v.volumes[id]; !here && !full {
			hb.Gone = append(hb.Gone, id)
		}
	}
	v.told = maps.Clone(v.volumes)
	v.mu.Unlock()
	b, _ := json.Marshal(hb)
	var answer wire.HeartbeatReply
	v.f.do("POST", wire.PathHeartbeat, "application/json", string(b)).want(v.f, 200, `"leader"`).into(v.f, &answer)
	return answer
}

func (v *volumeServer) set(info wire.VolumeInfo) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if before, held := v.volumes[info.ID]; held && info.CopyEpoch == 0 {
		info.CopyEpoch, info.WholeIn, info.InSync = before.CopyEpoch, before.WholeIn, before.InSync
	}
	v.volumes[info.ID] = info
}

// locked looks at the server or changes it: the master may be sending orders meanwhile.
func (v *volumeServer) locked(access func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	access()
}

// answers makes the server answer requests for a path, or for "blobs", with a status; 0 lets it do its work again.
func (v *volumeServer) answers(path string, status int) {
	v.locked(func() { v.fail[path] = status })
}

// copies returns what the server holds.
func (v *volumeServer) copies() (held map[uint32]wire.VolumeInfo) {
	v.locked(func() { held = maps.Clone(v.volumes) })
	return held
}

func (v *volumeServer) made() (n int) {
	v.locked(func() { n = v.creates })
	return n
}

func (v *volumeServer) holds() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.volumes)
}

func (v *volumeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	gate := v.gate
	v.mu.Unlock()
	if gate != nil && r.URL.Path == wire.PathVolumeCreate {
		<-gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	if status := v.fail[r.URL.Path]; status != 0 {
		answer(status, wire.Error{Error: "told to fail"})
		return
	}
	switch r.URL.Path {
	case wire.PathVolumeCreate:
		var order wire.CreateVolume
		if err := json.Unmarshal(body, &order); err != nil || len(order.Replication) != 3 {
			answer(400, wire.Error{Error: "bad order"})
			return
		}
		if _, held := v.volumes[order.ID]; held {
			answer(409, wire.Error{Error: "it exists already"})
			return
		}
		v.creates++
		digit := func(i int) int { return int(order.Replication[i] - '0') }
		info := wire.VolumeInfo{ID: order.ID, Collection: order.Collection, TTL: order.TTL, Version: 3,
			ReplicaPlacement: wire.ReplicaPlacement{DiffDataCenterCount: digit(0), DiffRackCount: digit(1), SameRackCount: digit(2)}}
		v.volumes[order.ID] = info
		if order.Config != nil {
			v.adopt(*order.Config)
			info = v.volumes[order.ID]
		}
		if v.lost != nil {
			v.mu.Unlock()
			v.lost()
			v.mu.Lock()
			panic(http.ErrAbortHandler)
		}
		answer(200, info)
	case wire.PathVolumeDelete:
		var order wire.DeleteVolume
		_ = json.Unmarshal(body, &order)
		if held, ok := v.volumes[order.ID]; !ok || held.Collection != order.Collection {
			answer(404, wire.Error{Error: "no such volume"})
			return
		}
		delete(v.volumes, order.ID)
		delete(v.configs, order.ID)
		answer(200, struct{}{})
	case wire.PathVolumeCopies:
		v.changeCopies(body, answer)
	default:
		v.blob(r, string(body), answer)
	}
}

func (v *volumeServer) blob(r *http.Request, body string, answer func(int, any)) {
	if status := v.fail["blobs"]; status != 0 {
		answer(status, wire.Error{Error: "told to fail"})
		return
	}
	switch r.Method {
	case "POST":
		v.puts = append(v.puts, r.Clone(context.Background()))
		v.blobs[r.URL.Path] = body
		answer(201, map[string]any{"name": `a"b.txt`, "size": len(body), "eTag": "5b9a4a9c", "mime": "text/plain"})
	case "DELETE":
		held, ok := v.blobs[r.URL.Path]
		delete(v.blobs, r.URL.Path)
		if !ok {
			answer(404, map[string]int{"size": 0})
			return
		}
		answer(202, map[string]int{"size": len(held)})
	}
}

func volumeInfo(id uint32, collection string, change func(*wire.VolumeInfo)) wire.VolumeInfo {
	info := wire.VolumeInfo{ID: id, Collection: collection, Version: 3}
	if change != nil {
		change(&info)
	}
	return info
}

func form(values url.Values) (contentType, body string) {
	return "application/x-www-form-urlencoded", values.Encode()
}

// logLines is a log that a test reads.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
