// Package storetest is what every store.Store has to pass.
//
//	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/memory"
)

// Options are those that the store under test is opened with: a value is words, each the fid of a chunk.
func Options() store.Options {
	return store.Options{FIDs: func(value []byte) ([]string, error) { return strings.Fields(string(value)), nil }}
}

// Run tests stores: open returns an empty one each time, and closes it at the end of the test.
func Run(t *testing.T, open func(t *testing.T) store.Store) { RunSteps(t, 1000, open) }

// RunSteps is Run with so many steps at random, for stores that take long for each.
func RunSteps(t *testing.T, steps int, open func(t *testing.T) store.Store) {
	for name, test := range map[string]func(*testing.T, store.Store){
		"model": func(t *testing.T, s store.Store) { model(t, s, steps) }, "race": race, "claims": claims, "settings": settings, "list": list, "moves": moves,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// model does the same at random with a store and with the one in memory: both say the same.
func model(t *testing.T, b store.Store, steps int) {
	ctx := context.Background()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	m := memory.New(Options())
	// Versions differ between the two: each step looks them up by path.
	version := func(s store.Store, p store.Path) (store.Version, bool) {
		rec, err := s.Find(ctx, p)
		return rec.Version, err == nil
	}
	path := func() store.Path {
		p := store.Path("")
		for range 1 + r.IntN(3) {
			p += store.Path(fmt.Sprintf("/%c", 'a'+r.IntN(4)))
		}
		return p
	}
	for _, s := range []store.Store{b, m} {
		if err := s.AddClaim(ctx, store.Claim{ID: "c", Owner: "o", FID: "1,01", Count: 500}); err != nil {
			t.Fatal(err)
		}
	}
	for step := range steps {
		p, q, kind, stale := path(), path(), r.IntN(9), r.IntN(8) == 0
		value := []byte(fmt.Sprintf("f%d g%d", step, step))
		isDir := r.IntN(2) == 0
		use := store.Use{Claim: "c", Index: r.IntN(520) - 5}
		do := func(s store.Store) (string, error) {
			was, _ := version(s, p)
			target, _ := version(s, q)
			if stale {
				was += 1 << 40
			}
			switch kind {
			case 0, 1, 2:
				e := store.Effects{Drops: []string{fmt.Sprintf("d%d", step)}}
				if !isDir {
					e.Uses = []store.Use{use}
				} else {
					value = nil
				}
				_, err := s.Put(ctx, p, was, store.Record{Dir: isDir, Value: value}, e)
				return "put", err
			case 3:
				return "remove", s.Remove(ctx, p, was, store.Effects{Drops: []string{"r"}})
			case 4:
				return "rename", func() error { _, err := s.Rename(ctx, p, was, q, target, nil, store.Effects{}); return err }()
			case 5:
				if step%3 > 0 {
					return "", nil
				}
				return "tree", s.RemoveTree(ctx, p, was)
			case 6:
				return "abandon", s.Abandon(ctx, []store.Use{use})
			case 7:
				list, err := s.List(ctx, p, store.ListOptions{After: "b", Limit: 2, Inclusive: stale})
				return fmt.Sprint(names(list)), err
			default:
				list, err := s.List(ctx, "/", store.ListOptions{Limit: 100, Prefix: string(p[1:2])})
				return fmt.Sprint(names(list)), err
			}
		}
		was, errB := do(b)
		want, errM := do(m)
		if was != want || kindOf(errB) != kindOf(errM) {
			t.Fatalf("seed %d, step %d, %s %s: %s %v, want %s %v", seed, step, p, q, was, errB, want, errM)
		}
	}
	for _, s := range []store.Store{b, m} {
		if err := s.ReleaseClaim(ctx, "c", 500); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			swept, err := s.Sweep(ctx, 3)
			if err != nil {
				t.Fatal(err)
			}
			more = swept.More
		}
	}
	if got, want := Dropped(t, b), Dropped(t, m); !reflect.DeepEqual(got, want) {
		t.Errorf("seed %d: drops %v, want %v", seed, got, want)
	}
	if claims, err := b.Claims(ctx); err != nil || len(claims) != 0 {
		t.Errorf("%d claims, %v", len(claims), err)
	}
}

func names(list []store.Record) (n []string) {
	for _, r := range list {
		n = append(n, fmt.Sprint(r.Name, r.Dir, string(r.Value)))
	}
	return n
}

func kindOf(err error) error {
	for _, kind := range []error{store.ErrNotFound, store.ErrNoParent, store.ErrNotDirectory, store.ErrIsDirectory, store.ErrNotEmpty,
		store.ErrConflict, store.ErrIntoItself, store.ErrClaimLost, store.ErrUnavailable, store.ErrClosed} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// Dropped returns all drops by fid, and forgets them.
func Dropped(t *testing.T, s store.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	for after := ""; ; {
		list, err := s.Drops(context.Background(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return all
		}
		for _, d := range list {
			all[d.FID]++
		}
		after = list[len(list)-1].ID
		if err := s.Dropped(context.Background(), list); err != nil {
			t.Fatal(err)
		}
	}
}

// race lets callers create, move and remove one path at once: each step has one winner, and what is below goes along.
func race(t *testing.T, s store.Store) {
	ctx := context.Background()
	for range 20 {
		made := together(func() error {
			_, err := s.Put(ctx, "/d", 0, store.Record{Dir: true}, store.Effects{})
			return err
		})
		if made != 1 {
			t.Fatalf("%d made one directory", made)
		}
		d, err := s.Find(ctx, "/d")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, "/d/f", 0, store.Record{Value: []byte("f")}, store.Effects{}); err != nil {
			t.Fatal(err)
		}
		gone := together(
			func() error { return s.RemoveTree(ctx, "/d", d.Version) },
			func() error { _, err := s.Rename(ctx, "/d", d.Version, "/e", 0, nil, store.Effects{}); return err },
		)
		if gone != 1 {
			t.Fatalf("%d took one directory away", gone)
		}
		if e, err := s.Find(ctx, "/e"); err == nil {
			if _, err := s.Find(ctx, "/e/f"); err != nil {
				t.Error(err)
			}
			if err := s.RemoveTree(ctx, "/e", e.Version); err != nil {
				t.Error(err)
			}
		}
		if left, err := s.List(ctx, "/", store.ListOptions{Limit: 10}); err != nil || len(left) > 0 {
			t.Fatalf("%v, %v is left", left, err)
		}
	}
}

// together calls each of the functions twice, all at once, and returns how many succeeded.
func together(calls ...func() error) (won int) {
	results := make(chan error)
	for _, call := range append(calls, calls...) {
		go func() { results <- call() }()
	}
	for range 2 * len(calls) {
		if <-results == nil {
			won++
		}
	}
	return won
}

func claims(t *testing.T, s store.Store) {
	ctx := context.Background()
	until := time.Now().Add(time.Hour).Round(time.Second)
	if err := s.AddClaim(ctx, store.Claim{ID: "c", Owner: "o", FID: "1,01", Count: 4, Until: until}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddClaim(ctx, store.Claim{ID: "c", Owner: "p", FID: "2,01", Count: 4}); err == nil {
		t.Error("two claims have one ID")
	}
	later := until.Add(time.Hour)
	if err := errors.Join(s.RenewClaims(ctx, "o", later), s.RenewClaims(ctx, "p", until)); err != nil {
		t.Error(err)
	}
	got, err := s.Claims(ctx)
	if err != nil || len(got) != 1 || !got[0].Until.Equal(later) || got[0].FID != "1,01" || got[0].Count != 4 || got[0].Owner != "o" {
		t.Errorf("%+v, %v", got, err)
	}
	uses := store.Effects{Uses: []store.Use{{Claim: "c", Index: 1}}}
	if _, err := s.Put(ctx, "/f", 0, store.Record{}, uses); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(ctx, "/g", 0, store.Record{}, uses); !errors.Is(err, store.ErrClaimLost) {
		t.Errorf("a fid that is used: %v", err)
	}
	if err := errors.Join(s.Abandon(ctx, []store.Use{{Claim: "c", Index: 0}, {Claim: "c", Index: 0}, {Claim: "x"}}),
		s.ReleaseClaim(ctx, "c", 3), s.ReleaseClaim(ctx, "c", 3)); err != nil {
		t.Error(err)
	}
	if drops := Dropped(t, s); !reflect.DeepEqual(drops, map[string]int{"1,01": 1, "1,01_2": 1}) {
		t.Errorf("drops %v", drops)
	}
	lost := store.Effects{Uses: []store.Use{{Claim: "c", Index: 3}}}
	if _, err := s.Put(ctx, "/g", 0, store.Record{}, lost); !errors.Is(err, store.ErrClaimLost) {
		t.Errorf("a claim that was released: %v", err)
	}
}

func settings(t *testing.T, s store.Store) {
	ctx := context.Background()
	if v, n, err := s.Setting(ctx, "x"); v != nil || n != 0 || err != nil {
		t.Errorf("%q, %d, %v", v, n, err)
	}
	n, err := s.SetSetting(ctx, "x", 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetSetting(ctx, "x", 0, nil); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
	if v, again, err := s.Setting(ctx, "x"); string(v) != "one" || again != n || err != nil {
		t.Errorf("%q, %d, %v", v, again, err)
	}
	if err := errors.Join(s.Ping(ctx), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Find(ctx, "/x"); !errors.Is(err, store.ErrClosed) || !errors.Is(s.AddDrops(ctx, []string{"f"}), store.ErrClosed) ||
		!errors.Is(s.Ping(ctx), store.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// list reads directories page by page, with names of any bytes.
func list(t *testing.T, s store.Store) {
	ctx := context.Background()
	want := []string{"\x01", "a", "a b", "a%", "a\xff", "b", "b\x80\xff", "\xff", "\xff\xff"}
	for _, name := range want {
		if _, err := s.Put(ctx, store.Path("/"+name), 0, store.Record{}, store.Effects{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		opts store.ListOptions
		want []string
	}{
		{store.ListOptions{Limit: 100}, want},
		{store.ListOptions{Limit: 2, After: "a"}, want[2:4]},
		{store.ListOptions{Limit: 2, After: "a", Inclusive: true}, want[1:3]},
		{store.ListOptions{Limit: 100, Prefix: "a"}, want[1:5]},
		{store.ListOptions{Limit: 100, Prefix: "a", After: "a b"}, want[3:5]},
		{store.ListOptions{Limit: 100, Prefix: "a", After: "b"}, nil},
		{store.ListOptions{Limit: 100, Prefix: "\xff"}, want[7:]},
	} {
		list, err := s.List(ctx, "/", c.opts)
		var got []string
		for _, r := range list {
			got = append(got, r.Name)
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %q, %v, want %q", c.opts, got, err, c.want)
		}
	}
}

// moves renames a file and a directory, within a directory and into another one.
func moves(t *testing.T, s store.Store) {
	ctx := context.Background()
	last := uint64(0)
	number := func() uint64 {
		t.Helper()
		n, err := s.Moves(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for path, dir := range map[store.Path]bool{"/a": true, "/b": true, "/f": false} {
		if _, err := s.Put(ctx, path, 0, store.Record{Dir: dir}, store.Effects{}); err != nil {
			t.Fatal(err)
		}
	}
	last = number()
	for _, m := range [][2]store.Path{{"/f", "/g"}, {"/g", "/a/g"}, {"/a", "/b/a"}, {"/b/a/g", "/b/a/f"}} {
		rec, err := s.Find(ctx, m[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rename(ctx, m[0], rec.Version, m[1], 0, nil, store.Effects{}); err != nil {
			t.Fatal(err)
		}
		now := number()
		if now == last {
			t.Errorf("%s was moved to %s, and the number is still %d", m[0], m[1], now)
		}
		if last = now; number() != now {
			t.Error("the number changes by itself")
		}
	}
	if err := s.Remove(ctx, "/b/a/f", find(t, s, "/b/a/f").Version, store.Effects{}); err != nil || number() != last {
		t.Errorf("a removal counts as a move, or failed: %v", err)
	}
}

func find(t *testing.T, s store.Store, path store.Path) store.Record {
	t.Helper()
	rec, err := s.Find(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}
