package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// generation is a log that may be found.
type generation struct {
	origin  Origin
	durable int64 // log offset up to which it was acknowledged
}

// change is a way in which a log is replaced.
type change struct {
	name   string
	flight bool // what is not committed was put here; else it has come from another copy, and ends inside a record
	reset  bool // the log begins anew, else it is compacted
}

// changing is a replicated volume, with something in its log that is not committed, whose log is replaced.
type changing struct {
	change
	disk *vfs.Mem
	s    *Store
	p    *puppet
	put  <-chan error
	half []byte // what the half record lacks

	mu    sync.Mutex // guards what follows
	log   []byte     // all that may be in the log, at log offsets
	found []generation
}

var changes = []change{
	{name: "compact with a flight", flight: true},
	{name: "compact with a tail"},
	{name: "reset with a flight", flight: true, reset: true},
	{name: "reset with a tail", reset: true},
}

// begin makes the volume.
func (kind change) begin(t testing.TB) *changing {
	t.Helper()
	c := &changing{change: kind, disk: vfs.NewMem()}
	s, v := createTestVolume(t, c.disk, Config{})
	for key := blob.Key(1); key <= 12; key++ {
		mustPut(t, v, key, payload(uint64(key), 100*int(key)))
		if key%3 == 0 {
			mustDelete(t, v, key)
		}
	}
	closeStore(t, s)
	c.s, v = openTestVolume(t, c.disk, Config{})
	c.p = newPuppet(t, v)
	length := v.LogLength()
	c.p.do(func(l *Log) {
		if err := l.Save(json.RawMessage(`{"n":1}`), true); err != nil {
			t.Error(err)
		}
		if c.flight {
			return
		}
		next := shipPut(1, payload(100, 500), 1<<61)
		half := shipPut(2, payload(200, 900), 1<<61+4096)
		if err := l.Write(l.Length(), append(next.raw, half.raw[:333]...)); err != nil {
			t.Error(err)
		}
		c.half = half.raw[333:]
	})
	if c.flight {
		c.put = laterPut(v, 1, payload(100, 500))
		c.p.awaitAppend(t, length)
	}
	c.p.do(func(l *Log) { length = l.Length() })
	c.log = make([]byte, length)
	if _, err := v.ReadFile(0, c.log); err != nil {
		t.Fatal(err)
	}
	c.log = append(c.log, c.half...)
	c.found = []generation{{durable: length}}
	waitIdle(v)
	return c
}

// state returns what may be found now.
func (c *changing) state() (log []byte, found []generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log, c.found
}

func (c *changing) expect(found ...generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = found
}

// next returns the origin that the log is to get.
func (c *changing) next(t testing.TB) Origin {
	o := Origin{Revision: 1, Floor: c.p.v.LogLength()}
	if c.reset {
		o.Revision = 5
	}
	_, o = reference(t, c.log, o)
	return o
}

// run replaces the log and goes on. It returns false as soon as the disk fails something.
func (c *changing) run(t testing.TB) bool {
	t.Helper()
	v, old, o := c.p.v, c.found[0], c.next(t)
	next := generation{o, old.durable}
	if c.reset {
		next.durable = 0
	}
	c.expect(old, next)
	var err error
	if c.reset {
		c.p.do(func(l *Log) { err = l.Reset(o) })
	} else {
		_, err = v.Compact(CompactOptions{})
	}
	is := v.Origin()
	switch {
	case is != old.origin && is != o, err == nil && is != o:
		t.Fatalf("%v: the log is of %+v", err, is)
	case v.ReadOnly() != 0 && err == nil:
		t.Fatalf("read-only without an error: %s", v.ReadOnly())
	case v.ReadOnly() != 0:
		return false
	case is == o:
		c.expect(next)
	default:
		c.expect(old)
	}
	if told := len(c.p.compacted) > 0; !c.reset && told != (is == o) {
		t.Errorf("%v: the replicator was told: %v", err, told)
	}
	return c.goOn(t, c.reset && is == o) && err == nil
}

// goOn completes and commits what was under way, after a reset all.
func (c *changing) goOn(t testing.TB, anew bool) bool {
	t.Helper()
	v, o := c.p.v, c.p.v.Origin()
	var err error
	c.p.do(func(l *Log) {
		if anew {
			if l.Length() != SuperblockSize+o.Skipped || l.Waiting() {
				t.Errorf("%d bytes in a log of %+v", l.Length(), o)
			}
			file, _ := reference(t, c.log, o)
			err = l.Write(l.Length(), file[SuperblockSize:])
		} else if len(c.half) > 0 {
			err = l.Write(l.Length(), c.half)
		}
	})
	if c.put != nil && anew {
		if e := <-c.put; !errors.Is(e, ErrOutcomeUnknown) {
			t.Errorf("what was in flight: %v", e)
		}
		c.put = nil
	}
	c.p.mu.Lock()
	err = errors.Join(err, c.p.failed)
	c.p.mu.Unlock()
	if err != nil {
		return false
	}
	c.expect(generation{o, int64(len(c.log))})
	c.p.commitAll()
	if c.put != nil {
		if e := <-c.put; e != nil {
			t.Errorf("what was in flight: %v", e)
		}
		c.put = nil
	}
	if v.LogLength() != int64(len(c.log)) {
		t.Errorf("%d bytes of the log are committed, want %d", v.LogLength(), len(c.log))
	}
	wantData(t, v, 1, payload(100, 500))
	return true
}

