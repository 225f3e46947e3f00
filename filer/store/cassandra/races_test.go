package cassandra

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/cassandratest"
)

// TestShared lets two filers change one tree, in few steps as TestStore does. When all is removed, no record is left.
func TestShared(t *testing.T) {
	var trees []Config
	storetest.RunShared(t, 40, func(t *testing.T) (a, b store.Store) {
		cfg := newKeyspace(t)
		trees = append(trees, cfg)
		return open(t, cfg), open(t, cfg)
	})
	for _, cfg := range trees {
		noOrphans(t, open(t, cfg))
	}
}

// racer is one client of TestRaces.
type racer struct {
	s      *Store
	r      *rand.Rand
	prefix string
	chunks []string // that its records referred to at some time
}

// once does something at random with a few paths that all racers use. Unknown outcomes are not expected of a server
// that is well.
func (c *racer) once(t *testing.T, n int) error {
	p, q := randomPath(c.r), randomPath(c.r)
	at := func(p store.Path) (rec store.Record) { rec, _ = c.s.Find(t.Context(), p); return rec }
	a, b := at(p), at(q)
	fids := strings.Fields(string(a.Value))
	switch kind := c.r.IntN(12); {
	case kind < 3:
		_, err := c.s.Put(t.Context(), p, 0, store.Record{Dir: true}, store.Effects{})
		return err
	case kind < 6:
		fid := fmt.Sprintf("%s-%d", c.prefix, n)
		_, err := c.s.Put(t.Context(), p, a.Version, store.Record{Value: []byte(fid)}, store.Effects{Drops: fids})
		if err == nil {
			c.chunks = append(c.chunks, fid)
		}
		return err
	case kind < 8:
		return c.s.Remove(t.Context(), p, a.Version, store.Effects{Drops: fids})
	case kind < 11:
		drops := strings.Fields(string(b.Value))
		if p == q {
			drops = nil // it stays
		}
		_, err := c.s.Rename(t.Context(), p, a.Version, q, b.Version, nil, store.Effects{Drops: drops})
		return err
	default:
		if len(p) > 2 {
			return c.s.RemoveTree(t.Context(), p, a.Version)
		}
		_, err := c.s.Sweep(t.Context(), 5)
		return err
	}
}

var nodes = flag.Int("cassandra.nodes", 1, "of the cluster in TestRaces; if there are more, records have three copies, and one node after the other is killed")

// TestRaces lets clients of two filers change the same few paths, and looks for orphans, and for chunks that are lost
// or leaked.
func TestRaces(t *testing.T) {
	cfg, dies := newCluster(t)
	seed := uint64(time.Now().UnixNano())
	filers := []*Store{open(t, cfg), open(t, cfg)}
	racers := make([]racer, 4)
	var group sync.WaitGroup
	for i := range racers {
		racers[i] = racer{s: filers[i%2], r: rand.New(rand.NewPCG(seed, uint64(i))), prefix: fmt.Sprint(i)}
		group.Go(func() {
			for n := range 60 * *nodes {
				if err := racers[i].once(t, n); errors.Is(err, store.ErrUnavailable) && *nodes == 1 || kindOf(err) == err && err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	dies()
	group.Wait()
	var chunks []string
	for i := range racers {
		chunks = append(chunks, racers[i].chunks...)
	}
	audit(t, filers[0], chunks)
	records, _ := tree(t, filers[0])
	t.Logf("%d records, %d chunks", len(records), len(chunks))
}

// newCluster returns the configuration of a tree in a cluster of so many nodes as the flag says, and what kills and
// restarts one after the other.
func newCluster(t *testing.T) (cfg Config, dies func()) {
	t.Helper()
	if *nodes == 1 {
		return newKeyspace(t), func() {}
	}
	servers := cassandratest.StartCluster(t, *nodes)
	cfg = Config{Keyspace: "weed_copies", CreateSchema: true, Timeout: time.Minute,
		Replication: fmt.Sprintf("{'class': 'SimpleStrategy', 'replication_factor': %d}", min(3, *nodes))}
	for _, s := range servers {
		cfg.Hosts = append(cfg.Hosts, s.Addr())
	}
	return cfg, func() {
		for _, s := range servers {
			s.Kill()
			if err := s.Restart(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestNoCycle lets two filers move two directories into each other.
func TestNoCycle(t *testing.T) {
	cfg := newKeyspace(t)
	filers := []*Store{open(t, cfg), open(t, cfg)}
	for n := range 4 {
		paths := []store.Path{store.Path(fmt.Sprintf("/x%d", n)), store.Path(fmt.Sprintf("/y%d", n))}
		versions := make([]store.Version, len(paths))
		for i, p := range paths {
			versions[i] = mkdir(t, filers[0], p)
			put(t, filers[0], p+"/f", 0, "", store.Effects{})
		}
		errs := make([]error, len(filers))
		var group sync.WaitGroup
		for i, s := range filers {
			group.Go(func() {
				_, errs[i] = s.Rename(t.Context(), paths[i], versions[i], paths[1-i]+"/in", 0, nil, store.Effects{})
			})
		}
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("%v and %v", errs[0], errs[1])
		}
	}
	noOrphans(t, filers[1])
}
