package filer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/filer/store"
	"weed/filer/store/bolt"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// fixture is a filer that serves, with what stands behind it.
type fixture struct {
	t       *testing.T
	cluster *cluster
	store   *faulty
	filer   *Filer
	url     string
	clock   *clock
	stop    func() error
}

// clock is the time of entries.
type clock struct {
	mu    sync.Mutex
	extra time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.extra)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extra += d
}

// faulty is a real store that can be told to fail.
type faulty struct {
	store.Store
	mu     sync.Mutex
	fail   error
	onList func(dir store.Path, opts store.ListOptions) // is called before each list, if there is one
}

func newStore(t *testing.T) *faulty {
	t.Helper()
	s, err := bolt.Open(t.TempDir(), store.Options{FIDs: FIDs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &faulty{Store: s}
}

// Fail makes the calls below fail with err from now on, nil lets them work again.
func (s *faulty) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *faulty) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

func (s *faulty) Find(ctx context.Context, path store.Path) (store.Record, error) {
	if err := s.failure(); err != nil {
		return store.Record{}, err
	}
	return s.Store.Find(ctx, path)
}

func (s *faulty) List(ctx context.Context, dir store.Path, opts store.ListOptions) ([]store.Record, error) {
	s.mu.Lock()
	do := s.onList
	s.mu.Unlock()
	if do != nil {
		do(dir, opts)
	}
	if err := s.failure(); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, dir, opts)
}

func (s *faulty) Put(ctx context.Context, path store.Path, was store.Version, rec store.Record, e store.Effects) (store.Version, error) {
	if err := s.failure(); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, path, was, rec, e)
}

func (s *faulty) Abandon(ctx context.Context, uses []store.Use) error {
	return errors.Join(s.failure(), s.Store.Abandon(ctx, uses)) // an outcome that is not known, at times
}

func (s *faulty) AddClaim(ctx context.Context, claim store.Claim) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Store.AddClaim(ctx, claim)
}

func (s *faulty) Setting(ctx context.Context, name string) ([]byte, store.Version, error) {
	if err := s.failure(); err != nil {
		return nil, 0, err
	}
	return s.Store.Setting(ctx, name)
}

func (s *faulty) Ping(ctx context.Context) error { return errors.Join(s.failure(), s.Store.Ping(ctx)) }

// start runs a filer over a cluster and a store of its own, until the test ends.
func start(t *testing.T, change ...func(*Config)) *fixture {
	return startOn(t, newCluster(t, 2), newStore(t), change...)
}

func startOn(t *testing.T, c *cluster, s *faulty, change ...func(*Config)) *fixture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Masters: []string{host(c.master)}, Alone: true, MissingGrace: time.Millisecond, ChunkBytes: 1 << 20}
	for _, do := range change {
		do(&cfg)
	}
	x := &fixture{t: t, cluster: c, store: s, clock: &clock{}, url: "http://" + ln.Addr().String()}
	x.filer, err = New(cfg, Deps{Store: s, Listener: ln, Now: x.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.filer.Run(ctx) }()
	x.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := x.stop(); err != nil {
			t.Errorf("the filer ended with %v", err)
		}
	})
	return x
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// do sends a request; header are names and values in turn.
func (x *fixture) do(method, path string, body io.Reader, header ...string) reply {
	x.t.Helper()
	r, err := http.NewRequest(method, x.url+path, body)
	if err != nil {
		x.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Content-Length" {
			fmt.Sscan(header[i+1], &r.ContentLength)
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text), err}
}

// want does a request and fails the test unless it has the status; an error must be JSON.
func (x *fixture) want(status int, method, path, body string, header ...string) reply {
	x.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	got := x.do(method, path, r, header...)
	if got.err != nil || got.status != status {
		x.t.Fatalf("%s %s: status %d, %.200q, %v; want %d", method, path, got.status, got.body, got.err, status)
	}
	if status >= 400 && method != http.MethodHead {
		var e struct{ Error string }
		if json.Unmarshal([]byte(got.body), &e) != nil || e.Error == "" || got.header.Get("Content-Type") != "application/json" {
			x.t.Fatalf("%s %s: %d with %.200q, which is no error in JSON", method, path, status, got.body)
		}
	}
	return got
}

// form returns a multipart body with one file.
func form(name, content string) (body, kind string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	p, _ := w.CreateFormFile("file", name)
	_, _ = io.WriteString(p, content)
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return string(b)
}

// entry returns the metadata of a path.
func (x *fixture) entry(path string) entryJSON {
	x.t.Helper()
	var e entryJSON
	if err := json.Unmarshal([]byte(x.want(200, "GET", path+"?metadata=true", "").body), &e); err != nil {
		x.t.Fatal(err)
	}
	return e
}

// settled waits until nothing is left to do in the store, and so many blobs are there.
func (x *fixture) settled(blobs int) {
	x.t.Helper()
	waitFor(x.t, "chunks that nobody needs are deleted", func() error {
		drops, err := x.store.Drops(context.Background(), "", 10)
		if len(drops) > 0 {
			err = fmt.Errorf("%d drops are left", len(drops))
		}
		return errors.Join(err, wantBlobs(x.cluster, blobs)())
	})
}