// end closes what is left.
func (c *changing) end() {
	_ = c.s.Close() // on a disk that may have failed
	if c.put != nil {
		<-c.put
	}
}

// checkGenerations opens what is left: one of the logs, whole, with its origin and all that was acknowledged, and it
// goes on.
func checkGenerations(t *testing.T, disk *vfs.Mem, log []byte, found []generation, what string) {
	t.Helper()
	s, v := openTestVolume(t, disk, Config{})
	if v.ReadOnly() != 0 || string(v.Kept()) != `{"n":1}` {
		t.Fatalf("%s: read-only %q, kept %s", what, v.ReadOnly(), v.Kept())
	}
	durable := int64(-1)
	for _, g := range found {
		if g.origin == v.Origin() {
			durable = g.durable
		}
	}
	if durable < 0 {
		t.Fatalf("%s: the log is of %+v, want one of %+v", what, v.Origin(), found)
	}
	file, _ := reference(t, log, v.Origin())
	got := readTestFile(t, disk, testBase+".dat")
	if !bytes.HasPrefix(file, got) {
		t.Fatalf("%s: %d bytes of %+v, equal up to %d", what, len(got), v.Origin(), commonPrefix(file, got))
	}
	whole := int64(SuperblockSize)
	for _, r := range logRecords(Version3, file[:max(durable-v.Origin().Skipped, SuperblockSize)]) {
		whole = r.offset + r.length
	}
	if int64(len(got)) < whole {
		t.Fatalf("%s: %d bytes of %+v, %d were durable", what, len(got), v.Origin(), whole)
	}
	wantNoLeftovers(t, disk)
	p := newPuppet(t, v)
	after := shipPut(77, payload(77, 100), 1<<62)
	p.do(func(l *Log) {
		if err := l.Write(l.Length(), after.raw); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		l.Commit(l.Length())
	})
	wantData(t, v, 77, after.data)
	if length := v.LogLength(); length >= v.Origin().Floor { // else it must be completed first
		if _, err := v.Compact(CompactOptions{}); err != nil || v.LogLength() != length {
			t.Errorf("%s: compacted to %d bytes of %d: %v", what, v.LogLength(), length, err)
		}
		wantData(t, v, 77, after.data)
	}
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
	if t.Failed() {
		t.FailNow()
	}
}

// TestChangeCrashesAtEveryOperation pulls the plug before each operation on the disk.
func TestChangeCrashesAtEveryOperation(t *testing.T) {
	for _, kind := range changes {
		t.Run(kind.name, func(t *testing.T) {
			type moment struct {
				what  string
				log   []byte
				found []generation
				disk  *vfs.Mem
			}
			var mu sync.Mutex // guards moments
			var moments []moment
			c := kind.begin(t)
			c.disk.SetFault(func(op vfs.Op) error {
				if op.Kind.Mutates() {
					log, found := c.state() // before the images: what is acknowledged meanwhile is in them anyway
					mu.Lock()
					defer mu.Unlock()
					for what, image := range images(c.disk, uint64(op.Index), 3) {
						moments = append(moments, moment{fmt.Sprintf("before %v, losing %s", op, what), log, found, image})
					}
				}
				return nil
			})
			if !c.run(t) {
				t.Error("it failed")
			}
			c.end()
			for _, m := range moments {
				checkGenerations(t, m.disk, m.log, m.found, m.what)
			}
		})
	}
}

// TestChangeFailsAtEveryOperation fails each operation on the disk in each way, once and for good.
func TestChangeFailsAtEveryOperation(t *testing.T) {
	for _, kind := range changes {
		for _, fault := range faults {
			t.Run(kind.name+", "+fault.name, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n += faultStride {
					c := kind.begin(t)
					before := c.disk.OpCount()
					c.disk.SetFault(fault.at(before + n))
					ok := c.run(t)
					log, found := c.state()
					left := images(c.disk, uint64(n), 2)
					met := c.disk.OpCount() >= before+n
					c.end()
					for what, image := range left {
						checkGenerations(t, image, log, found, fmt.Sprintf("operation %d failed, then a crash loses %s", n, what))
					}
					c.disk.SetFault(nil)
					checkGenerations(t, c.disk, log, found, fmt.Sprintf("operation %d failed, then closed", n))
					if !met {
						if !ok {
							t.Error("it failed without a fault")
						}
						return
					}
				}
			})
		}
	}
}
