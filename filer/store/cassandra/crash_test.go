package cassandra

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
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

// breakable makes a change of the tree that plant makes, and of its claim.
type breakable func(ctx context.Context, s *Store, was map[store.Path]store.Record, claim string) error

// crashes are changes that take several requests.
var crashes = map[string]breakable{
	"put": func(ctx context.Context, s *Store, was map[store.Path]store.Record, claim string) error {
		_, err := s.Put(ctx, "/a/f", was["/a/f"].Version, store.Record{Value: []byte("1,01_2 1,01_3")},
			store.Effects{Drops: []string{"1,01_1"}, Uses: []store.Use{{Claim: claim, Index: 2}, {Claim: claim, Index: 3}}})
		return err
	},
	"create": func(ctx context.Context, s *Store, _ map[store.Path]store.Record, claim string) error {
		_, err := s.Put(ctx, "/a/new", 0, store.Record{Value: []byte("1,01_2")}, store.Effects{Uses: []store.Use{{Claim: claim, Index: 2}}})
		return err
	},
	"mkdir": func(ctx context.Context, s *Store, _ map[store.Path]store.Record, _ string) error {
		_, err := s.Put(ctx, "/a/dir", 0, store.Record{Dir: true}, store.Effects{})
		return err
	},
	"remove": func(ctx context.Context, s *Store, was map[store.Path]store.Record, _ string) error {
		return s.Remove(ctx, "/empty", was["/empty/"].Version, store.Effects{})
	},
	"remove tree": func(ctx context.Context, s *Store, was map[store.Path]store.Record, _ string) error {
		if err := s.RemoveTree(ctx, "/a", was["/a/"].Version); err != nil {
			return err
		}
		_, err := s.Sweep(ctx, 10)
		return err
	},
	"rename": func(ctx context.Context, s *Store, was map[store.Path]store.Record, claim string) error {
		_, err := s.Rename(ctx, "/a/f", was["/a/f"].Version, "/b/t", was["/b/t"].Version, []byte("1,01_1 1,01_2"),
			store.Effects{Drops: []string{"t1"}, Uses: []store.Use{{Claim: claim, Index: 2}}})
		return err
	},
	"rename directory": func(ctx context.Context, s *Store, was map[store.Path]store.Record, _ string) error {
		_, err := s.Rename(ctx, "/a", was["/a/"].Version, "/b/in", 0, nil, store.Effects{})
		return err
	},
	"abandon": func(ctx context.Context, s *Store, _ map[store.Path]store.Record, claim string) error {
		return s.Abandon(ctx, []store.Use{{Claim: claim, Index: 2}, {Claim: claim, Index: 0}})
	},
	"release": func(ctx context.Context, s *Store, _ map[store.Path]store.Record, claim string) error {
		return s.ReleaseClaim(ctx, claim, 4)
	},
}

// plant makes a tree, and a claim of four fids of which one is used.
func plant(t *testing.T, s *Store, claim string) {
	t.Helper()
	for _, dir := range []store.Path{"/a", "/b", "/empty", "/a/d"} {
		mkdir(t, s, dir)
	}
	if err := s.AddClaim(t.Context(), store.Claim{ID: claim, Owner: "o", FID: "1,01", Count: 4}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "/a/f", 0, "1,01_1", store.Effects{Uses: []store.Use{{Claim: claim, Index: 1}}})
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
func writes(t *testing.T, cfg Config, change breakable) (n int, before, after map[store.Path]string) {
	t.Helper()
	const many = 1_000_000
	counter := &cutter{cut: make(chan struct{})}
	cfg.dialer = counter
	s := open(t, cfg)
	claim := newUUID().String()
	plant(t, s, claim)
	was, _ := tree(t, s)
	counter.arm(many, false)
	if err := change(t.Context(), s, was, claim); err != nil {
		t.Fatal(err)
	}
	s.calls.Wait() // what is done behind it, too
	counter.mu.Lock()
	n = many - counter.left
	counter.mu.Unlock()
	now, _ := tree(t, s)
	before, after = shape(was), shape(now)
	clearUp(t, s, claim)
	return n, before, after
}

// clearUp leaves a tree, a list of drops and one of claims that are empty.
func clearUp(t *testing.T, s *Store, claim string) {
	t.Helper()
	if err := s.ReleaseClaim(t.Context(), claim, 4); err != nil {
		t.Fatal(err)
	}
	empty(t, s)
	settleTrash(t, s)
	dropped(t, s, 100)
}

var crashCount = flag.Int("cassandra.crashes", 3, "in TestCrash, each of another change at random; 0 is one at each request of each change, before and after it")

// TestCrash ends filers in the middle of changes: the tree is as it was before or as it is after, nothing is lost,
// nothing leaks, and nothing stays in the way of others.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	cfg := newKeyspace(t)
	cfg.Patience = 50 * time.Millisecond
	s := open(t, cfg)
	changes := slices.Sorted(maps.Keys(crashes))
	if *crashCount > 0 {
		r.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		changes = changes[:min(*crashCount, len(changes))]
	}
	for _, what := range changes {
		n, before, after := writes(t, cfg, crashes[what])
		order := r.Perm(2 * n)
		if *crashCount > 0 {
			order = order[:1]
		}
		for _, at := range order {
			ok := t.Run(fmt.Sprintf("%s/%d of %d/%v", what, at/2, n, at%2 == 1), func(t *testing.T) {
				crash(t, s, crashes[what], at/2, at%2 == 1, before, after)
			})
			if !ok {
				return
			}
		}
	}
}

// crash ends a filer after a number of writes of a change, and lets s see what is left.
func crash(t *testing.T, s *Store, change breakable, at int, late bool, before, after map[store.Path]string) {
	claim := newUUID().String()
	plant(t, s, claim)
	was, _ := tree(t, s)
	c := &cutter{cut: make(chan struct{})}
	cfg := s.cfg
	cfg.dialer = c
	v := open(t, cfg)
	v.cfg.Timeout = 2 * time.Second // it does not try for long when it is cut off
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
	err := change(ctx, v, was, claim)
	now, _ := tree(t, s)
	if got := shape(now); !maps.Equal(got, before) && !maps.Equal(got, after) {
		t.Errorf("%v: the tree is %v, was %v and was to be %v", err, got, before, after)
	} else if err == nil && !maps.Equal(got, after) {
		t.Errorf("the tree is %v, and was changed to %v", got, after)
	}
	if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		t.Errorf("a filer that was cut off: %v", err)
	}
	if err := s.ReleaseClaim(t.Context(), claim, 4); err != nil {
		t.Error(err)
	}
	chunks := []string{"1,01", "1,01_1", "1,01_2", "1,01_3", "g1", "g2", "t1"}
	audit(t, s, chunks)
	empty(t, s)
	audit(t, s, chunks)
	if claims, err := s.Claims(t.Context()); err != nil || len(claims) > 0 {
		t.Errorf("%d claims, %v", len(claims), err)
	}
	clearUp(t, s, claim)
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
	return strings.Fields(string(rec.Value))
}
