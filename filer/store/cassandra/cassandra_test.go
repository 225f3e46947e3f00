package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/memory"
	"weed/internal/cassandratest"
)

func TestMain(m *testing.M) { os.Exit(cassandratest.Main(m)) }

// fids takes a value as words: the chunks of a test's records.
func fids(value []byte) ([]string, error) { return strings.Fields(string(value)), nil }

var keyspaces atomic.Int32

// newKeyspace returns the configuration of a tree of the test's own on the shared server.
func newKeyspace(t *testing.T) Config {
	t.Helper()
	server := cassandratest.Shared(t)
	return Config{Hosts: []string{server.Addr()}, Keyspace: fmt.Sprintf("weed_%d", keyspaces.Add(1)), CreateSchema: true, Timeout: time.Minute}
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, store.Options{FIDs: fids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// kindOf returns the kind of a failure.
func kindOf(err error) error {
	for _, kind := range []error{store.ErrNotFound, store.ErrNoParent, store.ErrNotDirectory, store.ErrIsDirectory, store.ErrNotEmpty,
		store.ErrConflict, store.ErrIntoItself, store.ErrClaimLost, store.ErrUnavailable, store.ErrClosed} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// names says what is in a listing.
func names(list []store.Record) (n []string) {
	for _, r := range list {
		n = append(n, fmt.Sprint(r.Name, r.Dir, string(r.Value)))
	}
	return n
}

// put puts a record that has to succeed.
func put(t *testing.T, s store.Store, path store.Path, was store.Version, value string, e store.Effects) store.Version {
	t.Helper()
	v, err := s.Put(t.Context(), path, was, store.Record{Value: []byte(value)}, e)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mkdir(t *testing.T, s store.Store, path store.Path) store.Version {
	t.Helper()
	v, err := s.Put(t.Context(), path, 0, store.Record{Dir: true}, store.Effects{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sweepAll sweeps until nothing is left, and returns how many records were swept.
func sweepAll(t *testing.T, s store.Store, limit int) (records int) {
	t.Helper()
	for {
		swept, err := s.Sweep(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		if records += swept.Records; !swept.More {
			return records
		}
	}
}

// dropped returns all drops by fid, and forgets them, page by page.
func dropped(t *testing.T, s store.Store, page int) map[string]int {
	t.Helper()
	all := map[string]int{}
	for after := ""; ; {
		list, err := s.Drops(t.Context(), after, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			all[d.FID]++
			if d.ID <= after {
				t.Fatalf("drop %s is behind %s", d.ID, after)
			}
			after = d.ID
		}
		if err := s.Dropped(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if len(list) < page {
			break
		}
	}
	if list, err := s.Drops(t.Context(), "", 10); err != nil || len(list) > 0 {
		t.Fatalf("after all: %d drops, %v", len(list), err)
	}
	return all
}

// operation is one of TestAgainstModel.
type operation struct {
	n, kind int
	p, q    store.Path
	stale   bool
	dir     bool
	use     store.Use
}

func randomPath(r *rand.Rand) (p store.Path) {
	for range 1 + r.IntN(3) {
		p += store.Path(fmt.Sprintf("/%c", 'a'+r.IntN(4)))
	}
	return p
}

// do carries a step out; what it says is the same with every store. Versions are looked up by path.
func (st operation) do(ctx context.Context, s store.Store) (string, error) {
	version := func(p store.Path) store.Version {
		rec, err := s.Find(ctx, p)
		if err != nil {
			return 0
		}
		return rec.Version
	}
	was, target := version(st.p), version(st.q)
	if st.stale {
		was += 1 << 40
	}
	switch st.kind {
	case 0, 1, 2:
		rec, e := store.Record{Dir: st.dir}, store.Effects{Drops: []string{fmt.Sprintf("d%d", st.n)}}
		if !st.dir {
			rec.Value, e.Uses = fmt.Appendf(nil, "f%d g%d", st.n, st.n), []store.Use{st.use}
		}
		_, err := s.Put(ctx, st.p, was, rec, e)
		return "put", err
	case 3:
		return "remove", s.Remove(ctx, st.p, was, store.Effects{Drops: []string{fmt.Sprintf("r%d", st.n)}})
	case 4, 5:
		_, err := s.Rename(ctx, st.p, was, st.q, target, nil, store.Effects{Drops: []string{fmt.Sprintf("m%d", st.n)}})
		return "rename", err
	case 6:
		if st.n%3 > 0 {
			return "", nil
		}
		return "tree", s.RemoveTree(ctx, st.p, was)
	case 7:
		return "abandon", s.Abandon(ctx, []store.Use{st.use})
	case 8:
		list, err := s.List(ctx, st.p, store.ListOptions{After: "b", Limit: 2, Inclusive: st.stale})
		return fmt.Sprint(names(list)), err
	default:
		list, err := s.List(ctx, "/", store.ListOptions{Limit: 100, Prefix: string(st.p[1:2])})
		return fmt.Sprint(names(list)), err
	}
}

// TestAgainstModel does the same at random with Cassandra and with the store in memory: both say the same.
func TestAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	c, m := open(t, newKeyspace(t)), memory.New(store.Options{FIDs: fids})
	both := []store.Store{c, m}
	for _, s := range both {
		if err := s.AddClaim(t.Context(), store.Claim{ID: "c", Owner: "o", FID: "1,01", Count: 500}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 200 {
		st := operation{n: n, kind: r.IntN(10), p: randomPath(r), q: randomPath(r), stale: r.IntN(8) == 0, dir: r.IntN(2) == 0,
			use: store.Use{Claim: "c", Index: r.IntN(520) - 5}}
		got, errC := st.do(t.Context(), c)
		want, errM := st.do(t.Context(), m)
		if got != want || kindOf(errC) != kindOf(errM) {
			t.Fatalf("seed %d, %+v: %s %v, want %s %v", seed, st, got, errC, want, errM)
		}
	}
	for _, s := range both {
		if err := s.ReleaseClaim(t.Context(), "c", 500); err != nil {
			t.Fatal(err)
		}
	}
	sweepAll(t, c, 3)
	sweepAll(t, m, 3)
	if got, want := dropped(t, c, 7), dropped(t, m, 7); !reflect.DeepEqual(got, want) {
		t.Errorf("seed %d: drops %v, want %v", seed, got, want)
	}
	if claims, err := c.Claims(t.Context()); err != nil || len(claims) != 0 {
		t.Errorf("%d claims, %v", len(claims), err)
	}
}
