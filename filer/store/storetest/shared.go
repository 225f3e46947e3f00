package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/filer/store"
)

// RunShared tests what a store promises to several filers: open returns two handles on one empty tree, and closes them
// at the end of the test. Each of four racers takes so many steps at random. At the end the tree is empty again.
func RunShared(t *testing.T, steps int, open func(t *testing.T) (a, b store.Store)) {
	t.Run("one wins", func(t *testing.T) {
		a, b := open(t)
		oneWins(t, max(1, steps/50), a, b)
	})
	t.Run("races", func(t *testing.T) {
		a, b := open(t)
		races(t, steps, a, b)
	})
}

// oneWins lets both handles do the same at once: one of them does it, and both see that.
func oneWins(t *testing.T, rounds int, handles ...store.Store) {
	ctx := t.Context()
	both := func(what string, do func(i int, s store.Store) error) {
		t.Helper()
		errs := make([]error, len(handles))
		var group sync.WaitGroup
		for i, s := range handles {
			group.Go(func() { errs[i] = do(i, s) })
		}
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("%s: %v and %v", what, errs[0], errs[1])
		}
	}
	find := func(path store.Path) store.Version {
		t.Helper()
		first, err := handles[0].Find(ctx, path)
		second, err2 := handles[1].Find(ctx, path)
		if err := errors.Join(err, err2); err != nil || first.Version != second.Version || string(first.Value) != string(second.Value) {
			t.Fatalf("%s: %+v and %+v, %v", path, first, second, err)
		}
		return first.Version
	}
	put := func(s store.Store, path store.Path, was store.Version, dir bool, value string) error {
		_, err := s.Put(ctx, path, was, store.Record{Dir: dir, Value: []byte(value)}, store.Effects{})
		return err
	}
	for range rounds {
		both("make a directory", func(_ int, s store.Store) error { return put(s, "/a", 0, true, "") })
		both("create", func(i int, s store.Store) error { return put(s, "/a/f", 0, false, fmt.Sprint(i)) })
		f := find("/a/f")
		both("change", func(i int, s store.Store) error { return put(s, "/a/f", f, false, fmt.Sprint(i)) })
		f = find("/a/f")
		both("rename", func(i int, s store.Store) error {
			_, err := s.Rename(ctx, "/a/f", f, store.Path(fmt.Sprintf("/f%d", i)), 0, nil, store.Effects{})
			return err
		})
		a := find("/a")
		both("create in and remove", func(i int, s store.Store) error {
			if i == 0 {
				return s.Remove(ctx, "/a", a, store.Effects{})
			}
			return put(s, "/a/new", 0, false, "")
		})
		clear(t, handles[1])
	}
}

// racer is one client of races.
type racer struct {
	s     store.Store
	r     *rand.Rand
	claim store.Claim
	next  int // of the claim
}

// fid returns the i-th fid of the racer's claim.
func (c *racer) fid(i int) string {
	if i == 0 {
		return c.claim.FID
	}
	return fmt.Sprintf("%s_%d", c.claim.FID, i)
}

// once does something at random with a few paths that all racers use.
func (c *racer) once(ctx context.Context) error {
	at := func(p store.Path) (rec store.Record) { rec, _ = c.s.Find(ctx, p); return rec }
	p, q := somePath(c.r), somePath(c.r)
	for q == p {
		q = somePath(c.r)
	}
	a, b := at(p), at(q)
	fids := strings.Fields(string(a.Value))
	switch c.r.IntN(14) {
	case 0, 1, 2:
		_, err := c.s.Put(ctx, p, 0, store.Record{Dir: true}, store.Effects{})
		return err
	case 3, 4, 5, 6:
		use := c.next
		c.next++
		_, err := c.s.Put(ctx, p, a.Version, store.Record{Value: []byte(c.fid(use))},
			store.Effects{Drops: fids, Uses: []store.Use{{Claim: c.claim.ID, Index: use}}})
		if err != nil && c.r.IntN(2) == 0 { // else it is left to the release
			return errors.Join(err, c.s.Abandon(ctx, []store.Use{{Claim: c.claim.ID, Index: use}}))
		}
		return err
	case 7, 8:
		return c.s.Remove(ctx, p, a.Version, store.Effects{Drops: fids})
	case 9, 10, 11:
		_, err := c.s.Rename(ctx, p, a.Version, q, b.Version, nil, store.Effects{Drops: strings.Fields(string(b.Value))})
		return err
	case 12:
		if len(p) > 2 {
			return c.s.RemoveTree(ctx, p, a.Version)
		}
		_, err := c.s.Sweep(ctx, 5)
		return err
	default: // as if it had not been renewed
		if c.r.IntN(10) == 0 {
			return c.s.ReleaseClaim(ctx, c.claim.ID, c.claim.Count)
		}
		_, err := c.s.Drops(ctx, "", 10)
		return err
	}
}

