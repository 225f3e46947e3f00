package cassandra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"weed/filer/store"
)

// errCut is what a filer sees of a cluster that it was cut from.
var errCut = errors.New("cut by the test")

// cutter is a dialer that ends a filer, as far as the cluster can see, after a number of writes to connections.
type cutter struct {
	mu    sync.Mutex
	armed bool
	left  int // writes until the cut
	late  bool
	cut   chan struct{} // closed by it
	conns []net.Conn
}

// arm starts to count. late lets the last write get through, so that only its answer is lost.
func (c *cutter) arm(left int, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.left, c.late = true, left, late
}

func (c *cutter) isCut() bool {
	select {
	case <-c.cut:
		return true
	default:
		return false
	}
}

// DialContext implements gocql.Dialer.
func (c *cutter) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.isCut() {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return &cutConn{conn, c}, nil
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.cutter.mu.Lock()
	defer c.cutter.mu.Unlock()
	if c.cutter.isCut() {
		return 0, errCut
	}
	if !c.cutter.armed || c.cutter.left > 0 {
		c.cutter.left--
		return c.Conn.Write(b)
	}
	n, err := 0, errCut
	if c.cutter.late {
		n, err = c.Conn.Write(b)
	}
	close(c.cutter.cut)
	for _, conn := range c.cutter.conns {
		// The server goes on with what it has read; the answer finds nobody.
		_ = conn.Close()
	}
	return n, err
}

// crashes are changes that take several requests, on the tree that plant makes.
var crashes = map[string]func(context.Context, *Store, map[store.Path]store.Record) error{
	"put": func(ctx context.Context, s *Store, was map[store.Path]store.Record) error {
		_, err := s.Put(ctx, "/a/f", was["/a/f"].Version, store.Record{Value: []byte("1,01_2 1,01_3")},
			store.Effects{Drops: []string{"1,01_1"}, Uses: []store.Use{{Claim: "c", Index: 2}, {Claim: "c", Index: 3}}})
		return err
	},
	"create": func(ctx context.Context, s *Store, _ map[store.Path]store.Record) error {
		_, err := s.Put(ctx, "/a/new", 0, store.Record{Value: []byte("1,01_2")}, store.Effects{Uses: []store.Use{{Claim: "c", Index: 2}}})
		return err
	},
	"mkdir": func(ctx context.Context, s *Store, _ map[store.Path]store.Record) error {
		_, err := s.Put(ctx, "/a/dir", 0, store.Record{Dir: true}, store.Effects{})
		return err
	},
	"remove": func(ctx context.Context, s *Store, was map[store.Path]store.Record) error {
		return s.Remove(ctx, "/empty", was["/empty/"].Version, store.Effects{})
	},
	"remove tree": func(ctx context.Context, s *Store, was map[store.Path]store.Record) error {
		if err := s.RemoveTree(ctx, "/a", was["/a/"].Version); err != nil {
			return err
		}
		_, err := s.Sweep(ctx, 10)
		return err
	},
	"rename": func(ctx context.Context, s *Store, was map[store.Path]store.Record) error {
		_, err := s.Rename(ctx, "/a/f", was["/a/f"].Version, "/b/t", was["/b/t"].Version, []byte("1,01_1 1,01_2"),
			store.Effects{Drops: []string{"t1"}, Uses: []store.Use{{Claim: "c", Index: 2}}})
		return err
	},
	"rename directory": func(ctx context.Context, s *Store, was map[store.Path]store.Record) error {
		_, err := s.Rename(ctx, "/a", was["/a/"].Version, "/b/in", 0, nil, store.Effects{})
		return err
	},
	"abandon": func(ctx context.Context, s *Store, _ map[store.Path]store.Record) error {
		return s.Abandon(ctx, []store.Use{{Claim: "c", Index: 2}, {Claim: "c", Index: 0}})
	},
	"release": func(ctx context.Context, s *Store, _ map[store.Path]store.Record) error {
		return s.ReleaseClaim(ctx, "c", 4)
	},
}

// plant makes a tree, and a claim of four fids of which one is used.
func plant(t *testing.T, s *Store) {
	t.Helper()
	for _, dir := range []store.Path{"/a", "/b", "/empty", "/a/d"} {
		mkdir(t, s, dir)
	}
	if err := s.AddClaim(t.Context(), store.Claim{ID: "c", Owner: "o", FID: "1,01", Count: 4}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "/a/f", 0, "1,01_1", store.Effects{Uses: []store.Use{{Claim: "c", Index: 1}}})
	put(t, s, "/a/d/g", 0, "g1 g2", store.Effects{})
	put(t, s, "/b/t", 0, "t1", store.Effects{})
}

