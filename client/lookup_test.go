package client

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLookupIsCachedUntilItsTTL(t *testing.T) {
	m := &fakeMaster{}
	m.place("3", "a:1", "b:2")
	c, clock := newTestClient(t, Config{Masters: []string{m.serve(t)}, LookupTTL: time.Minute})
	for range 3 {
		locs, err := c.Lookup(bg, 3)
		if err != nil || len(locs) != 2 || locs[0].URL != "a:1" {
			t.Fatalf("Lookup = %v, %v", locs, err)
		}
	}
	if n := m.lookupCount(); n != 1 {
		t.Errorf("%d lookups within the TTL, want 1", n)
	}
	clock.Advance(61 * time.Second)
	if _, err := c.Lookup(bg, 3); err != nil || m.lookupCount() != 2 {
		t.Errorf("after the TTL: %v, %d lookups", err, m.lookupCount())
	}
	if _, err := c.Lookup(bg, 4); !errors.Is(err, ErrNotFound) {
		t.Errorf("Lookup of an unknown volume = %v", err)
	}
}

func TestLookupIsAskedOnce(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-release
		writeJSON(w, 200, map[string]any{"locations": []Location{{URL: "a:1"}}})
	})
	c, _ := newTestClient(t, Config{Masters: []string{addr}})
	var wg sync.WaitGroup
	started := make(chan struct{}, 32)
	for range 32 {
		wg.Go(func() {
			started <- struct{}{}
			if _, err := c.Lookup(bg, 3); err != nil {
				t.Error(err)
			}
		})
	}
	for range 32 {
		<-started
	}
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func TestLookupCacheIsBounded(t *testing.T) {
	m := &fakeMaster{}
	for _, v := range []string{"1", "2", "3", "4", "5"} {
		m.place(v, "a:1")
	}
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}, LookupEntries: 3})
	for v := range uint32(5) {
		if _, err := c.Lookup(bg, v+1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.lookups.entries); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
}

func TestLookupIsInvalidated(t *testing.T) {
	holder := &fakeVolume{}
	holder.put(fid1, "content")
	holderAddr := holder.serve(t)
	empty := &fakeVolume{}
	for name, wrong := range map[string]string{"404": empty.serve(t), "connection failure": deadAddr(t)} {
		m := &fakeMaster{}
		m.place("3", wrong)
		c, clock := newTestClient(t, Config{Masters: []string{m.serve(t)}})
		if _, err := c.Lookup(bg, 3); err != nil {
			t.Fatal(err)
		}
		m.place("3", holderAddr) // the volume has moved since
		clock.Advance(2 * time.Second)
		if got, _, err := c.Get(bg, fid1, nil); err != nil || string(got) != "content" {
			t.Errorf("%s: Get = %q, %v", name, got, err)
		}
		if n := m.lookupCount(); n != 2 {
			t.Errorf("%s: %d lookups, want 2", name, n)
		}
	}
}

// Reads of blobs that are not there must not ask the masters each time.
func TestMissesDoNotFloodTheMasters(t *testing.T) {
	empty := &fakeVolume{}
	m := &fakeMaster{}
	m.place("3", empty.serve(t))
	c, clock := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	for range 50 {
		clock.Advance(time.Millisecond)
		if _, _, err := c.Get(bg, fid1, nil); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := m.lookupCount(); n != 1 {
		t.Errorf("%d lookups, want 1", n)
	}
}

func TestReadsRotateOverTheReplicas(t *testing.T) {
	a, b := &fakeVolume{}, &fakeVolume{}
	a.put(fid1, "x")
	b.put(fid1, "x")
	m := &fakeMaster{}
	m.place("3", a.serve(t), b.serve(t))
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	for range 10 {
		if _, _, err := c.Get(bg, fid1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if a.reads() != 5 || b.reads() != 5 {
		t.Errorf("%d and %d reads, want 5 each", a.reads(), b.reads())
	}
}
