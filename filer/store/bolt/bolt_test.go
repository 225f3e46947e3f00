package bolt

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, storetest.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}
