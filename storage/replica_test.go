package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// solo is a Replicator without other copies: what is durable is committed. After a failure it takes what is not
// committed back, and takes no more.
type solo struct {
	log       *Log
	committed int64
	err       error
}

func (s *solo) Accepts(bool) error   { return s.err }
func (s *solo) Appended(int64, bool) {}
func (s *solo) Current() bool        { return true }
func (s *solo) Idle()                {}

// Compactable lets compact what is committed; after a failure nothing.
func (s *solo) Compactable(floor int64) error {
	if s.err == nil && floor > s.committed {
		return errors.New("not all of it is committed")
	}
	return s.err
}

func (s *solo) Compacted(Origin) {}

func (s *solo) Persisted() {
	s.committed = s.log.Length()
	s.log.Commit(s.committed)
}

func (s *solo) Failed(err error) {
	if s.err == nil {
		s.err = err
		_ = s.log.Cut(s.committed) // the disk has failed once; what is left then, the model knows
	}
}

// replicateAlone gives a volume a solo.
func replicateAlone(t testing.TB, v *Volume) {
	t.Helper()
	if err := v.Replicate(func(l *Log) Replicator { return &solo{log: l, committed: l.Length()} }); err != nil {
		t.Error(err)
	}
}

// puppet is a Replicator that does what a test says.
type puppet struct {
	v     *Volume
	log   *Log
	calls int          // of do
	keys  atomic.Int64 // that putAll has used

	mu        sync.Mutex // guards the rest
	accepts   error
	puts      error
	stale     bool
	persisted int64 // up to where all is durable
	failed    error
	idle      int
	rooted    error         // why it can't be compacted
	compacted []Origin      // that were told
	moved     chan struct{} // closed at the next change
}

func newPuppet(t testing.TB, v *Volume) *puppet {
	t.Helper()
	p := &puppet{v: v, moved: make(chan struct{})}
	err := v.Replicate(func(l *Log) Replicator {
		p.log, p.persisted = l, l.Length()
		l.c.gather.limit = 0 // what is queued is in flight after the next turn
		return p
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *puppet) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *puppet) Accepts(puts bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if puts && p.puts != nil {
		return p.puts
	}
	return p.accepts
}

func (p *puppet) Appended(int64, bool) { p.change(func() {}) }
func (p *puppet) Persisted()           { p.change(func() { p.persisted = p.log.Length() }) }
func (p *puppet) Failed(err error)     { p.change(func() { p.failed = err }) }
func (p *puppet) Idle()                { p.change(func() { p.idle++ }) }
func (p *puppet) Compacted(o Origin)   { p.change(func() { p.compacted = append(p.compacted, o) }) }

func (p *puppet) Compactable(int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rooted
}

func (p *puppet) Current() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stale
}

// do runs a task on the committer, or every other time as its helper, and what the committer does after it.
func (p *puppet) do(task func(l *Log)) {
	run := p.v.Post
	if p.calls++; p.calls%2 == 0 {
		run = p.v.Help
	}
	none := func(*Log) {} // a helper leaves a sync to the committer, which comes to it behind the tasks that it finds
	for _, f := range []func(l *Log){task, none, none} {
		done := make(chan struct{})
		if !run(func() { f(p.log); close(done) }) {
			return
		}
		<-done
		run = p.v.Post
	}
}

// await waits until a condition of p holds.
func (p *puppet) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		moved, ok := p.moved, holds()
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-moved:
		case <-late:
			t.Fatalf("%s did not come about", what)
		}
	}
}

// awaitAppend waits until the log is longer than length, and durable.
func (p *puppet) awaitAppend(t testing.TB, length int64) {
	t.Helper()
	p.await(t, "an append", func() bool { return p.persisted > length })
}

// shipped is a record as another copy sends it.
type shipped struct {
	key  blob.Key
	data []byte // nil for a tombstone
	raw  []byte
}