func somePath(r *rand.Rand) (p store.Path) {
	for range 1 + r.IntN(3) {
		p += store.Path(fmt.Sprintf("/%c", 'a'+r.IntN(3)))
	}
	return p
}

// races lets clients of both handles change the same few paths, with claims that are released under them. Afterwards
// each chunk is referred to by one record, or is a drop, once.
func races(t *testing.T, steps int, a, b store.Store) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())
	racers := make([]racer, 4)
	var group sync.WaitGroup
	for i := range racers {
		c := &racers[i]
		*c = racer{s: []store.Store{a, b}[i%2], r: rand.New(rand.NewPCG(seed, uint64(i))),
			claim: store.Claim{ID: fmt.Sprintf("claim%d", i), Owner: "o", FID: fmt.Sprintf("%d,01", i+1), Count: min(steps, store.MaxClaimFIDs)}}
		if err := c.s.AddClaim(ctx, c.claim); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for range min(steps, store.MaxClaimFIDs) {
				if err := c.once(ctx); errors.Is(err, store.ErrUnavailable) || err != nil && !slices.Contains(kinds, kindOf(err)) {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	group.Wait()
	for _, c := range racers {
		if err := b.ReleaseClaim(ctx, c.claim.ID, c.claim.Count); err != nil {
			t.Error(err)
		}
	}
	sweep(t, a)
	refs := make(map[string]int)
	references(t, b, "/", refs)
	drops := Dropped(t, b)
	for _, c := range racers {
		for i := range c.claim.Count {
			if fid := c.fid(i); refs[fid]+drops[fid] != 1 {
				t.Errorf("seed %d: %d records refer to %s, and it was dropped %d times", seed, refs[fid], fid, drops[fid])
			}
		}
	}
	if claims, err := a.Claims(ctx); err != nil || len(claims) > 0 {
		t.Errorf("%d claims are left, %v", len(claims), err)
	}
	clear(t, a)
}

// references counts the records below a directory, whose path ends in "/", that refer to a chunk.
func references(t *testing.T, s store.Store, dir store.Path, refs map[string]int) {
	t.Helper()
	list, err := s.List(t.Context(), max("/", dir[:len(dir)-1]), store.ListOptions{Limit: store.MaxListLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Dir {
			references(t, s, dir+store.Path(r.Name)+"/", refs)
		}
		for _, fid := range strings.Fields(string(r.Value)) {
			refs[fid]++
		}
	}
}

// sweep sweeps until nothing is left.
func sweep(t *testing.T, s store.Store) {
	t.Helper()
	for more := true; more; {
		swept, err := s.Sweep(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		more = swept.More
	}
}

// clear removes all that there is, and forgets the drops.
func clear(t *testing.T, s store.Store) {
	t.Helper()
	list, err := s.List(t.Context(), "/", store.ListOptions{Limit: store.MaxListLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		path := store.Path("/" + r.Name)
		if r.Dir {
			err = s.RemoveTree(t.Context(), path, r.Version)
		} else {
			err = s.Remove(t.Context(), path, r.Version, store.Effects{Drops: strings.Fields(string(r.Value))})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sweep(t, s)
	Dropped(t, s)
}
