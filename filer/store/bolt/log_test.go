package bolt

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/vfs"
)

// small opens a store whose logs turn every few changes.
func small(t *testing.T, dir string, cfg config) *Store {
	t.Helper()
	cfg.noSync = true
	if cfg.disk == nil {
		cfg.disk = vfs.OS
	}
	if cfg.logBytes == 0 {
		cfg.logBytes = 512
	}
	s, err := openWith(dir, storetest.Options(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestStoreWithSmallLogs is what every store has to pass, while changes go from the logs into the file all the time.
func TestStoreWithSmallLogs(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return small(t, t.TempDir(), config{}) })
}

func TestPlainStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return small(t, t.TempDir(), config{plain: true}) })
}

// TestTable compares a table with a map and its sorted keys.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tab table
	want := map[string]string{}
	for i := range 5000 {
		key, value := fmt.Sprint(r.IntN(2000)), fmt.Sprint(i)
		tab.set(key, []byte(value), i%3 == 0)
		want[key] = fmt.Sprint(value, i%3 == 0)
	}
	var keys []string
	for key := range want {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	n := tab.heads[0]
	for i, key := range keys {
		if n == nil || n.key != key || fmt.Sprint(string(n.value), n.gone) != want[key] || tab.get([]byte(key)) != n {
			t.Fatalf("entry %d is %+v, want %s", i, n, key)
		}
		n = n.next
	}
	for range 5000 {
		from := fmt.Sprint(r.IntN(3000))
		i, _ := slices.BinarySearch(keys, from)
		if n := tab.seek(from); (n == nil) != (i == len(keys)) || n != nil && n.key != keys[i] {
			t.Fatalf("seek %s: %+v", from, n)
		}
	}
	if n != nil || tab.get([]byte("x")) != nil {
		t.Error("there is more than there should be")
	}
}

// TestRecordBytes: the records of earlier versions stay readable.
func TestRecordBytes(t *testing.T) {
	const golden = "00000019c75d6dee00000000000000070903" + "000164026869" + "8208" + "0000000000000002" + "05016e03" + "016203"
	j := &journal{salt: 5}
	g := &generation{last: 7, ids: 9, drops: 3}
	g.tables[treeBucket].set("d", []byte("hi"), false)
	g.tables[dropsBucket].set(string(key64(2)), nil, true)
	g.tables[settingsBucket].set("n", []byte("\x01b\x03"), false)
	if got := hex.EncodeToString(j.encode(g)); got != golden {
		t.Errorf("a record is %s, want %s", got, golden)
	}
	b, _ := hex.DecodeString(golden)
	number, payload, ok := parseRecord(5, b)
	var back generation
	if err := back.decode(number, payload); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if got := hex.EncodeToString(j.encode(&back)); got != golden {
		t.Errorf("read and written it is %s", got)
	}
	if _, _, ok := parseRecord(6, b); ok {
		t.Error("a record of another store is taken")
	}
	for cut := range payload {
		_ = new(generation).decode(number, payload[:cut]) // must not panic
	}
}

// logsOf runs changes that are only in the logs, twelve in each, and returns what a crash would leave of them.
func logsOf(t *testing.T) (dir string, disk *vfs.Mem) {
	ctx := context.Background()
	dir, disk = t.TempDir(), vfs.NewMem()
	hold := errors.New("not now")
	s := small(t, dir, config{disk: disk, logBytes: 1000, fault: func(*generation) error { return hold }})
	for i := range 24 {
		if _, err := s.Put(ctx, store.Path(fmt.Sprintf("/f%02d", i)), 0, store.Record{Value: []byte("some value, of forty bytes in all: 012345")}, store.Effects{}); err != nil {
			t.Fatal(i, err)
		}
	}
	left := disk.Image(vfs.LoseUnsynced, nil)
	if err := s.Close(); !errors.Is(err, hold) {
		t.Fatalf("the end: %v", err)
	}
	return dir, left
}

