package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// fatalist is a test, of either package.
type fatalist interface {
	Helper()
	Fatal(args ...any)
}

// reference makes the file of an Origin as FORMAT.md defines it, out of all bytes of the log, which lie at their log
// offsets, and says what the Origin is.
func reference(t fatalist, log []byte, o Origin) ([]byte, Origin) {
	t.Helper()
	file := binary.BigEndian.AppendUint16(bytes.Clone(log[:4]), o.Revision)
	file = append(file, log[6:SuperblockSize]...)
	if o.Floor == 0 {
		return append(file, log[SuperblockSize:]...), o
	}
	records := logRecords(Version3, log[:o.Floor])
	last := map[blob.Key]int{}
	for i, r := range records {
		last[r.key] = i
	}
	for i, r := range records {
		raw := log[r.offset : r.offset+r.length]
		var n Needle
		if err := decodeNeedle(&n, Version3, raw); err != nil {
			t.Fatal(err)
		}
		born := time.Unix(0, int64(n.AppendAtNs))
		expired := o.AsOf != 0 && !n.TTL.IsZero() && time.Unix(0, o.AsOf).Sub(born) >= n.TTL.Duration()
		if last[r.key] == i && r.size > 0 && !expired {
			file = append(file, raw...)
		}
	}
	o.Sum, o.Skipped = Checksum(file[SuperblockSize:]), o.Floor-int64(len(file))
	return append(file, log[o.Floor:]...), o
}

// copyOfLog is one copy of the log in a generationMachine.
type copyOfLog struct {
	disk  *vfs.Mem
	store *Store
	v     *Volume
	p     *puppet // nil for the copy into which blobs are put
}

func (c *copyOfLog) length() (n int64) {
	if c.p == nil {
		return c.v.LogLength()
	}
	c.p.do(func(l *Log) { n = l.Length() })
	return n
}

// generationMachine has copies of a log that compact at different times.
type generationMachine struct {
	t     testing.TB
	clock *fakeClock
	log   []byte // all that was ever committed, at log offsets
	main  *copyOfLog
	each  []*copyOfLog // main is the first
	known []Origin     // that main has had, or another one might
	blobs uint64
}

func newGenerationMachine(t testing.TB, copies int) *generationMachine {
	m := &generationMachine{t: t, clock: newFakeClock()}
	for i := range copies {
		c := &copyOfLog{disk: vfs.NewMem()}
		c.store, c.v = createTestVolume(t, c.disk, m.config())
		if i > 0 {
			c.p = newPuppet(t, c.v)
		}
		m.each = append(m.each, c)
	}
	m.main = m.each[0]
	m.log = readTestFile(t, m.main.disk, testBase+".dat")
	return m
}

func (m *generationMachine) config() Config { return Config{Now: m.clock.Now} }

// collect takes down what was appended.
func (m *generationMachine) collect(t fatalist) {
	t.Helper()
	b := make([]byte, m.main.v.LogLength()-int64(len(m.log)))
	if _, err := m.main.v.ReadLog(int64(len(m.log)), b, m.main.v.Origin()); err != nil {
		t.Fatal(err)
	}
	m.log = append(m.log, b...)
}

func (m *generationMachine) write(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "operations") {
		key := blob.Key(rapid.IntRange(1, 9).Draw(t, "key"))
		m.blobs++
		n := &Needle{Key: key, Cookie: testCookie, Data: payload(m.blobs, rapid.IntRange(0, 300).Draw(t, "size"))}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			if _, err := m.main.v.Delete(key, testCookie); err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			continue
		case 2:
			n.TTL = blob.TTL{Count: uint8(rapid.IntRange(1, 3).Draw(t, "minutes")), Unit: blob.TTLMinute}
		}
		if err := m.main.v.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	m.collect(t)
}

func (m *generationMachine) compact(t *rapid.T) {
	options := CompactOptions{}
	if rapid.Bool().Draw(t, "expired ones too") {
		options.AsOf = m.clock.Now().Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "ago")) * time.Second)
	}
	before := m.main.v.Origin()
	surveyed, err := m.main.v.Survey(options)
	if err != nil || m.main.v.Origin() != before {
		t.Fatalf("%+v, %v", m.main.v.Origin(), err)
	}
	done, err := m.main.v.Compact(options)
	if err != nil {
		t.Fatal(err)
	}
	o := m.main.v.Origin()
	if surveyed != o {
		t.Fatalf("surveyed %+v, compacted %+v", surveyed, o)
	}
	if o != done.Origin || o.Floor != int64(len(m.log)) || o.AsOf < before.AsOf || o.Revision != before.Revision+1 || done.After != m.main.v.SizeBytes() {
		t.Fatalf("%+v, and then %+v, %+v", before, o, done)
	}
	m.known = append(m.known, o)
}

