package cassandra

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/filer/store"
)

// TestOneWinner lets two filers do the same thing at once: one of them does it.
func TestOneWinner(t *testing.T) {
	cfg := newKeyspace(t)
	filers := []*Store{open(t, cfg), open(t, cfg)}
	both := func(what string, do func(*Store) error) {
		t.Helper()
		errs := make([]error, len(filers))
		var group sync.WaitGroup
		for i, s := range filers {
			group.Go(func() { errs[i] = do(s) })
		}
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("%s: %v and %v", what, errs[0], errs[1])
		}
	}
	ctx := t.Context()
	for n := range 5 {
		a, b := store.Path(fmt.Sprintf("/a%d", n)), store.Path(fmt.Sprintf("/b%d", n))
		both("create", func(s *Store) error {
			_, err := s.Put(ctx, a, 0, store.Record{Dir: true}, store.Effects{})
			return err
		})
		v := put(t, filers[0], a+"/f", 0, "x", store.Effects{})
		both("change", func(s *Store) error {
			_, err := s.Put(ctx, a+"/f", v, store.Record{Value: []byte("y")}, store.Effects{})
			return err
		})
		mkdir(t, filers[1], b)
		rec, err := filers[1].Find(ctx, a+"/f")
		if err != nil {
			t.Fatal(err)
		}
		both("rename", func(s *Store) error {
			_, err := s.Rename(ctx, a+"/f", rec.Version, b+"/f", 0, nil, store.Effects{})
			return err
		})
		if rec, err = filers[0].Find(ctx, a); err != nil {
			t.Fatal(err)
		}
		both("create in and remove", func(s *Store) error {
			if s == filers[0] {
				return s.Remove(ctx, a, rec.Version, store.Effects{})
			}
			_, err := s.Put(ctx, a+"/new", 0, store.Record{}, store.Effects{})
			return err
		})
	}
	audit(t, filers[0], nil)
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
		_, err := c.s.Rename(t.Context(), p, a.Version, q, b.Version, nil, store.Effects{Drops: strings.Fields(string(b.Value))})
		return err
	default:
		if len(p) > 2 {
			return c.s.RemoveTree(t.Context(), p, a.Version)
		}
		_, err := c.s.Sweep(t.Context(), 5)
		return err
	}
}

// TestRaces lets clients of two filers change the same few paths, and looks for orphans, and for chunks that are lost
// or leaked.
func TestRaces(t *testing.T) {
	cfg := newKeyspace(t)
	seed := uint64(time.Now().UnixNano())
	filers := []*Store{open(t, cfg), open(t, cfg)}
	racers := make([]racer, 4)
	var group sync.WaitGroup
	for i := range racers {
		racers[i] = racer{s: filers[i%2], r: rand.New(rand.NewPCG(seed, uint64(i))), prefix: fmt.Sprint(i)}
		group.Go(func() {
			for n := range 60 {
				if err := racers[i].once(t, n); errors.Is(err, store.ErrUnavailable) || kindOf(err) == err && err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	group.Wait()
	var chunks []string
	for i := range racers {
		chunks = append(chunks, racers[i].chunks...)
	}
	audit(t, filers[0], chunks)
	records, _ := tree(t, filers[0])
	t.Logf("%d records, %d chunks", len(records), len(chunks))
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