func shipPut(key blob.Key, data []byte, ns uint64) shipped {
	n := &Needle{Key: key, Cookie: testCookie, Data: data, Checksum: Checksum(data)}
	var r record
	if err := r.encodePut(Version3, n); err != nil {
		panic(err)
	}
	r.stamp(ns)
	return shipped{key, data, r.appendTo(nil)}
}

func shipDelete(key blob.Key, ns uint64) shipped {
	var r record
	r.encodeDelete(Version3, &Needle{Key: key, Cookie: testCookie}, 7)
	r.stamp(ns)
	return shipped{key, nil, r.appendTo(nil)}
}

func joined(records []shipped) (raw []byte) {
	for _, r := range records {
		raw = append(raw, r.raw...)
	}
	return raw
}

// wantRecords checks that a volume shows these records and no others.
func wantRecords(t testing.TB, v *Volume, records []shipped) {
	t.Helper()
	live := map[blob.Key][]byte{}
	loader := index.NewLoader()
	at := int64(SuperblockSize)
	for _, r := range records {
		size := int32(parseHeader(r.raw).size)
		if r.data == nil {
			size = tombstoneSize
		}
		idxEntry{key: r.key, offset: uint32(at / needleAlignment), size: size}.loadInto(loader)
		at += int64(len(r.raw))
		if live[r.key] = r.data; r.data == nil {
			delete(live, r.key)
		}
	}
	for key, data := range live {
		wantData(t, v, key, data)
	}
	_, replaced := loader.Map()
	s := v.Status()
	if s.Live != len(live) || s.SizeBytes != at || s.DeletedCount != uint64(replaced.Count) || s.DeletedBytes != uint64(replaced.Bytes) {
		t.Fatalf("%d live, %d bytes, %d deleted of %d bytes; want %d, %d, %d of %d",
			s.Live, s.SizeBytes, s.DeletedCount, s.DeletedBytes, len(live), at, replaced.Count, replaced.Bytes)
	}
}

func newFollower(t testing.TB, cfg Config) (*vfs.Mem, *Store, *puppet) {
	t.Helper()
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, cfg)
	t.Cleanup(func() { _ = s.Close() })
	return disk, s, newPuppet(t, v)
}

// Records may come in pieces of any size: they are known when they are whole.
func TestReplicaWritesPieces(t *testing.T) {
	const ns = 1<<60 + 1
	records := []shipped{shipPut(1, payload(1, 5), ns), shipDelete(1, ns+1), shipPut(2, []byte{}, ns+4096), shipPut(3, payload(3, 90), ns+4097)}
	raw := joined(records)
	_, _, p := newFollower(t, Config{Sync: SyncNever})
	write := func(pieces ...[]byte) {
		p.do(func(l *Log) {
			at := int64(SuperblockSize)
			for _, piece := range pieces {
				if err := l.Write(at, piece); err != nil {
					t.Fatal(err)
				}
				at += int64(len(piece))
				whole := int64(SuperblockSize)
				for _, r := range records {
					if whole+int64(len(r.raw)) > at {
						break
					}
					whole += int64(len(r.raw))
				}
				if l.Length() != at || l.Whole() != whole {
					t.Fatalf("after %d bytes the log has %d, whole ones up to %d; want %d", at, l.Length(), l.Whole(), whole)
				}
			}
			wantRecords(t, p.v, nil)
			l.Commit(l.Length())
			wantRecords(t, p.v, records)
			if err := l.Cut(SuperblockSize); err != nil {
				t.Fatal(err)
			}
			wantRecords(t, p.v, nil)
		})
	}
	for i := range raw {
		write(raw[:i], raw[i:])
		for j := i + 1; j < len(raw); j += 7 {
			write(raw[:i], raw[i:j], raw[j:])
		}
	}
	var single [][]byte
	for i := range raw {
		single = append(single, raw[i:i+1])
	}
	write(single...)
}

