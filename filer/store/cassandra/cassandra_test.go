package cassandra

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/cassandratest"
)

func TestMain(m *testing.M) { os.Exit(cassandratest.Main(m)) }

var keyspaces atomic.Int32

// newKeyspace returns the configuration of a tree of the test's own on the shared server.
func newKeyspace(t *testing.T) Config {
	t.Helper()
	server := cassandratest.Shared(t)
	return Config{Hosts: []string{server.Addr()}, Keyspace: fmt.Sprintf("weed_%d", keyspaces.Add(1)), CreateSchema: true, Timeout: time.Minute}
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, storetest.Options())
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

func randomPath(r *rand.Rand) (p store.Path) {
	for range 1 + r.IntN(3) {
		p += store.Path(fmt.Sprintf("/%c", 'a'+r.IntN(4)))
	}
	return p
}

var steps = flag.Int("cassandra.steps", 100, "at random in TestStore; other stores have 1000")

// TestStore has fewer steps than other stores have: each takes some transactions.
func TestStore(t *testing.T) {
	storetest.RunSteps(t, *steps, func(t *testing.T) store.Store { return open(t, newKeyspace(t)) })
}
