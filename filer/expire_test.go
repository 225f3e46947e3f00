package filer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
)

// count returns the records of the tree, those that nobody sees any more among them.
func (x *fixture) count() (n int, err error) {
	err = visitRecords(context.Background(), x.store.Store.List, "/", func(store.Path, *store.Record) error {
		n++
		return nil
	})
	return n, err
}

// TestExpire makes sure that files whose time is over go with their chunks, though nobody asks for them.
func TestExpire(t *testing.T) {
	x := start(t, func(c *Config) { c.ExpireEvery, c.MissingGrace = 20*time.Millisecond, time.Millisecond })
	for i := range 50 {
		x.want(201, "PUT", fmt.Sprintf("/d%d/short%d?ttl=5m", i%4, i), "short")
	}
	x.want(201, "PUT", "/d0/large?ttl=5m", random(2<<20))
	x.want(201, "PUT", "/d1/long?ttl=1h", "long")
	x.want(201, "PUT", "/d2/ever", "for ever")
	x.want(201, "PUT", "/d3/renewed?ttl=5m", "first")
	if n, err := x.count(); n != 4+54 || err != nil {
		t.Fatalf("%d records, %v", n, err)
	}
	x.clock.pass(4 * time.Minute)
	x.want(201, "PUT", "/d3/renewed?ttl=5m", "second")
	x.clock.pass(90 * time.Second)
	waitFor(t, "what has expired is removed", func() error {
		if n, err := x.count(); n != 4+3 || err != nil {
			return fmt.Errorf("%d records, %w", n, err)
		}
		return nil
	})
	x.settled(3)
	for path, want := range map[string]string{"/d1/long": "long", "/d2/ever": "for ever", "/d3/renewed": "second"} {
		if got := x.want(200, "GET", path, ""); got.body != want {
			t.Errorf("%s: %q", path, got.body)
		}
	}
	if got := x.want(200, "GET", "/metrics", ""); !strings.Contains(got.body, "weed_filer_expired_total 51\n") {
		t.Error(got.body)
	}
}

// TestExpireWaits makes sure that a store that is away is asked again, and a damaged record is passed over.
func TestExpireWaits(t *testing.T) {
	x := start(t, func(c *Config) { c.ExpireEvery = 10 * time.Millisecond })
	x.want(201, "PUT", "/d/f?ttl=5m", "short")
	if _, err := x.store.Store.Put(context.Background(), "/a", 0, store.Record{Value: []byte{99}}, store.Effects{}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	x.store.Fail(store.ErrUnavailable)
	x.store.mu.Lock()
	x.store.onList = func(store.Path, store.ListOptions) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	x.store.mu.Unlock()
	x.clock.pass(time.Hour)
	for range 3 { // in vain
		<-asked
	}
	x.store.Fail(nil)
	x.settled(0)
}
