package cassandra

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"weed/filer/store"
)

// tree returns all records by their path, directories with a "/" behind it, and how many refer to each chunk. A change
// that is still on its way is waited for: what is read is the same twice.
func tree(t *testing.T, s store.Store) (records map[store.Path]store.Record, refs map[string]int) {
	t.Helper()
	for {
		again := records
		if records = read(t, s, "/"); again != nil && reflect.DeepEqual(again, records) {
			break
		}
	}
	refs = make(map[string]int)
	for _, r := range records {
		for _, fid := range strings.Fields(string(r.Value)) {
			refs[fid]++
		}
	}
	return records, refs
}

// read returns the records below a directory, whose path ends in "/".
func read(t *testing.T, s store.Store, dir store.Path) map[store.Path]store.Record {
	t.Helper()
	records := make(map[store.Path]store.Record)
	list, err := s.List(t.Context(), max("/", dir[:len(dir)-1]), store.ListOptions{Limit: store.MaxListLimit})
	if err != nil && (!errors.Is(err, store.ErrNotFound) || dir == "/") {
		t.Fatal(err)
	}
	for _, r := range list {
		at := dir + store.Path(r.Name)
		if r.Dir {
			at += "/"
			maps.Copy(records, read(t, s, at))
		}
		records[at] = r
	}
	return records
}

// audit sweeps, and checks what must hold when nothing is under way: each chunk is referred to by one record, or is a
// drop, and all that is stored of directories hangs together.
func audit(t *testing.T, s *Store, chunks []string) {
	t.Helper()
	settleTrash(t, s)
	_, refs := tree(t, s)
	drops := make(map[string]int)
	for after := ""; ; {
		list, err := s.Drops(t.Context(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, d := range list {
			drops[d.FID]++
		}
		after = list[len(list)-1].ID
	}
	for _, fid := range chunks {
		switch {
		case refs[fid] > 1:
			t.Errorf("%d records refer to %s", refs[fid], fid)
		case refs[fid] > 0 && drops[fid] > 0:
			t.Errorf("%s is lost: a record refers to it, and it is a drop", fid)
		case refs[fid] == 0 && drops[fid] == 0:
			t.Errorf("%s has leaked", fid)
		}
	}
	noOrphans(t, s)
}

// settleTrash sweeps until there is no trash, which takes as long as the patience with changes that broke off.
func settleTrash(t *testing.T, s *Store) {
	t.Helper()
	for try := 0; ; try++ {
		sweepAll(t, s, 5)
		left := 0
		if err := s.session.Query("SELECT count(*) FROM "+s.table("trash")).ScanContext(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		if err := pause(t.Context(), try); err != nil {
			t.Fatal(err)
		}
	}
}

// noOrphans checks that every directory that holds records is found from the root.
func noOrphans(t *testing.T, s *Store) {
	t.Helper()
	reached := map[string]bool{rootPart: true}
	for todo := []string{rootPart}; len(todo) > 0; todo = todo[1:] {
		rows, err := s.rows(t.Context(), s.quorum, todo[0], "", true, store.MaxListLimit)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range rows {
			if e, err = s.lookup(t.Context(), todo[0], e.name); err != nil {
				t.Fatal(err)
			}
			if e.there() && e.dir() {
				if reached[e.child] {
					t.Errorf("directory %x is in two places", e.child)
				}
				reached[e.child] = true
				todo = append(todo, e.child)
			}
		}
	}
	iter := s.session.Query("SELECT part, name, version FROM "+s.table("parts")+" WHERE kind = ? ALLOW FILTERING", kindEntry).IterContext(t.Context())
	var part, name []byte
	var version int64
	orphans := make(map[string]string)
	for iter.Scan(&part, &name, &version) {
		if !reached[string(part)] && version != 0 {
			orphans[string(part)] = string(name)
		}
	}
	if err := iter.Close(); err != nil {
		t.Fatal(err)
	}
	for part, name := range orphans {
		t.Errorf("%s is in directory %x, which is nowhere", name, part)
	}
}