// TestDamagedLogs: what is torn at the end is cut, and what is damaged before that is told, and nothing is touched.
func TestDamagedLogs(t *testing.T) {
	const record = 82 // bytes of each
	flip := func(file int, at int64) func(*vfs.Mem, string) error {
		return func(disk *vfs.Mem, dir string) error {
			return edit(disk, dir, file, func(f vfs.File) error {
				var b [1]byte
				if _, err := f.ReadAt(b[:], at); err != nil {
					return err
				}
				b[0] ^= 4
				_, err := f.WriteAt(b[:], at)
				return err
			})
		}
	}
	cut := func(file int, size int64) func(*vfs.Mem, string) error {
		return func(disk *vfs.Mem, dir string) error {
			return edit(disk, dir, file, func(f vfs.File) error { return f.Truncate(size) })
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*vfs.Mem, string) error
		left   int // files; -1: refused
		where  string
	}{
		{"nothing", func(*vfs.Mem, string) error { return nil }, 24, ""},
		{"a bit of the last record", flip(1, 12*record-1), 23, ""},
		{"the length of the last record", flip(1, 11*record), 23, ""},
		{"the last record is short", cut(1, 12*record-1), 23, ""},
		{"only the head of the last record", cut(1, 11*record+headBytes), 23, ""},
		{"the later log is empty", cut(1, 0), 12, ""},
		{"a bit in the middle", flip(1, 5*record+30), -1, fmt.Sprint("filer.log.1, byte ", 5*record)},
		{"a length in the middle", flip(1, 5*record+3), -1, fmt.Sprint("filer.log.1, byte ", 5*record)},
		{"the first record", flip(1, 30), -1, "filer.log.1, byte 0"},
		{"the end of the log before", flip(0, 12*record-1), -1, fmt.Sprint("filer.log.0, byte ", 11*record)},
		{"the log before is short", cut(0, 7*record), -1, fmt.Sprint("filer.log.0, byte ", 7*record)},
		{"the log before is empty", cut(0, 0), -1, "filer.log.0, byte 0"},
		{"the beginning of the log before", flip(0, 9), -1, "filer.log.0, byte 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, disk := logsOf(t)
			if err := c.damage(disk, dir); err != nil {
				t.Fatal(err)
			}
			s, err := openWith(dir, storetest.Options(), config{disk: disk, logBytes: 1000, noSync: true})
			if c.left < 0 {
				if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), c.where) {
					t.Fatalf("the store opens with %v, want damage of %s", err, c.where)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			list, err := s.List(context.Background(), "/", store.ListOptions{Limit: 100})
			if err != nil || len(list) != c.left {
				t.Errorf("%d files are left, %v, want %d", len(list), err, c.left)
			}
		})
	}
}

func edit(disk *vfs.Mem, dir string, file int, do func(vfs.File) error) error {
	f, err := disk.OpenFile(filepath.Join(dir, fmt.Sprintf("filer.log.%d", file)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// TestFailedRecordStaysDead: a change that was answered with an error, after which others were made, is not there after
// a crash, though its bytes are in a log.
func TestFailedRecordStaysDead(t *testing.T) {
	ctx := context.Background()
	dir, disk := t.TempDir(), vfs.NewMem()
	hold := errors.New("not now")
	s := small(t, dir, config{disk: disk, fault: func(*generation) error { return hold }})
	put := func(path store.Path, bytes int) error {
		_, err := s.Put(ctx, path, 0, store.Record{Value: []byte(strings.Repeat("f ", bytes/2))}, store.Effects{})
		return err
	}
	if err := put("/a", 100); err != nil {
		t.Fatal(err)
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			return syscall.EIO
		}
		return nil
	})
	if err := put("/b", 100); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a change that did not get to the disk: %v", err)
	}
	if _, err := s.Find(ctx, "/b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is there: %v", err)
	}
	disk.SetFault(nil)
	if err := put("/c", 400); err != nil { // into the other log
		t.Fatal(err)
	}
	left := disk.Image(vfs.LoseNothing, nil)
	if err := s.Close(); !errors.Is(err, hold) {
		t.Error(err)
	}
	s = small(t, dir, config{disk: left})
	for path, want := range map[store.Path]error{"/a": nil, "/b": store.ErrNotFound, "/c": nil} {
		if _, err := s.Find(ctx, path); !errors.Is(err, want) {
			t.Errorf("%s after a crash: %v, want %v", path, err, want)
		}
	}
}

// TestFileFails: while the file can't be written, changes go on until both logs are full, and again when it can.
func TestFileFails(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	full := errors.New("no room")
	var mu sync.Mutex
	failing := true
	s := small(t, dir, config{fault: func(*generation) error {
		mu.Lock()
		defer mu.Unlock()
		if failing {
			return full
		}
		return nil
	}})
	var made []string
	put := func() error {
		name := fmt.Sprintf("f%03d", len(made))
		_, err := s.Put(ctx, store.Path("/"+name), 0, store.Record{Value: []byte("value")}, store.Effects{Drops: []string{name}})
		if err == nil {
			made = append(made, name)
		}
		return err
	}
	check := func() {
		t.Helper()
		list, err := s.List(ctx, "/", store.ListOptions{Limit: 1000})
		if err != nil || len(list) != len(made) {
			t.Fatalf("%d files, %v, want %d", len(list), err, len(made))
		}
		drops, err := s.Drops(ctx, "", 1000)
		if err != nil || len(drops) != len(made) {
			t.Fatalf("%d drops, %v, want %d", len(drops), err, len(made))
		}
	}
	var err error
	for err == nil && len(made) < 1000 {
		err = put()
	}
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, full) || len(made) < 5 {
		t.Fatalf("after %d changes: %v", len(made), err)
	}
	if err := put(); !errors.Is(err, full) {
		t.Errorf("another change: %v", err)
	}
	check()
	mu.Lock()
	failing = false
	mu.Unlock()
	for range 100 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = small(t, dir, config{})
	check()
}