// elsewhere has the log compacted by another server, whose clock is not that of main.
func (m *generationMachine) elsewhere(t *rapid.T) {
	asOf := m.clock.Now().Add(time.Duration(rapid.IntRange(-200, 30).Draw(t, "clock")) * time.Second).UnixNano()
	_, o := reference(t, m.log, Origin{Revision: m.main.v.Revision() + 1, Floor: int64(len(m.log)), AsOf: asOf})
	m.known = append(m.known, o)
}

func (m *generationMachine) copied(t *rapid.T) *copyOfLog {
	return m.each[rapid.IntRange(1, len(m.each)-1).Draw(t, "copy")]
}

// ship appends to a copy what it lacks, or a part of that, and commits some of it.
func (m *generationMachine) ship(t *rapid.T) {
	c := m.copied(t)
	o, begin := c.v.Origin(), c.length()
	file, _ := reference(t, m.log, o)
	to := rapid.Int64Range(begin, int64(len(m.log))).Draw(t, "to")
	if rapid.IntRange(0, 2).Draw(t, "all") > 0 {
		to = int64(len(m.log))
	}
	at := rapid.Int64Range(c.v.LogLength(), to).Draw(t, "commit")
	var err error
	c.p.do(func(l *Log) {
		err = l.Write(begin, file[begin-o.Skipped:to-o.Skipped])
		if err == nil && (l.Length() != to || l.Whole() > to || l.Origin() != o) {
			err = fmt.Errorf("%d bytes, whole records up to %d, want %d; origin %+v", l.Length(), l.Whole(), to, l.Origin())
		}
		l.Commit(at)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := int64(SuperblockSize)
	for _, r := range logRecords(Version3, file[:at-o.Skipped]) {
		want = r.offset + r.length
	}
	if c.v.LogLength() != want+o.Skipped || c.v.SizeBytes() != want {
		t.Fatalf("%d bytes of the log are committed, %d of the file, not %d and %d", c.v.LogLength(), c.v.SizeBytes(), want+o.Skipped, want)
	}
}

func (m *generationMachine) cut(t *rapid.T) {
	c := m.copied(t)
	o, length := c.v.Origin(), c.length()
	to := rapid.Int64Range(0, length).Draw(t, "to")
	if rapid.Bool().Draw(t, "near the end") {
		to = max(length-500, to)
	}
	var err error
	c.p.do(func(l *Log) { err = l.Cut(to) })
	if possible := to >= SuperblockSize+o.Skipped; possible != (err == nil) {
		t.Fatalf("cut a log of %d bytes and floor %d to %d: %v", length, o.Floor, to, err)
	}
	if after := c.length(); err == nil && after != to || err != nil && after != length || c.v.ReadOnly() != 0 {
		t.Fatalf("%d bytes after a cut of %d to %d; %s", after, length, to, c.v.ReadOnly())
	}
}

func (m *generationMachine) follow(t *rapid.T) {
	if len(m.known) == 0 {
		return
	}
	c := m.copied(t)
	to := rapid.SampledFrom(m.known).Draw(t, "origin")
	if rapid.Bool().Draw(t, "the latest") {
		to = m.known[len(m.known)-1]
	}
	from, committed := c.v.Origin(), c.v.LogLength()
	done, err := c.v.Compact(CompactOptions{Follow: &to})
	var want error
	switch {
	case to == from:
	case from.Floor > committed:
		want = ErrNotThere
	case to.Floor < from.Floor || to.Floor == from.Floor && to.Revision == from.Revision:
		want = ErrCompactedFurther
	case to.Floor > committed:
		want = ErrNotThere
	case to.AsOf < from.AsOf && err != nil: // unless nothing has expired in between
		want = ErrCompactedFurther
	}
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("%+v at %d follows %+v: %v, want %v", from, committed, to, err, want)
	}
	if err == nil {
		from = to
		if done.Origin != to || done.Revision != to.Revision || done.After != c.v.SizeBytes() || done.Live != c.v.index().Len() {
			t.Fatalf("%+v", done)
		}
	}
	if c.v.Origin() != from || c.v.LogLength() != committed {
		t.Fatalf("the log is %+v with %d bytes, want %+v with %d", c.v.Origin(), c.v.LogLength(), from, committed)
	}
}

// reset has a copy begin anew, as one of another origin or from the very beginning.
func (m *generationMachine) reset(t *rapid.T) {
	c := m.copied(t)
	o := rapid.SampledFrom(append([]Origin{{}}, m.known...)).Draw(t, "origin")
	var err error
	c.p.do(func(l *Log) {
		err = l.Reset(o)
		if begin := SuperblockSize + o.Skipped; err == nil && (l.Origin() != o || l.Length() != begin || l.Whole() != begin || l.Waiting()) {
			err = fmt.Errorf("%+v, %d bytes, %d whole", l.Origin(), l.Length(), l.Whole())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.v.Status(); s.Live != 0 || s.DeletedCount != 0 || s.DeletedBytes != 0 || s.SizeBytes != SuperblockSize || s.Revision != o.Revision {
		t.Fatalf("%+v", s)
	}
}

func (m *generationMachine) reopen(t *rapid.T) {
	i := rapid.IntRange(0, len(m.each)-1).Draw(t, "copy")
	c := m.each[i]
	if rapid.Bool().Draw(t, "kill") {
		old := c.store
		c.disk = c.disk.Crash(vfs.LoseUnsynced, nil)
		_ = old.Close() // on a disk that is gone
	} else if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	o := c.v.Origin()
	c.store, c.v = openTestVolume(m.t, c.disk, m.config())
	if c.v.Origin() != o || c.v.ReadOnly() != 0 {
		t.Fatalf("%+v became %+v, %s", o, c.v.Origin(), c.v.ReadOnly())
	}
	if i > 0 {
		c.p = newPuppet(m.t, c.v)
	}
}

func (m *generationMachine) check(t *rapid.T) {
	for i, c := range m.each {
		o, length := c.v.Origin(), c.length()
		file, same := reference(t, m.log, o)
		if o != same {
			t.Fatalf("copy %d is of %+v, want %+v", i, o, same)
		}
		got := readTestFileR(t, c.disk, testBase+".dat")
		if int64(len(got)) != length-o.Skipped || !bytes.HasPrefix(file, got) {
			t.Fatalf("copy %d of %+v: %d bytes for %d, equal up to %d", i, o, len(got), length, commonPrefix(file, got))
		}
		m.checkIndex(t, c, got[:c.v.SizeBytes()])
		at := rapid.Int64Range(0, length).Draw(t, "read at")
		b := make([]byte, rapid.Int64Range(0, length-at).Draw(t, "bytes"))
		_, err := c.v.ReadLog(at, b, o)
		switch {
		case at < SuperblockSize+o.Skipped:
			if err == nil {
				t.Fatalf("byte %d of a log that begins at %d is read", at, SuperblockSize+o.Skipped)
			}
		case err != nil || !bytes.Equal(b, file[at-o.Skipped:][:len(b)]):
			t.Fatalf("copy %d of %+v: %d bytes at %d: %v", i, o, len(b), at, err)
		}
		other := Origin{Revision: o.Revision + 1}
		if _, err := c.v.ReadLog(at, b, other); at < o.Floor != errors.Is(err, ErrCompacted) {
			t.Fatalf("copy %d of %+v: read at %d for another: %v", i, o, at, err)
		}
	}
}

func (m *generationMachine) checkIndex(t *rapid.T, c *copyOfLog, file []byte) {
	live := map[blob.Key]logRecord{}
	for _, r := range logRecords(Version3, file) {
		if live[r.key] = r; r.size == 0 {
			delete(live, r.key)
		}
	}
	if n := c.v.index().Len(); n != len(live) {
		t.Fatalf("%d needles are live, want %d", n, len(live))
	}
	for key, r := range live {
		if offset, ok := c.v.OffsetOf(key); !ok || offset != r.offset {
			t.Fatalf("key %d is at %d, want %d", key, offset, r.offset)
		}
		if _, _, err := c.v.Get(key, testCookie, nil); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatalf("key %d: %v", key, err)
		}
	}
}

// TestCopiesCompactAlike: whatever a copy has got, has committed, and has compacted before, the same compaction makes
// the same bytes of it at any later time.
func TestCopiesCompactAlike(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newGenerationMachine(t, 3)
		r.Repeat(map[string]func(*rapid.T){
			"write": m.write, "write more": m.write,
			"compact": m.compact, "compact elsewhere": m.elsewhere,
			"ship": m.ship, "ship more": m.ship, "ship most": m.ship,
			"follow": m.follow, "follow more": m.follow, "follow most": m.follow,
			"cut":    m.cut,
			"reset":  m.reset,
			"reopen": m.reopen,
			"later":  func(r *rapid.T) { m.clock.advance(time.Duration(rapid.IntRange(1, 100).Draw(r, "s")) * time.Second) },
			"":       m.check,
		})
		for _, c := range m.each {
			closeStore(t, c.store)
		}
	})
}

// TestCopiesThatDiffer: a compaction is not followed where it would have another result, and nothing changes.
func TestCopiesThatDiffer(t *testing.T) {
	m := newGenerationMachine(t, 1)
	for key := blob.Key(1); key <= 20; key++ {
		mustPut(t, m.main.v, key, payload(uint64(key), 200))
		if key%2 == 0 {
			mustDelete(t, m.main.v, key)
		}
	}
	m.collect(t)
	if _, err := m.main.v.Compact(CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	o := m.main.v.Origin()
	defer closeStore(t, m.main.store)
	for what, change := range map[string]func(log []byte) Origin{
		"another blob": func(log []byte) Origin {
			first := logRecords(Version3, log)[0]
			other := shipPut(first.key, payload(99, 200), first.appendAtNs)
			copy(log[first.offset:], other.raw)
			return o
		},
		"a deletion more": func(log []byte) Origin {
			records := logRecords(Version3, log)
			binary.BigEndian.PutUint64(log[records[2].offset+4:], 1) // that of key 2
			return o
		},
		"another sum":     func([]byte) Origin { p := o; p.Sum++; return p },
		"another length":  func([]byte) Origin { p := o; p.Skipped += 8; return p },
		"inside a record": func([]byte) Origin { p := o; p.Floor -= 8; p.Skipped -= 8; return p },
	} {
		log := bytes.Clone(m.log)
		follow := change(log)
		disk, _, p := newFollower(t, Config{})
		p.do(func(l *Log) {
			if err := l.Write(SuperblockSize, log[SuperblockSize:]); err != nil {
				t.Error(err)
			}
			l.Commit(l.Length())
		})
		if _, err := p.v.Compact(CompactOptions{Follow: &follow}); !errors.Is(err, ErrCopiesDiffer) {
			t.Errorf("%s: %v", what, err)
		}
		wantNoLeftovers(t, disk)
		if got := readTestFile(t, disk, testBase+".dat"); !bytes.Equal(got, log) || p.v.Origin() != (Origin{}) || len(p.compacted) > 0 {
			t.Errorf("%s: something has changed: %+v", what, p.v.Origin())
		}
	}
}

// TestOriginIsKept: .meta tells the origin, and a program that does not know of it refuses the volume; where it does not
// fit, the volume is damaged.
func TestOriginIsKept(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	fillForCompaction(t, v)
	if _, err := v.Compact(CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	o := v.Origin()
	closeStore(t, s)
	f := readVolumeFiles(t, disk)
	want := fmt.Sprintf(`"origin":{"revision":1,"floor":%d,"skipped":%d,"asOf":0,"sum":%d}`, o.Floor, o.Skipped, o.Sum)
	if !bytes.Contains(f.meta, []byte(want)) || !bytes.Contains(f.meta, []byte(`"version":3`)) {
		t.Errorf(".meta is %s, want %s", f.meta, want)
	}
	for what, change := range map[string][2]string{
		"another revision": {`"origin":{"revision":1`, `"origin":{"revision":2`},
		"no such place":    {`"skipped":`, `"skipped":1`},
		"negative":         {`"floor":`, `"floor":-`},
	} {
		bad := f.clone()
		bad.meta = bytes.Replace(f.meta, []byte(change[0]), []byte(change[1]), 1)
		s, v := openTestVolume(t, bad.disk(t), Config{})
		if v.ReadOnly() != CauseDamaged {
			t.Errorf("%s: %q", what, v.ReadOnly())
		}
		closeStore(t, s)
	}
}
