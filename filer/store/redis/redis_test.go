package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/redistest"
)

// open opens the tree below a prefix, as soon as the server answers.
func open(t *testing.T, s *redistest.Server, prefix string) *Store {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-look.C {
		st, err := Open(context.Background(), Config{Addr: s.Addr(), Prefix: prefix}, storetest.Options())
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
			return st
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestStore(t *testing.T) {
	s := redistest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, s, t.Name()+":") })
}

// TestServerIsKilled: calls fail in bounded time, and what was answered is there when the server is back.
func TestServerIsKilled(t *testing.T) {
	ctx := context.Background()
	s := redistest.Start(t)
	st := open(t, s, "")
	v, err := st.Put(ctx, "/f", 0, store.Record{Value: []byte("v")}, store.Effects{Drops: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if _, err := st.Find(ctx, "/f"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while the server is down: %v", err)
	}
	s.Restart()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(30 * time.Second); st.Ping(ctx) != nil && time.Now().Before(deadline); <-look.C {
	}
	if rec, err := st.Find(ctx, "/f"); err != nil || rec.Version != v || string(rec.Value) != "v" {
		t.Errorf("%+v, %v", rec, err)
	}
	if drops := storetest.Dropped(t, st); drops["d"] != 1 {
		t.Errorf("drops %v", drops)
	}
}