func TestReplicaWritesLargePieces(t *testing.T) {
	const ns = 1<<60 + 1
	records := []shipped{shipPut(1, payload(1, 100), ns), shipPut(2, payload(2, 3<<20+5), ns+1), shipPut(3, payload(3, 700), ns+2), shipPut(4, payload(4, 1<<20), ns+3)}
	raw := joined(records)
	disk, s, p := newFollower(t, Config{})
	for size := 1 << 20; size > 300<<10; size -= 111_111 {
		p.do(func(l *Log) {
			for at := 0; at < len(raw); at += size {
				if err := l.Write(int64(SuperblockSize+at), raw[at:min(at+size, len(raw))]); err != nil {
					t.Fatal(err)
				}
			}
			l.Commit(l.Length())
			wantRecords(t, p.v, records)
			if size > 450<<10 {
				if err := l.Cut(SuperblockSize); err != nil {
					t.Fatal(err)
				}
			}
		})
		if size <= 450<<10 {
			break
		}
	}
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
}

// What can't be a record of the log is refused with all that came with it.
func TestReplicaRefusesDamage(t *testing.T) {
	const ns = 1<<60 + 1
	first, second := shipPut(1, payload(1, 100), ns), shipPut(2, payload(2, 300), ns+1)
	raw := joined([]shipped{first, second})
	disk, _, p := newFollower(t, Config{})
	noTime := shipPut(2, payload(2, 300), 0)
	damaged := map[string][]byte{
		"zeros":          append(bytes.Clone(first.raw), make([]byte, 64)...),
		"no append time": append(bytes.Clone(first.raw), noTime.raw...),
	}
	for _, at := range []int{12, 16, 21, 60, 110, 122} { // size, data size, data, checksum
		b := bytes.Clone(raw)
		b[len(first.raw)+at] ^= 0x80
		if at >= 110 {
			b = bytes.Clone(raw)
			b[at] ^= 1
		}
		damaged[fmt.Sprintf("bit at %d", at)] = b
	}
	for what, b := range damaged {
		for _, split := range []int{len(b), len(first.raw) + 20, len(first.raw) + 3} {
			p.do(func(l *Log) {
				err := l.Write(SuperblockSize, b[:split])
				if err == nil && split < len(b) {
					if l.Commit(l.Whole()); l.Whole() != SuperblockSize+int64(len(first.raw)) {
						t.Fatalf("%s: whole records up to %d", what, l.Whole())
					}
					length := l.Length()
					if err = l.Write(length, b[split:]); l.Length() != length {
						t.Errorf("%s: %d bytes are in the log, want %d", what, l.Length(), length)
					}
				} else if l.Length() != SuperblockSize || l.Waiting() {
					t.Errorf("%s: %d bytes are in the log", what, l.Length())
				}
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
				if size := int64(len(readTestFile(t, disk, testBase+".dat"))); size != l.Length() {
					t.Errorf("%s: the file has %d bytes, the log %d", what, size, l.Length())
				}
				if cause := p.v.ReadOnly(); cause != 0 {
					t.Errorf("%s: %v", what, cause)
				}
				if err := errors.Join(l.Cut(SuperblockSize), l.Write(SuperblockSize, raw)); err != nil {
					t.Fatal(err)
				}
				l.Commit(l.Length())
				wantRecords(t, p.v, []shipped{first, second})
				if err := l.Cut(SuperblockSize); err != nil {
					t.Fatal(err)
				}
			})
			if err := p.v.Settled(1, 0); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	p.do(func(l *Log) {
		if err := l.Write(SuperblockSize+8, raw); err == nil || l.Length() != SuperblockSize {
			t.Errorf("a write with a gap: %v", err)
		}
		for _, to := range []int64{0, SuperblockSize - 1, SuperblockSize + 1} {
			if err := l.Cut(to); err == nil {
				t.Errorf("cut to %d", to)
			}
		}
	})
}

// followerMachine drives a follower's log and a list of records side by side.
type followerMachine struct {
	disk      *vfs.Mem
	store     *Store
	p         *puppet
	records   []shipped
	partial   []byte // of a record behind them
	published int    // records
	ns        uint64
}

func (m *followerMachine) length() int64 {
	return SuperblockSize + int64(len(joined(m.records))) + int64(len(m.partial))
}

func (m *followerMachine) open(t testing.TB) {
	var v *Volume
	m.store, v = openTestVolume(t, m.disk, Config{})
	m.p = newPuppet(t, v)
	m.published, m.partial = len(m.records), nil
}

func (m *followerMachine) write(t *rapid.T) {
	if len(m.partial) > 0 {
		m.cutTo(t, m.length()-int64(len(m.partial)))
	}
	var batch []shipped
	m.ns += 4096
	for i := range rapid.IntRange(1, 4).Draw(t, "records") {
		key := blob.Key(rapid.IntRange(1, 6).Draw(t, "key"))
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			batch = append(batch, shipDelete(key, m.ns+uint64(i)))
		} else {
			batch = append(batch, shipPut(key, payload(m.ns+uint64(i), rapid.IntRange(1, 900).Draw(t, "size")), m.ns+uint64(i)))
		}
	}
	raw := joined(batch)
	last := batch[len(batch)-1].raw
	n := len(raw)
	if rapid.Bool().Draw(t, "torn") {
		n = len(raw) - rapid.IntRange(1, len(last)-1).Draw(t, "missing")
		m.partial = bytes.Clone(raw[len(raw)-len(last) : n])
		batch = batch[:len(batch)-1]
	}
	at := SuperblockSize + int64(len(joined(m.records)))
	m.records = append(m.records, batch...)
	m.p.do(func(l *Log) {
		if err := l.Write(at, raw[:n]); err != nil {
			t.Fatal(err)
		}
	})
}

func (m *followerMachine) commit(t *rapid.T) {
	m.published = rapid.IntRange(m.published, len(m.records)).Draw(t, "commit")
	to := SuperblockSize + int64(len(joined(m.records[:m.published])))
	if m.published < len(m.records) {
		to += rapid.Int64Range(0, int64(len(m.records[m.published].raw))-1).Draw(t, "more")
	}
	m.p.do(func(l *Log) { l.Commit(to) })
}

func (m *followerMachine) cut(t *rapid.T) {
	m.cutTo(t, rapid.Int64Range(SuperblockSize, m.length()).Draw(t, "cut"))
}

func (m *followerMachine) cutTo(t *rapid.T, to int64) {
	m.p.do(func(l *Log) {
		if err := l.Cut(to); err != nil {
			t.Fatal(err)
		}
	})
	log := append(joined(m.records), m.partial...)[:to-SuperblockSize]
	n, end := 0, 0
	for n < len(m.records) && end+len(m.records[n].raw) <= len(log) {
		end += len(m.records[n].raw)
		n++
	}
	m.records, m.partial, m.published = m.records[:n:n], bytes.Clone(log[end:]), min(m.published, n)
}

func (m *followerMachine) check(t *rapid.T) {
	m.p.do(func(l *Log) {
		if whole := SuperblockSize + int64(len(joined(m.records))); l.Length() != m.length() || l.Whole() != whole {
			t.Fatalf("%d bytes, whole records up to %d; want %d, %d", l.Length(), l.Whole(), m.length(), whole)
		}
	})
	if dat := readTestFileR(t, m.disk, testBase+".dat"); !bytes.Equal(dat[SuperblockSize:], append(joined(m.records), m.partial...)) {
		t.Fatal("the log is not what was written")
	}
	waiting := map[blob.Key]bool{}
	for _, r := range m.records[m.published:] {
		waiting[r.key] = true
	}
	for key := range blob.Key(7) {
		if err := m.p.v.Settled(key, 0); errors.Is(err, ErrWait) != waiting[key] {
			t.Fatalf("key %d: %v, waiting: %v", key, err, waiting[key])
		}
	}
}

func (m *followerMachine) close(t testing.TB) {
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFollowerIsAList writes, commits, cuts anywhere, closes, kills and opens, and compares with a list of records.
func TestFollowerIsAList(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &followerMachine{disk: vfs.NewMem(), ns: 1<<60 + 1}
		m.store, _ = createTestVolume(t, m.disk, Config{})
		m.close(t)
		m.open(t)
		r.Repeat(map[string]func(*rapid.T){
			"write":   m.write,
			"write 2": m.write,
			"commit":  m.commit,
			"cut":     m.cut,
			"reopen":  func(*rapid.T) { m.close(t); m.open(t) },
			"kill": func(*rapid.T) {
				old := m.store
				m.disk = m.disk.Crash(vfs.LoseNothing, nil)
				_ = old.Close() // on a disk that is gone
				m.open(t)
			},
			"power cut": func(r *rapid.T) { // all that was written is synced
				old := m.store
				m.disk = m.disk.Crash(vfs.LoseSome, rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)))
				_ = old.Close() // on a disk that is gone
				m.open(t)
			},
			"": func(r *rapid.T) {
				m.check(r)
				wantRecords(t, m.p.v, m.records[:m.published])
			},
		})
		m.close(t)
		if len(m.partial) == 0 && m.published == len(m.records) {
			wantIdxAgrees(t, m.disk, testBase)
		}
	})
}

