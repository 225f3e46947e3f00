package cassandra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/cassandratest"
)

func TestSchemaIsCreatedOnRequest(t *testing.T) {
	cfg := newKeyspace(t)
	cfg.CreateSchema = false
	if _, err := Open(t.Context(), cfg, store.Options{}); err == nil || !strings.Contains(err.Error(), "-cassandra.createSchema") {
		t.Errorf("without a schema: %v", err)
	}
	cfg.CreateSchema = true
	s := open(t, cfg)
	if v, n, err := s.Setting(t.Context(), "x"); v != nil || n != 0 || err != nil {
		t.Errorf("%q, %d, %v", v, n, err)
	}
	n, err := s.SetSetting(t.Context(), "x", 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetSetting(t.Context(), "x", 0, nil); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
	if err := errors.Join(s.Ping(t.Context()), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	_, err = s.Find(t.Context(), "/x")
	if !errors.Is(err, store.ErrClosed) || !errors.Is(s.AddDrops(t.Context(), nil), store.ErrClosed) || !errors.Is(s.Ping(t.Context()), store.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	cfg.CreateSchema = false
	s = open(t, cfg)
	if v, again, err := s.Setting(t.Context(), "x"); string(v) != "one" || again != n || err != nil {
		t.Errorf("%q, %d, %v", v, again, err)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{}, {Hosts: []string{"h"}, Keyspace: "a;b"}, {Hosts: []string{"h"}, Keyspace: "A"},
		{Hosts: []string{"h"}, Timeout: -1}} {
		if _, err := Open(t.Context(), cfg, store.Options{}); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestClaims(t *testing.T) {
	s := open(t, newKeyspace(t))
	ctx, until := t.Context(), time.Now().Add(time.Hour).Round(0)
	want := store.Claim{ID: "one", Owner: "me", FID: "3,07", Count: 5, Until: until}
	for _, c := range []store.Claim{want, {ID: "two", Owner: "you", FID: "4,08", Count: 2}} {
		if err := s.AddClaim(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddClaim(ctx, want); err == nil {
		t.Error("a claim is added twice")
	}
	want.Until = until.Add(time.Hour)
	if err := errors.Join(s.RenewClaims(ctx, "me", want.Until), s.ReleaseClaim(ctx, "two", 2), s.ReleaseClaim(ctx, "two", 2)); err != nil {
		t.Error(err)
	}
	list, err := s.Claims(ctx)
	if err != nil || len(list) != 1 || !list[0].Until.Equal(want.Until) {
		t.Fatalf("%v, %v", list, err)
	}
	if list[0].Until = want.Until; list[0] != want {
		t.Errorf("%v, want %v", list[0], want)
	}
	put(t, s, "/f", 0, "3,07_1", store.Effects{Uses: []store.Use{{Claim: "one", Index: 1}}})
	for _, u := range []store.Use{{Claim: "one", Index: 1}, {Claim: "one", Index: 5}, {Claim: "two", Index: 0}, {Claim: "three", Index: 0}} {
		if _, err := s.Put(ctx, "/g", 0, store.Record{}, store.Effects{Uses: []store.Use{{Claim: "one", Index: 2}, u}}); !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("use of %v: %v", u, err)
		}
	}
	put(t, s, "/g", 0, "3,07_2", store.Effects{Uses: []store.Use{{Claim: "one", Index: 2}}}) // was given back each time
	if err := errors.Join(s.Abandon(ctx, []store.Use{{Claim: "one", Index: 0}, {Claim: "one", Index: 1}, {Claim: "gone"}}),
		s.ReleaseClaim(ctx, "one", 4)); err != nil {
		t.Error(err)
	}
	if got, want := dropped(t, s, 7), map[string]int{"3,07": 1, "3,07_3": 1, "4,08": 1, "4,08_1": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("drops %v, want %v", got, want)
	}
}

// TestSweepGoesOn: records that can't be read go all the same, and are named.
func TestSweepGoesOn(t *testing.T) {
	cfg := newKeyspace(t)
	unreadable := errors.New("unreadable")
	s, err := Open(t.Context(), cfg, store.Options{FIDs: func(v []byte) ([]string, error) {
		if string(v) == "bad" {
			return nil, unreadable
		}
		return storetest.Options().FIDs(v)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := mkdir(t, s, "/d")
	for name, value := range map[store.Path]string{"/d/a": "f1", "/d/b": "bad", "/d/c": "f2"} {
		put(t, s, name, 0, value, store.Effects{})
	}
	if err := s.RemoveTree(t.Context(), "/d", dir); err != nil {
		t.Fatal(err)
	}
	if swept, err := s.Sweep(t.Context(), 10); !errors.Is(err, unreadable) || errors.Is(err, store.ErrUnavailable) || swept.Records != 3 {
		t.Errorf("a sweep of a record that can't be read: %+v, %v", swept, err)
	}
	if swept, err := s.Sweep(t.Context(), 10); err != nil || swept != (store.Swept{}) {
		t.Errorf("the next sweep: %+v, %v", swept, err)
	}
	if got := dropped(t, s, 7); !reflect.DeepEqual(got, map[string]int{"f1": 1, "f2": 1}) {
		t.Errorf("drops %v", got)
	}
	if err := s.AddClaim(t.Context(), store.Claim{Count: 1}); err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim without ID: %v", err)
	}
	if _, err := s.SetSetting(t.Context(), "", 0, nil); err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a setting without name: %v", err)
	}
}

// TestLargest writes what is as large as the contract allows.
func TestLargest(t *testing.T) {
	s := open(t, newKeyspace(t))
	value := bytes.Repeat([]byte("0123456789abcde "), store.MaxValueBytes/16)
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("7,%08x", i))
	}
	v := put(t, s, "/f", 0, string(value), store.Effects{})
	name := "/" + strings.Repeat("\xff", 255)
	put(t, s, store.Path(name), 0, "x", store.Effects{})
	rec, err := s.Find(t.Context(), "/f")
	if err != nil || !bytes.Equal(rec.Value, value) || rec.Version != v {
		t.Fatalf("%d bytes of version %d, %v", len(rec.Value), rec.Version, err)
	}
	put(t, s, "/f", v, "", store.Effects{Drops: many})
	got := dropped(t, s, 4000)
	if len(got) != len(many) {
		t.Errorf("%d drops, want %d", len(got), len(many))
	}
	list, err := s.List(t.Context(), "/", store.ListOptions{After: "f", Limit: 10})
	if err != nil || len(list) != 1 || list[0].Name != name[1:] {
		t.Errorf("%d records, %v", len(list), err)
	}
	if err := s.AddClaim(t.Context(), store.Claim{ID: "all", FID: "1,0", Count: store.MaxClaimFIDs}); err != nil {
		t.Fatal(err)
	}
	var uses []store.Use
	for i := range store.MaxClaimFIDs {
		uses = append(uses, store.Use{Claim: "all", Index: i})
	}
	put(t, s, "/g", 0, "", store.Effects{Uses: uses})
	if err := s.ReleaseClaim(t.Context(), "all", store.MaxClaimFIDs); err != nil {
		t.Fatal(err)
	}
	if got := dropped(t, s, 7); len(got) > 0 {
		t.Errorf("%d drops of fids that are used", len(got))
	}
}

// TestPages lists a directory of more records than one request brings.
func TestPages(t *testing.T) {
	s := open(t, newKeyspace(t))
	mkdir(t, s, "/d")
	dir, err := s.Find(t.Context(), "/d")
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.stored(t.Context(), rootPart, "d")
	if err != nil || st.version != dir.Version {
		t.Fatal(st, err)
	}
	const count = 300
	for n := 0; n < count; n += 50 { // as many Puts would take long
		c := newCAS(st.child).when("state = ?", stateAlive)
		for i := n; i < n+50; i++ {
			c.put(fmt.Sprintf("%03d", i), 0, newVersion(), "", []byte("v"))
		}
		if ok, err := s.apply(t.Context(), c); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	for _, limit := range []int{1, 7, 64, 150, count, count + 1} {
		seen, after := 0, "250"
		if limit > 10 {
			after = ""
		}
		from := len(after) / 3 * 251
		for {
			list, err := s.List(t.Context(), "/d", store.ListOptions{After: after, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if want := fmt.Sprintf("%03d", from+seen); r.Name != want {
					t.Fatalf("limit %d: %s, want %s", limit, r.Name, want)
				}
				seen++
			}
			if len(list) < limit {
				break
			}
			after = list[len(list)-1].Name
		}
		if seen != count-from {
			t.Errorf("limit %d: %d records", limit, seen)
		}
	}
	list, err := s.List(t.Context(), "/d", store.ListOptions{Prefix: "12", After: "125", Inclusive: true, Limit: 100})
	if err != nil || len(list) != 5 || list[0].Name != "125" {
		t.Errorf("%d records, %v", len(list), err)
	}
}

// TestEndsLeaveNothing checks that partitions whose drops are confirmed end.
func TestEndsLeaveNothing(t *testing.T) {
	s := open(t, newKeyspace(t))
	if err := s.AddDrops(t.Context(), []string{"1,01", "1,02"}); err != nil {
		t.Fatal(err)
	}
	mkdir(t, s, "/d")
	put(t, s, "/d/f", 0, "1,03", store.Effects{})
	rec, err := s.Find(t.Context(), "/d")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveTree(t.Context(), "/d", rec.Version); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s, 10)
	if got := dropped(t, s, 7); len(got) != 3 {
		t.Errorf("drops %v", got)
	}
	s.calls.Wait()
	s.seen.mu.Lock()
	for thing := range s.seen.first { // as if a while had passed
		s.seen.first[thing] = time.Now().Add(-time.Hour)
	}
	s.seen.mu.Unlock()
	if _, err := s.Drops(t.Context(), "", 1); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"pending": 0, "trash": 0} {
		got := -1
		if err := s.session.Query("SELECT count(*) FROM "+s.table(table)).ScanContext(t.Context(), &got); err != nil || got != want {
			t.Errorf("%s has %d rows, want %d: %v", table, got, want, err)
		}
	}
	iter := s.session.Query("SELECT DISTINCT part FROM " + s.table("parts")).IterContext(t.Context())
	var part []byte
	for iter.Scan(&part) {
		if p := string(part); p != rootPart && p != renamePart {
			t.Errorf("partition %x is left", part)
		}
	}
	if err := iter.Close(); err != nil {
		t.Error(err)
	}
}

// TestServerGoesAndComes kills the server under a filer: what was answered is there when it is back, and the filer
// finds it by itself.
func TestServerGoesAndComes(t *testing.T) {
	server := cassandratest.Shared(t)
	cfg := newKeyspace(t)
	s := open(t, cfg)
	acked := make(map[string]store.Version)
	for n := range 20 {
		name := fmt.Sprintf("f%02d", n)
		acked[name] = put(t, s, store.Path("/"+name), 0, "v", store.Effects{})
	}
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), cfg.Timeout)
	defer cancel()
	if _, err := s.Put(ctx, "/while", 0, store.Record{}, store.Effects{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a change while the server is down: %v", err)
	}
	if err := s.Ping(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a ping while the server is down: %v", err)
	}
	if _, err := Open(ctx, cfg, store.Options{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an open while the server is down: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("a server that is down takes longer than the time-out")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for try := 0; s.Ping(t.Context()) != nil; try++ {
		if err := pause(t.Context(), try); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List(t.Context(), "/", store.ListOptions{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Version != acked[r.Name] {
			t.Errorf("%s has version %d, want %d", r.Name, r.Version, acked[r.Name])
		}
		delete(acked, r.Name)
	}
	if len(acked) > 0 {
		t.Errorf("lost: %v", acked)
	}
	put(t, s, "/after", 0, "v", store.Effects{})
}
