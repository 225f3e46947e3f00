package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// within runs a task once in the middle of a compaction, and returns what that says.
func within(v *Volume, task func()) error {
	_, err := v.Compact(CompactOptions{Pace: func(int) error {
		if task != nil {
			task()
		}
		task = nil
		return nil
	}})
	return err
}

// TestCompactMovesFlight: what is in flight when a log is compacted is settled as ever: its front stands, and the rest
// is decided anew.
func TestCompactMovesFlight(t *testing.T) {
	disk, s, p := newFollower(t, Config{})
	for key := blob.Key(1); key <= 6; key++ {
		length := p.v.LogLength()
		put := laterPut(p.v, key%3+1, payload(uint64(key), 700))
		p.awaitAppend(t, length)
		p.commitAll()
		if err := <-put; err != nil {
			t.Fatal(err)
		}
	}
	p.change(func() { p.accepts = ErrWait })
	first := laterPut(p.v, 11, payload(11, 100))
	p.awaitQueued(1)
	second := laterDelete(p.v, 3)
	p.awaitQueued(2)
	third := laterPut(p.v, 12, payload(12, 100))
	p.awaitQueued(3)
	length := p.v.LogLength()
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	p.awaitAppend(t, length)
	var ends []int64
	var before, after int64
	p.do(func(l *Log) {
		before = l.Length()
		for _, op := range p.v.committer.replica.flight.ops {
			ends = append(ends, op.end())
		}
	})
	if len(ends) != 3 {
		t.Fatalf("%d operations are in flight", len(ends))
	}
	done, err := p.v.Compact(CompactOptions{})
	if err != nil || done.After >= done.Before {
		t.Fatalf("%+v, %v", done, err)
	}
	wantPending(t, "a put", first)
	if err := p.v.Settled(12, 0); !errors.Is(err, ErrWait) {
		t.Errorf("settled: %v", err)
	}
	p.do(func(l *Log) {
		after = l.Length()
		p.change(func() { p.accepts = errNotHere })
		if err := l.Cut(ends[1]); err != nil {
			t.Error(err)
		}
	})
	if before != after || p.v.LogLength() != length {
		t.Errorf("%d bytes became %d; %d are committed, not %d", before, after, p.v.LogLength(), length)
	}
	wantPending(t, "a put of the front", first)
	p.commitAll()
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
	if err := <-third; !errors.Is(err, errNotHere) {
		t.Errorf("what was cut: %v", err)
	}
	for key, data := range map[blob.Key][]byte{11: payload(11, 100), 3: nil, 12: nil, 1: payload(6, 700), 2: payload(4, 700)} {
		wantData(t, p.v, key, data)
	}
	if len(p.compacted) != 1 || p.compacted[0] != p.v.Origin() || p.compacted[0].Floor != length {
		t.Errorf("told of %+v", p.compacted)
	}
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
}

