package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// copied is a follower's life, and what its log may hold after each step.
type copied struct {
	p *puppet

	mu sync.Mutex // guards the rest
	copiedLog
}

type copiedLog struct {
	log       []byte   // as it should be
	durable   int      // bytes of log that were acknowledged to the primary
	committed int      // bytes of log that were committed: never cut
	kept      []string // what may be kept: one, or two after a failure
	also      []byte   // another log that may be found: that before the step, or the cut that failed
	failed    bool
}

// state returns what may be found now.
func (c *copied) state() copiedLog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copiedLog
}

func (c *copied) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

var errRefused = errors.New("refused")

// run lives until the end or until the disk fails. at is called after each step.
func (c *copied) run(disk *vfs.Mem, at func()) {
	s, err := OpenStore(disk, []Directory{{Path: testDir, MaxVolumes: 1}}, Config{})
	if err != nil {
		c.failed = true
		return
	}
	defer func() {
		if s.Close() != nil {
			c.change(func() { c.failed = true })
		}
	}()
	v, ok := s.Volume(7)
	if !ok {
		panic("the volume is not there")
	}
	c.p = &puppet{v: v, moved: make(chan struct{})}
	if err := v.Replicate(func(l *Log) Replicator {
		c.p.log, c.p.persisted = l, l.Length()
		return c.p
	}); err != nil {
		panic(err)
	}
	ns := uint64(1<<60 + 1)
	record := func(key blob.Key, size int) []byte {
		ns += 4096
		if size < 0 {
			return shipDelete(key, ns).raw
		}
		return shipPut(key, payload(ns, size), ns).raw
	}
	big := record(9, 1<<20+300<<10)
	for _, step := range []func() error{
		func() error { return c.save(1) },
		func() error { return c.write(record(1, 100), record(2, 3000), record(1, -1)) },
		func() error { return c.commit(0) },
		func() error { return c.write(big[:1<<20]) },
		func() error { return c.write(big[1<<20:], record(3, 10)) },
		func() error { return c.write(record(4, 700)[:300]) },
		func() error { return c.save(2) },
		func() error { return c.cut(300) },
		func() error { return c.commit(0) },
		func() error { return c.write(record(5, 700), record(6, 700), record(7, 9000)) },
		func() error { return c.commit(9000 + 40) },
		func() error { return c.reopen(disk, &s) },
		func() error { return c.cut(9000 + 40) }, // below what is published now
		func() error { return c.save(3) },
		func() error { return c.write(record(7, 50), record(6, -1)) },
		func() error { return c.commit(0) },
	} {
		err := step()
		c.change(func() {
			if c.failed = err != nil; !c.failed {
				c.also = nil
			}
		})
		if at(); err != nil {
			return
		}
	}
}

func (c *copied) do(task func(l *Log) error) (err error) {
	err = errRefused
	c.p.do(func(l *Log) { err = task(l) })
	return err
}

func (c *copied) write(records ...[]byte) error {
	c.change(func() { c.log = bytes.Join(append([][]byte{c.log}, records...), nil) })
	err := c.do(func(l *Log) error {
		for _, r := range records {
			if err := l.Write(l.Length(), r); err != nil {
				return err
			}
		}
		return nil
	})
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if err == nil && c.p.failed == nil {
		c.change(func() { c.durable = len(c.log) })
	}
	return errors.Join(err, c.p.failed)
}

// commit commits all but the last so many bytes.
func (c *copied) commit(but int) error {
	err := c.do(func(l *Log) error { l.Commit(l.Length() - int64(but)); return nil })
	if err == nil {
		c.change(func() { c.committed = len(c.log) - but })
	}
	return err
}

func (c *copied) cut(n int) error {
	c.change(func() {
		c.also = c.log
		c.log = bytes.Clone(c.log[:len(c.log)-n])
		c.durable = min(c.durable, len(c.log))
	})
	return c.do(func(l *Log) error { return l.Cut(l.Length() - int64(n)) })
}

func (c *copied) save(n int) error {
	text := fmt.Sprintf(`{"n":%d}`, n)
	c.change(func() {
		if len(c.kept) == 0 {
			c.kept = []string{""}
		}
		c.kept = []string{c.kept[0], text}
	})
	err := c.do(func(l *Log) error { return l.Save(json.RawMessage(text), true) })
	if err == nil {
		c.change(func() { c.kept = []string{text} })
	}
	return err
}

// reopen closes and opens, which publishes what is there.
func (c *copied) reopen(disk *vfs.Mem, s **Store) error {
	if err := (*s).Close(); err != nil {
		return err
	}
	next, err := OpenStore(disk, []Directory{{Path: testDir, MaxVolumes: 1}}, Config{})
	if err != nil {
		return err
	}
	*s = next
	v, ok := next.Volume(7)
	if !ok || v.ReadOnly() != 0 {
		return errRefused
	}
	c.p = &puppet{v: v, moved: make(chan struct{})}
	return v.Replicate(func(l *Log) Replicator {
		c.p.log, c.p.persisted = l, l.Length()
		return c.p
	})
}

