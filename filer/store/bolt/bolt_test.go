package bolt

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

// fids takes a value as words: the chunks of a test's records.
func fids(value []byte) ([]string, error) { return strings.Fields(string(value)), nil }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, store.Options{FIDs: fids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestAgainstModel does the same at random with bolt and with the store in memory: both say the same.
func TestAgainstModel(t *testing.T) {
	ctx := context.Background()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	b, m := open(t, dir), memory.New(store.Options{FIDs: fids})
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
	next := 0
	for _, s := range []store.Store{b, m} {
		if err := s.AddClaim(ctx, store.Claim{ID: "c", Owner: "o", FID: "1,01", Count: 500}); err != nil {
			t.Fatal(err)
		}
	}
	for step := range 1500 {
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
		if step%500 == 499 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, dir)
		}
		next++
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
	if got, want := dropped(t, b), dropped(t, m); !reflect.DeepEqual(got, want) {
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

// dropped returns all drops by fid, and forgets them.
func dropped(t *testing.T, s store.Store) map[string]int {
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

func TestSettingsAndEnd(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := open(t, dir)
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
	if err := s.RenewClaims(ctx, "o", time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), "another filer") {
		t.Errorf("a store that is in use: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	_, err = s.Find(ctx, "/x")
	if !errors.Is(err, store.ErrClosed) || !errors.Is(s.AddDrops(ctx, nil), store.ErrClosed) || !errors.Is(s.Ping(ctx), store.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	s = open(t, dir)
	if v, again, err := s.Setting(ctx, "x"); string(v) != "one" || again != n || err != nil {
		t.Errorf("%q, %d, %v", v, again, err)
	}
}
