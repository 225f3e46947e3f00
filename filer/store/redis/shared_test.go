package redis

import (
	"context"
	"slices"
	"strings"
	"testing"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/redistest"
)

// TestShared lets two handles change one tree. When all is removed from it, the keys are gone that were made for it.
func TestShared(t *testing.T) {
	s := redistest.Start(t)
	storetest.RunShared(t, 1000, func(t *testing.T) (a, b store.Store) {
		prefix := t.Name() + ":"
		first := open(t, s, prefix)
		t.Cleanup(func() { noKeys(t, open(t, s, prefix)) })
		return first, open(t, s, prefix)
	})
}

// noKeys checks that a tree from which all was removed has left nothing.
func noKeys(t *testing.T, s *Store) {
	t.Helper()
	keys, err := s.client.Keys(context.Background(), s.prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !slices.Contains([]string{"format", "seq", "dropseq", "moves"}, strings.TrimPrefix(key, s.prefix)) {
			t.Errorf("key %q is left", key)
		}
	}
}

// TestLayout refuses a tree of another layout, and keeps trees of one server apart.
func TestLayout(t *testing.T) {
	ctx := t.Context()
	s := redistest.Start(t)
	one, two := open(t, s, "one:"), open(t, s, "two:")
	if _, err := one.Put(ctx, "/f", 0, store.Record{}, store.Effects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Find(ctx, "/f"); err == nil {
		t.Error("a file of another tree is found")
	}
	if err := one.client.Set(ctx, "one:format", "2", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Config{Addr: s.Addr(), Prefix: "one:"}, storetest.Options()); err == nil || !strings.Contains(err.Error(), `has layout "2"`) {
		t.Errorf("a tree of layout 2: %v", err)
	}
	open(t, s, "two:")
}

// TestWarnings tells of a server that does not keep what it acknowledges.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  []string // what the warnings hold
	}{
		{nil, nil},
		{[]string{"--appendfsync", "everysec"}, []string{"Set appendfsync to always"}},
		{[]string{"--appendonly", "no", "--appendfsync", "everysec"}, []string{"Set appendonly to yes"}},
		{[]string{"--maxmemory-policy", "allkeys-lru"}, []string{"Set maxmemory-policy to noeviction"}},
		{[]string{"--rename-command", "CONFIG", ""}, []string{"Redis does not tell"}},
	} {
		got := open(t, redistest.Start(t, c.flags...), "").Warnings(t.Context())
		if len(got) != len(c.want) || len(got) > 0 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("%q: %q, want %q", c.flags, got, c.want)
		}
	}
}