// check opens what is left: a prefix of the log with all that was acknowledged, in order, undamaged, and it goes on.
func (c *copiedLog) check(t *testing.T, disk *vfs.Mem, what string) {
	t.Helper()
	s, v := openTestVolume(t, disk, Config{})
	if cause := v.ReadOnly(); cause != 0 {
		t.Fatalf("%s: %v", what, cause)
	}
	got := readTestFile(t, disk, testBase+".dat")[SuperblockSize:]
	want := c.log
	if len(c.also) > 0 && !bytes.HasPrefix(want, got) {
		want = c.also
	}
	if !bytes.HasPrefix(want, got) {
		t.Fatalf("%s: %d bytes are left, the first %d of them as written", what, len(got), commonPrefix(got, want))
	}
	if whole := wholeRecords(c.log[:c.durable]); len(got) < whole {
		t.Fatalf("%s: %d bytes are left, %d were durable", what, len(got), whole)
	}
	if kept := string(v.Kept()); len(c.kept) > 0 && !contains(c.kept, kept) {
		t.Fatalf("%s: kept %q, want one of %q", what, kept, c.kept)
	}
	p := newPuppet(t, v)
	after := shipPut(77, payload(77, 100), 1<<61)
	p.do(func(l *Log) {
		to := SuperblockSize + int64(wholeRecords(c.log[:c.committed]))
		err := l.Cut(to)
		if err == nil {
			err = l.Write(to, after.raw)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		l.Commit(l.Length())
	})
	wantData(t, v, 77, after.data)
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
	if dat := readTestFile(t, disk, testBase+".dat"); int64(len(dat)) != v.SizeBytes() {
		t.Fatalf("%s: %d bytes, want %d", what, len(dat), v.SizeBytes())
	}
}

func contains(texts []string, text string) bool {
	for _, s := range texts {
		if s == text {
			return true
		}
	}
	return false
}

// wholeRecords returns up to where a log, without its superblock, has whole records.
func wholeRecords(log []byte) int {
	records := logRecords(Version3, append([]byte{3, 0, 0, 0, 0, 0, 0, 0}, log...))
	if len(records) == 0 {
		return 0
	}
	last := records[len(records)-1]
	return int(last.offset+last.length) - SuperblockSize
}

func emptyVolume(t *testing.T) *vfs.Mem {
	disk := vfs.NewMem()
	s, _ := createTestVolume(t, disk, Config{})
	closeStore(t, s)
	return disk.Image(vfs.LoseNothing, nil)
}

// TestFollowerCrashAtEveryOperation pulls the plug before each operation on the disk.
func TestFollowerCrashAtEveryOperation(t *testing.T) {
	disk := emptyVolume(t)
	type moment struct {
		what  string
		state copiedLog
		disk  *vfs.Mem
	}
	var moments []moment
	var mu sync.Mutex // guards moments
	c := &copied{}
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind.Mutates() {
			state := c.state() // before the images: what is acknowledged meanwhile is in them anyway
			mu.Lock()
			defer mu.Unlock()
			for what, image := range images(disk, uint64(op.Index), 3) {
				moments = append(moments, moment{fmt.Sprintf("before %v, losing %s", op, what), state, image})
			}
		}
		return nil
	})
	if c.run(disk, func() {}); c.failed {
		t.Fatal("a step failed")
	}
	for _, m := range moments {
		m.state.check(t, m.disk, m.what)
	}
}

// TestFollowerFailsAtEveryOperation fails each operation on the disk in each way. The follower stops there; after a
// restart it has what was durable, and goes on.
func TestFollowerFailsAtEveryOperation(t *testing.T) {
	count := emptyVolume(t)
	(&copied{}).run(count, func() {})
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= count.OpCount(); n += faultStride {
				disk := emptyVolume(t)
				disk.SetFault(fault.at(n))
				c := &copied{}
				var left map[string]*vfs.Mem
				var atFault copiedLog
				c.run(disk, func() {
					if state := c.state(); state.failed && left == nil {
						atFault, left = state, images(disk, uint64(n), 1)
					}
				})
				for what, image := range left {
					atFault.check(t, image, fmt.Sprintf("operation %d failed, then a crash loses %s", n, what))
				}
				disk.SetFault(nil)
				c.check(t, disk, fmt.Sprintf("operation %d failed, then closed", n))
			}
		})
	}
}