// shape is a tree without its versions.
func shape(records map[store.Path]store.Record) map[store.Path]string {
	all := make(map[store.Path]string)
	for p, r := range records {
		all[p] = string(r.Value)
	}
	return all
}

// writes counts the writes of one change to the cluster, and returns the tree before and after it.
func writes(t *testing.T, cfg Config, change func(context.Context, *Store, map[store.Path]store.Record) error) (n int, before, after map[store.Path]string) {
	t.Helper()
	counter := &cutter{cut: make(chan struct{})}
	cfg.dialer = counter
	s := open(t, cfg)
	plant(t, s)
	was, _ := tree(t, s)
	counter.arm(1_000_000, false)
	if err := change(t.Context(), s, was); err != nil {
		t.Fatal(err)
	}
	s.calls.Wait() // what is done behind it, too
	counter.mu.Lock()
	n = 1_000_000 - counter.left
	counter.mu.Unlock()
	now, _ := tree(t, s)
	return n, shape(was), shape(now)
}

// TestCrash ends filers in the middle of changes: the tree is as it was before or as it is after, nothing is lost,
// nothing leaks, and nothing stays in the way of others.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	for _, what := range slices.Sorted(maps.Keys(crashes)) {
		n, before, after := writes(t, newKeyspace(t), crashes[what])
		for range crashesEach {
			at, late := r.IntN(n), r.IntN(2) == 0
			ok := t.Run(fmt.Sprintf("%s/%d of %d/%v", what, at, n, late), func(t *testing.T) {
				crash(t, newKeyspace(t), crashes[what], at, late, before, after)
			})
			if !ok {
				t.Logf("seed %d", seed)
			}
		}
	}
}

const crashesEach = 4

// crash ends a filer after a number of writes of a change, and lets another one see what is left.
func crash(t *testing.T, cfg Config, change func(context.Context, *Store, map[store.Path]store.Record) error, at int, late bool, before, after map[store.Path]string) {
	cfg.Patience = 50 * time.Millisecond
	s := open(t, cfg)
	plant(t, s)
	was, _ := tree(t, s)
	c := &cutter{cut: make(chan struct{})}
	victim := cfg
	victim.dialer, victim.Timeout = c, 10*time.Second
	v := open(t, victim)
	if _, err := v.Find(t.Context(), "/a/d/g"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-c.cut:
			cancel() // it does not wait for what can't come
		case <-ctx.Done():
		}
	}()
	c.arm(at, late)
	err := change(ctx, v, was)
	now, _ := tree(t, s)
	if got := shape(now); !maps.Equal(got, before) && !maps.Equal(got, after) {
		t.Errorf("%v: the tree is %v, was %v and was to be %v", err, got, before, after)
	} else if err == nil && !maps.Equal(got, after) {
		t.Errorf("the tree is %v, and was changed to %v", got, after)
	}
	if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		t.Errorf("a filer that was cut off: %v", err)
	}
	chunks := []string{"1,01_1", "g1", "g2", "t1"}
	if err := s.ReleaseClaim(t.Context(), "c", 4); err != nil {
		t.Error(err)
	}
	audit(t, s, append(chunks, "1,01", "1,01_2", "1,01_3"))
	empty(t, s)
	audit(t, s, chunks)
	if claims, err := s.Claims(t.Context()); err != nil || len(claims) > 0 {
		t.Errorf("%d claims, %v", len(claims), err)
	}
}

// empty removes all that there is, by changes that what is left of others may be in the way of.
func empty(t *testing.T, s *Store) {
	t.Helper()
	for {
		records, _ := tree(t, s)
		if len(records) == 0 {
			return
		}
		paths := slices.Sorted(maps.Keys(records))
		for _, p := range slices.Backward(paths) { // what is in a directory comes before it
			path, dir := p, false
			if p[len(p)-1] == '/' {
				path, dir = p[:len(p)-1], true
			}
			rec := records[p]
			err := s.Remove(t.Context(), path, rec.Version, store.Effects{Drops: drops(rec, dir)})
			if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotEmpty) {
				t.Fatal(err)
			}
		}
	}
}

func drops(rec store.Record, dir bool) []string {
	if dir {
		return nil
	}
	list, _ := fids(rec.Value)
	return list
}