// TestCompactLargeTail: what is not committed may be longer than what is copied at once.
func TestCompactLargeTail(t *testing.T) {
	disk, _, p := newFollower(t, Config{})
	front := joined([]shipped{shipPut(1, payload(1, 5000), 1<<60), shipPut(1, payload(2, 100), 1<<60+4096)})
	tail := shipPut(2, payload(3, 3<<20), 1<<60+8192)
	piece := len(tail.raw) - 5
	p.do(func(l *Log) {
		err := l.Write(SuperblockSize, front)
		l.Commit(l.Length())
		if err = errors.Join(err, l.Write(l.Length(), tail.raw[:piece])); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.v.Compact(CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	o := p.v.Origin()
	p.do(func(l *Log) {
		if l.Length() != o.Floor+int64(piece) || l.Whole() != o.Floor {
			t.Errorf("%d bytes, %d whole; floor %d", l.Length(), l.Whole(), o.Floor)
		}
		if err := l.Write(l.Length(), tail.raw[piece:]); err != nil {
			t.Error(err)
		}
		l.Commit(l.Length())
	})
	wantData(t, p.v, 1, payload(2, 100))
	wantData(t, p.v, 2, tail.data)
	if got := readTestFile(t, disk, testBase+".dat"); !bytes.Equal(got[o.Floor-o.Skipped:], tail.raw) {
		t.Error("the tail is not what was written")
	}
}

// TestCompactRefusedByReplicator: the replicator is asked when a compaction begins, and before the logs change.
func TestCompactRefusedByReplicator(t *testing.T) {
	disk, _, p := newFollower(t, Config{})
	there := shipPut(1, payload(1, 3000), 1<<60)
	p.do(func(l *Log) {
		if err := l.Write(SuperblockSize, there.raw); err != nil {
			t.Error(err)
		}
		l.Commit(l.Length())
	})
	refuse := func() { p.change(func() { p.rooted = errNotHere }) }
	if err := within(p.v, refuse); !errors.Is(err, errNotHere) {
		t.Errorf("refused at the end: %v", err)
	}
	if err := within(p.v, func() { t.Error("it has begun") }); !errors.Is(err, errNotHere) {
		t.Errorf("refused: %v", err)
	}
	wantNoLeftovers(t, disk)
	if p.v.Origin() != (Origin{}) || len(p.compacted) > 0 {
		t.Errorf("%+v, told of %+v", p.v.Origin(), p.compacted)
	}
}

// TestResetMeetsCompaction: a log that begins anew while it is compacted is not replaced by the old one, and who reads
// the old one goes on.
func TestResetMeetsCompaction(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	want := fillForCompaction(t, v)
	p := newPuppet(t, v)
	reader, err := v.Open(59, testCookie)
	if err != nil {
		t.Fatal(err)
	}
	o := Origin{Revision: 8, Floor: 4000, Skipped: 2000, AsOf: 5, Sum: 6}
	err = within(v, func() {
		p.do(func(l *Log) {
			if err := l.Reset(o); err != nil {
				t.Error(err)
			}
		})
	})
	if !errors.Is(err, ErrCompacting) {
		t.Errorf("the compaction: %v", err)
	}
	wantNoLeftovers(t, disk)
	if left := readTestFile(t, disk, testBase+".dat"); len(left) != SuperblockSize {
		t.Errorf("the compaction has written %d bytes to the new log", len(left)-SuperblockSize)
	}
	b := make([]byte, len(want[59]))
	if _, err := reader.ReadAt(b, 0); err != nil || !bytes.Equal(b, want[59]) {
		t.Errorf("a reader of the old log: %v", err)
	}
	wantData(t, v, 59, nil)
	if _, err := v.Compact(CompactOptions{}); !errors.Is(err, ErrNotThere) {
		t.Errorf("a log that is not complete is compacted: %v", err)
	}
	if again, err := v.Compact(CompactOptions{Follow: &o}); err != nil || again.Origin != o {
		t.Errorf("%+v, %v", again, err)
	}
	if v.Origin() != o || v.LogLength() != SuperblockSize+2000 || v.Revision() != 8 || v.SizeBytes() != SuperblockSize {
		t.Errorf("%+v, %d bytes", v.Status(), v.LogLength())
	}
	for _, bad := range []Origin{{Floor: 100, Skipped: 99}, {Skipped: 8}, {Floor: 16, Skipped: 16}, {Floor: -8}, {Floor: 800, Skipped: -8}} {
		p.do(func(l *Log) {
			if err := l.Reset(bad); err == nil || l.Origin() != o {
				t.Errorf("%+v: %v", bad, err)
			}
		})
	}
	p.do(func(l *Log) {
		if err := l.Reset(Origin{}); err != nil || l.Length() != SuperblockSize {
			t.Errorf("%d bytes: %v", l.Length(), err)
		}
	})
	if m := readTestFile(t, disk, testBase+".meta"); bytes.Contains(m, []byte("origin")) || !bytes.Contains(m, []byte(`"version":1`)) {
		t.Errorf(".meta is %s", m)
	}
	if left := readTestFile(t, disk, testBase+".dat"); !bytes.Equal(left, []byte{3, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("the log is %x", left)
	}
}

// TestResetFailsInCompaction: neither comes about, and the log is as it was.
func TestResetFailsInCompaction(t *testing.T) {
	for _, file := range []string{"*.cpd", "*.cpx"} {
		disk := vfs.NewMem()
		s, v := createTestVolume(t, disk, Config{})
		want := fillForCompaction(t, v)
		p := newPuppet(t, v)
		err := within(v, func() {
			disk.SetFault(func(op vfs.Op) error {
				if op.Is(file, vfs.OpCreate) {
					return syscall.EIO
				}
				return nil
			})
			p.do(func(l *Log) {
				if err := l.Reset(Origin{Revision: 9}); !errors.Is(err, syscall.EIO) || l.Origin() != (Origin{}) {
					t.Errorf("reset: %v", err)
				}
			})
			disk.SetFault(nil)
		})
		if !errors.Is(err, ErrCompacting) {
			t.Errorf("the compaction: %v", err)
		}
		wantNoLeftovers(t, disk)
		wantAll(t, v, want)
		closeStore(t, s)
		s, v = openTestVolume(t, disk, Config{})
		if v.ReadOnly() != 0 || v.Origin() != (Origin{}) {
			t.Errorf("%s, %+v", v.ReadOnly(), v.Origin())
		}
		wantAll(t, v, want)
		closeStore(t, s)
	}
}

// TestResetWhileSettling: who waits for what becomes of a key does not take the empty log for an answer.
func TestResetWhileSettling(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	records := []shipped{shipPut(1, payload(1, 100), 1<<60), shipPut(1, payload(2, 100), 1<<60+4096)}
	p.do(func(l *Log) {
		if err := l.Write(SuperblockSize, joined(records)); err != nil {
			t.Error(err)
		}
		l.Commit(SuperblockSize + int64(len(records[0].raw)))
	})
	settled := make(chan error, 1)
	go func() { settled <- p.v.Settled(1, time.Minute) }()
	for waiting := false; !waiting; {
		keys := &p.v.committer.replica.keys
		keys.mu.Lock()
		waiting = keys.changed != nil
		keys.mu.Unlock()
	}
	resets := p.v.Resets()
	p.do(func(l *Log) {
		if err := l.Reset(Origin{}); err != nil {
			t.Error(err)
		}
	})
	if err := <-settled; !errors.Is(err, ErrWait) {
		t.Errorf("settled: %v", err)
	}
	if err := p.v.Settled(1, 0); err != nil || p.v.Resets() != resets+1 {
		t.Errorf("later: %v, %d resets after %d", err, p.v.Resets(), resets)
	}
}

// TestReplacedWhileScrubbed: what is found of a log that is not the volume's any more is not mended.
func TestReplacedWhileScrubbed(t *testing.T) {
	for what, replace := range map[string]func(p *puppet) error{
		"compacted": func(p *puppet) error { _, err := p.v.Compact(CompactOptions{}); return err },
		"reset": func(p *puppet) (err error) {
			p.do(func(l *Log) { err = l.Reset(Origin{}) })
			return err
		},
	} {
		disk := vfs.NewMem()
		_, v := createTestVolume(t, disk, Config{})
		fillForCompaction(t, v)
		p := newPuppet(t, v)
		end := v.SizeBytes()
		records := logRecords(Version3, readTestFile(t, disk, testBase+".dat"))
		last := records[len(records)-1]
		first := true
		err := v.Scrub(end, func(int) error {
			if first {
				first = false
				return replace(p)
			}
			return nil
		}, func(d Damage) bool { t.Errorf("%s: damage %+v", what, d); return false }, nil, func(int64) {})
		if !errors.Is(err, ErrCompacted) {
			t.Errorf("%s: %v", what, err)
		}
		size := v.SizeBytes()
		if _, err := v.Mend(last.offset, end, func([]byte, int64) error { t.Error("another copy is asked"); return nil }); !errors.Is(err, ErrUnfit) {
			t.Errorf("%s: mend: %v", what, err)
		}
		if got := int64(len(readTestFile(t, disk, testBase+".dat"))); got != size {
			t.Errorf("%s: the file has %d bytes, not %d", what, got, size)
		}
	}
}

// TestReplacedWhileMended: bytes for one log are not written into another.
func TestReplacedWhileMended(t *testing.T) {
	disk, _, p := newFollower(t, Config{})
	records := []shipped{shipPut(1, payload(1, 500), 1<<60), shipPut(1, payload(2, 500), 1<<60+4096), shipPut(3, payload(3, 500), 1<<60+8192)}
	raw := joined(records)
	p.do(func(l *Log) {
		if err := l.Write(SuperblockSize, raw); err != nil {
			t.Error(err)
		}
		l.Commit(l.Length())
	})
	if err := disk.Corrupt(testBase+".dat", SuperblockSize+100, 1); err != nil { // of what the compaction leaves out
		t.Fatal(err)
	}
	_, err := p.v.Mend(SuperblockSize, p.v.SizeBytes(), func(b []byte, offset int64) error {
		if p.v.Revision() == 0 {
			if _, err := p.v.Compact(CompactOptions{}); err != nil {
				t.Error(err)
			}
		}
		copy(b, raw[offset-SuperblockSize:])
		return nil
	})
	if !errors.Is(err, ErrCompacted) {
		t.Errorf("mend: %v", err)
	}
	if got := readTestFile(t, disk, testBase+".dat"); !bytes.Equal(got[SuperblockSize:], raw[len(records[0].raw):]) {
		t.Error("the new log is not what was copied")
	}
}

// TestCompactOfflineReplicated compacts a copy that no server has open; the offsets that its group speaks of stay.
func TestCompactOfflineReplicated(t *testing.T) {
	disk := vfs.NewMem()
	s := openTestStore(t, disk, Config{})
	v, err := s.Create(7, "", blob.Placement{Servers: 1}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	want := fillForCompaction(t, v)
	p := newPuppet(t, v)
	p.do(func(l *Log) {
		if err := l.Save(json.RawMessage(`{"n":1}`), true); err != nil {
			t.Error(err)
		}
	})
	length := v.LogLength()
	closeStore(t, s)
	whole := readVolumeFiles(t, disk)
	done, err := compactTestVolume(disk, Config{})
	if err != nil || done.After >= done.Before || done.Origin.Floor != length {
		t.Fatalf("%+v, %v", done, err)
	}
	s, v = openTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	wantAll(t, v, want)
	if _, err := s.Compact(7, CompactOptions{}); !errors.Is(err, ErrSeveralCopies) {
		t.Errorf("with nobody in touch with the other copies: %v", err)
	}
	p = newPuppet(t, v)
	if string(v.Kept()) != `{"n":1}` || v.LogLength() != length || v.Origin() != done.Origin {
		t.Errorf("kept %s, %d bytes of %d, %+v", v.Kept(), v.LogLength(), length, v.Origin())
	}
	more := shipPut(70, payload(70, 100), 1<<62)
	p.do(func(l *Log) {
		if err := l.Write(length, more.raw); err != nil {
			t.Error(err)
		}
		l.Commit(l.Length())
	})
	wantData(t, v, 70, more.data)
	// Another copy that does the same later is the same.
	other := whole.disk(t)
	s2, v2 := openTestVolume(t, other, Config{})
	defer closeStore(t, s2)
	p2 := newPuppet(t, v2)
	p2.do(func(l *Log) {
		if err := l.Write(length, more.raw); err != nil {
			t.Error(err)
		}
	})
	if _, err := v2.Compact(CompactOptions{Follow: &done.Origin}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readTestFile(t, disk, testBase+".dat"), readTestFile(t, other, testBase+".dat")) {
		t.Error("the copies differ")
	}
}