// TestTornCatchUp cuts the power while many commits of another copy were written and none is synced. They may be lost,
// the log is not damaged for that, as it would be if no other copy had them.
func TestTornCatchUp(t *testing.T) {
	damagedAlone := 0
	for _, elsewhere := range []bool{true, false} {
		disk, _, p := newFollower(t, Config{})
		var log []byte
		ns := uint64(1<<60 + 1)
		more := func(n int) (raw []byte) {
			for i := range n {
				ns += 4096
				raw = append(raw, shipPut(blob.Key(i%20+1), payload(ns, 100+i*37), ns).raw...)
			}
			return raw
		}
		log = more(20)
		p.do(func(l *Log) {
			if err := errors.Join(l.Save(json.RawMessage(`{}`), elsewhere), l.Write(SuperblockSize, log)); err != nil {
				t.Error(err)
			}
		})
		synced := len(log)
		p.do(func(l *Log) { l.Commit(l.Length()) })
		p.do(func(l *Log) {
			for range 10 {
				raw := more(4)
				if err := l.Write(SuperblockSize+int64(len(log)), raw); err != nil {
					t.Error(err)
				}
				log = append(log, raw...)
			}
			for seed := range uint64(300) {
				left := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(seed, 0)))
				s, v := openTestVolume(t, left, Config{})
				got := readTestFile(t, left, testBase+".dat")[SuperblockSize:]
				switch cause := v.ReadOnly(); {
				case cause == CauseDamaged && !elsewhere:
					damagedAlone++
				case cause != 0 || !bytes.HasPrefix(log, got) || len(got) < synced:
					t.Errorf("seed %d: %v, %d bytes, equal up to %d", seed, cause, len(got), commonPrefix(got, log))
				}
				closeStore(t, s)
			}
		})
	}
	if damagedAlone == 0 {
		t.Error("no power cut tears a log in its middle: the test tests nothing")
	}
}

// TestFlippedBitIsNoTornTail: what was synced once and reads otherwise is damage, wherever else it is.
func TestFlippedBitIsNoTornTail(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncNever} {
		disk, _, p := newFollower(t, Config{Sync: policy})
		var raw []byte
		for i := range uint64(5) {
			raw = append(raw, shipPut(blob.Key(i+1), payload(i, 300), 1<<60+4096*i).raw...)
		}
		p.do(func(l *Log) {
			if err := errors.Join(l.Save(json.RawMessage(`{}`), true), l.Write(SuperblockSize, raw)); err != nil {
				t.Error(err)
			}
		})
		left := disk.Image(vfs.LoseNothing, nil)
		if err := left.Corrupt(testBase+".dat", 500, 1); err != nil {
			t.Fatal(err)
		}
		s, v := openTestVolume(t, left, Config{Sync: policy})
		if damaged := v.ReadOnly() == CauseDamaged; damaged != (policy == SyncAlways) {
			t.Errorf("%v: %v, %d bytes", policy, v.ReadOnly(), v.SizeBytes())
		}
		closeStore(t, s)
	}
}

// TestLastKnownIsTorn: without syncs, what the index file knows may be gone, and comes from the other copies.
func TestLastKnownIsTorn(t *testing.T) {
	for _, elsewhere := range []bool{true, false} {
		disk, s, p := newFollower(t, Config{Sync: SyncNever})
		records := []shipped{shipPut(1, payload(1, 600), 1<<60), shipPut(2, payload(2, 600), 1<<60+4096), shipPut(3, payload(3, 600), 1<<60+8192)}
		p.do(func(l *Log) {
			if err := errors.Join(l.Save(json.RawMessage(`{}`), elsewhere), l.Write(SuperblockSize, joined(records))); err != nil {
				t.Error(err)
			}
			l.Commit(l.Length())
		})
		p.do(func(*Log) { p.v.committer.flushIdx() })
		f := readVolumeFiles(t, disk)
		closeStore(t, s)
		if len(f.idx) != 3*idxEntrySize {
			t.Fatalf("the index file has %d bytes", len(f.idx))
		}
		clear(f.dat[len(f.dat)-500:])
		s, v := openTestVolume(t, f.disk(t), Config{Sync: SyncNever})
		if damaged := v.ReadOnly() == CauseDamaged; damaged == elsewhere {
			t.Errorf("elsewhere %v: %v", elsewhere, v.ReadOnly())
		}
		if elsewhere {
			wantRecords(t, v, records[:2])
		}
		closeStore(t, s)
	}
}

// TestPrimaryFailsOnce: an append that the disk refuses is told, and no other copy hears of it.
func TestPrimaryFailsOnce(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		disk, _, p := newFollower(t, Config{})
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && op.Is("*.dat") {
				return &vfs.PartialError{Written: op.Len / 2, Err: fault}
			}
			return nil
		})
		err := <-laterPut(p.v, 1, payload(1, 500))
		disk.SetFault(nil)
		p.do(func(l *Log) {
			if l.Length() != SuperblockSize || l.Waiting() {
				t.Errorf("%v: %d bytes are in the log", fault, l.Length())
			}
		})
		if full := fault == syscall.ENOSPC; errors.Is(err, ErrNoSpace) != full || (p.failed == nil) != full {
			t.Errorf("%v: answer %v, told %v", fault, err, p.failed)
		}
	}
}
