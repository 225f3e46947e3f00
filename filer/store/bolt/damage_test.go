package bolt

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"weed/filer/store"
	"weed/filer/store/storetest"
)

// TestDamageStaysAlone: what can't be read fails the operations that need it, and no others.
func TestDamageStaysAlone(t *testing.T) {
	ctx := context.Background()
	unreadable := errors.New("unreadable")
	s, err := Open(t.TempDir(), store.Options{FIDs: func(v []byte) ([]string, error) {
		if string(v) == "bad" {
			return nil, unreadable
		}
		return storetest.Options().FIDs(v)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir, err := s.Put(ctx, "/d", 0, store.Record{Dir: true}, store.Effects{})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[store.Path]string{"/d/a": "f1", "/d/b": "bad", "/d/c": "f2"} {
		if _, err := s.Put(ctx, name, 0, store.Record{Value: []byte(value)}, store.Effects{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemoveTree(ctx, "/d", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(ctx, 10); !errors.Is(err, unreadable) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a sweep of a record that can't be read: %v", err)
	}
	if swept, err := s.Sweep(ctx, 10); err != nil || swept.More {
		t.Errorf("the next sweep: %+v, %v", swept, err)
	}
	if got := storetest.Dropped(t, s); len(got) != 2 || got["f1"] != 1 || got["f2"] != 1 {
		t.Errorf("drops %v", got)
	}

	err = s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketNames[claimsBucket]).Put([]byte("torn"), []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddClaim(ctx, store.Claim{ID: "", Count: 1}); err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim without ID: %v", err)
	}
	if _, err := s.SetSetting(ctx, "", 0, nil); err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a setting without name: %v", err)
	}
	if err := s.Abandon(ctx, []store.Use{{Claim: "torn"}}); err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim that can't be read: %v", err)
	}
	if err := s.AddDrops(ctx, []string{"f3"}); err != nil {
		t.Error(err)
	}
}

// TestLaterFormat: a file of a later format is refused.
func TestLaterFormat(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, key64(format+1)) })
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), "format is 3") {
		t.Errorf("a file of a later format: %v", err)
	}
}