// What is kept survives, and says whether torn tails may be cut.
func TestReplicaSaves(t *testing.T) {
	disk, s, p := newFollower(t, Config{})
	p.do(func(l *Log) {
		if err := l.Save(json.RawMessage(`{"a":1}`), true); err != nil {
			t.Error(err)
		}
	})
	if err := p.v.SetReadOnly(CauseOperator, true); err != nil {
		t.Error(err)
	}
	closeStore(t, s)
	p.do(func(*Log) { t.Error("a task of a closed volume ran") })
	if err := p.v.Replicate(func(*Log) Replicator { return p }); !errors.Is(err, ErrClosed) {
		t.Errorf("replicate a closed volume: %v", err)
	}
	s, v := openTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	if kept := string(v.Kept()); kept != `{"a":1}` || !v.meta.Elsewhere || v.ReadOnly() != CauseOperator {
		t.Errorf("kept %s, elsewhere %v, %v", kept, v.meta.Elsewhere, v.ReadOnly())
	}
}

// A reader waits for what is under way for its key, and only for that.
func TestSettledWaits(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	a, b := shipPut(1, payload(1, 10), 1<<60), shipPut(2, payload(2, 10), 1<<60+1)
	p.do(func(l *Log) {
		if err := l.Write(SuperblockSize, joined([]shipped{a, b})); err != nil {
			t.Error(err)
		}
	})
	if err := p.v.Settled(3, time.Minute); err != nil {
		t.Errorf("another key: %v", err)
	}
	if err := p.v.Settled(2, time.Nanosecond); !errors.Is(err, ErrWait) {
		t.Errorf("a key that is under way: %v", err)
	}
	settled := make(chan error, 2)
	for _, key := range []blob.Key{1, 2} {
		go func() { settled <- p.v.Settled(key, time.Minute) }()
	}
	p.do(func(l *Log) { l.Commit(SuperblockSize + int64(len(a.raw))) })
	if err := <-settled; err != nil {
		t.Error(err)
	}
	wantData(t, p.v, 1, a.data)
	wantData(t, p.v, 2, nil)
	p.do(func(l *Log) {
		if err := l.Cut(SuperblockSize + int64(len(a.raw))); err != nil {
			t.Error(err)
		}
	})
	if err := <-settled; err != nil {
		t.Error(err)
	}
	wantData(t, p.v, 2, nil)
}