// TestReadersSeeOneMoment moves a file to and fro among others while directories are listed: it is there once.
func TestReadersSeeOneMoment(t *testing.T) {
	ctx := context.Background()
	s := small(t, t.TempDir(), config{})
	for i := range 50 {
		if _, err := s.Put(ctx, store.Path(fmt.Sprintf("/n%02d", i)), 0, store.Record{}, store.Effects{}); err != nil {
			t.Fatal(err)
		}
	}
	version, err := s.Put(ctx, "/a", 0, store.Record{}, store.Effects{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		from, to := store.Path("/a"), store.Path("/z")
		var err error
		for i := 0; i < 400 && err == nil; i++ {
			version, err = s.Rename(ctx, from, version, to, 0, nil, store.Effects{})
			from, to = to, from
		}
		done <- err
	}()
	for {
		list, err := s.List(ctx, "/", store.ListOptions{Limit: 100})
		if err != nil || len(list) != 51 {
			t.Fatalf("%d files, %v, want 51", len(list), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

// TestFormat1 opens a file that was written before there were logs.
func TestFormat1(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta, err1 := tx.CreateBucket(metaBucket)
		tree, err2 := tx.CreateBucket(bucketNames[treeBucket])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return errors.Join(meta.Put(formatKey, key64(1)), tree.SetSequence(7),
			tree.Put([]byte(rowKey(rootID, "old")), row{version: 7, value: []byte("f1")}.bytes()))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	rec, err := s.Find(context.Background(), "/old")
	if err != nil || rec.Version != 7 || string(rec.Value) != "f1" {
		t.Fatalf("%+v, %v", rec, err)
	}
	if v, err := s.Put(context.Background(), "/old", 7, store.Record{}, store.Effects{}); err != nil || v != 8 {
		t.Errorf("version %d, %v", v, err)
	}
}

// TestSweepGoesOn removes trees while a sweep fails now and then: all is swept once, and drops are taken from the
// beginning of their queue all the time.
func TestSweepGoesOn(t *testing.T) {
	ctx := context.Background()
	dir, disk := t.TempDir(), vfs.NewMem()
	s := small(t, dir, config{disk: disk, logBytes: 4 << 10})
	want, got := map[string]int{}, map[string]int{}
	put := func(path store.Path, dir bool, value string) store.Version {
		v, err := s.Put(ctx, path, 0, store.Record{Dir: dir, Value: []byte(value)}, store.Effects{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for round := range 3 {
		tops := map[store.Path]store.Version{}
		for a := range 3 {
			top := store.Path(fmt.Sprintf("/r%d-%d", round, a))
			tops[top] = put(top, true, "")
			for b := range 5 {
				below := top + store.Path(fmt.Sprintf("/d%d", b))
				put(below, true, "")
				for c := range 3 {
					fid := fmt.Sprintf("f%d.%d.%d.%d", round, a, b, c)
					put(below+store.Path("/"+fid), false, fid)
					want[fid] = 1
				}
			}
		}
		for top, version := range tops {
			if err := s.RemoveTree(ctx, top, version); err != nil {
				t.Fatal(err)
			}
		}
		for turn, more := 0, true; more; turn++ {
			if turn%3 == 0 {
				disk.SetFault(func(op vfs.Op) error {
					if op.Kind == vfs.OpSync {
						return syscall.EIO
					}
					return nil
				})
				if _, err := s.Sweep(ctx, 4); !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("a sweep that can't be kept: %v", err)
				}
				disk.SetFault(nil)
			}
			swept, err := s.Sweep(ctx, 4)
			if err != nil {
				t.Fatal(err)
			}
			more = swept.More
			list, err := s.Drops(ctx, "", 3)
			if err == nil {
				err = s.Dropped(ctx, list)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				got[d.FID]++
			}
		}
	}
	for fid, n := range storetest.Dropped(t, s) {
		got[fid] += n
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("drops %v, want %v", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for _, b := range []bucket{treeBucket, removedBucket, dropsBucket} {
			if n := tx.Bucket(bucketNames[b]).Stats().KeyN; n != 0 {
				t.Errorf("bucket %s has %d entries", bucketNames[b], n)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
