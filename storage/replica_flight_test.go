package storage

import (
	"bytes"
	"errors"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

var errNotHere = errors.New("not the primary")

// later runs an operation and returns where its error comes.
func later(op func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- op() }()
	return done
}

func laterPut(v *Volume, key blob.Key, data []byte) <-chan error {
	return later(func() error { return v.Put(&Needle{Key: key, Cookie: testCookie, Data: data}) })
}

func laterDelete(v *Volume, key blob.Key) <-chan error {
	return later(func() error { _, err := v.Delete(key, testCookie); return err })
}

func wantPending(t testing.TB, what string, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Errorf("%s was answered with %v", what, err)
	default:
	}
}

// awaitQueued waits until so many operations are in the queue.
func (p *puppet) awaitQueued(n int) {
	for queued := 0; queued < n; {
		p.do(func(*Log) { queued = len(p.v.committer.queue) })
	}
}

// commitAll commits the whole log.
func (p *puppet) commitAll() { p.do(func(l *Log) { l.Commit(l.Length()) }) }

// An operation is visible, and answered, when it is committed, not before.
func TestFlightIsAnsweredWhenCommitted(t *testing.T) {
	disk, s, p := newFollower(t, Config{})
	v := p.v
	put := laterPut(v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	wantPending(t, "a put", put)
	wantData(t, v, 1, nil)
	if err := v.Settled(1, 0); !errors.Is(err, ErrWait) {
		t.Errorf("settled: %v", err)
	}
	p.do(func(l *Log) {
		if !l.Waiting() || l.Whole() != l.Length() {
			t.Error("nothing waits")
		}
		l.Commit(l.Length() - 1)
	})
	wantPending(t, "a put that is half committed", put)
	second := laterDelete(v, 1) // it can't be decided before the put is
	p.commitAll()
	if err := <-put; err != nil {
		t.Error(err)
	}
	wantData(t, v, 1, payload(1, 100))
	p.awaitAppend(t, v.LogLength()) // that of the delete, which is not published
	wantData(t, v, 1, payload(1, 100))
	p.commitAll()
	if err := <-second; err != nil {
		t.Error(err)
	}
	wantData(t, v, 1, nil)
	p.await(t, "rest", func() bool { return p.idle > 0 })
	closeStore(t, s)
	wantIdxAgrees(t, disk, testBase)
}

// Idle comes once, after what was appended last is decided.
func TestIdleComesOnce(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	put := laterPut(p.v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	p.do(func(*Log) {})
	if p.idle != 0 {
		t.Error("idle while something is in flight")
	}
	p.commitAll()
	if err := <-put; err != nil {
		t.Error(err)
	}
	p.await(t, "rest", func() bool { return p.idle > 0 })
	for range 3 {
		p.do(func(*Log) {})
	}
	if p.idle != 1 {
		t.Errorf("idle %d times", p.idle)
	}
}

// What was cut goes back into the queue in its order, and is decided anew.
func TestCutFlightIsDecidedAnew(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	v := p.v
	p.change(func() { p.accepts = ErrWait })
	first := laterPut(v, 1, payload(1, 100))
	p.do(func(l *Log) {
		if l.Length() != SuperblockSize {
			t.Error("appended though it was to wait")
		}
	})
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	p.awaitAppend(t, SuperblockSize)
	second := laterPut(v, 1, payload(2, 100))
	p.awaitQueued(1)
	p.do(func(l *Log) {
		p.change(func() { p.accepts, p.persisted = ErrWait, 0 })
		if err := l.Cut(SuperblockSize); err != nil {
			t.Error(err)
		}
	})
	if err := v.Settled(1, 0); err != nil {
		t.Errorf("a put that was cut: %v", err)
	}
	wantPending(t, "the first", first)
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	p.awaitAppend(t, SuperblockSize)
	p.commitAll()
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
	wantData(t, v, 1, payload(2, 100))
}

// Of a batch of which the others had the front only, the front stands and the rest is decided anew. A put that comes
// about where fewer servers than copies hold it is not acknowledged; a delete is.
func TestFrontOfFlightStands(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	put := laterPut(p.v, 3, payload(3, 100))
	p.awaitAppend(t, SuperblockSize)
	p.commitAll()
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	p.change(func() { p.accepts = ErrWait })
	first := laterPut(p.v, 1, payload(1, 100))
	p.awaitQueued(1)
	second := laterDelete(p.v, 3)
	p.awaitQueued(2)
	third := laterPut(p.v, 2, payload(2, 100))
	p.awaitQueued(3)
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	var ends []int64
	for len(ends) != 3 {
		p.do(func(*Log) {
			ends = nil
			if f := p.v.committer.replica.flight; f != nil {
				for _, op := range f.ops {
					ends = append(ends, op.end())
				}
			}
		})
	}
	p.do(func(l *Log) {
		p.change(func() { p.accepts = errNotHere })
		l.Lonely()
		if err := l.Cut(ends[1]); err != nil {
			t.Error(err)
		}
	})
	wantPending(t, "a put of the front", first)
	p.commitAll()
	if err := <-first; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a put that fewer servers have than there are to be copies: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("a delete: %v", err)
	}
	if err := <-third; !errors.Is(err, errNotHere) {
		t.Errorf("what was cut: %v", err)
	}
	wantData(t, p.v, 1, payload(1, 100))
	wantData(t, p.v, 2, nil)
	wantData(t, p.v, 3, nil)
}

// A put that was to be synced everywhere is not acknowledged when another server has made it come about, which need not
// have known of that.
func TestDurablePutOfAnEpochBefore(t *testing.T) {
	_, _, p := newFollower(t, Config{Sync: SyncNever})
	durable := make(chan error, 1)
	go func() { durable <- p.v.PutDurable(&Needle{Key: 1, Cookie: testCookie, Data: payload(1, 100)}) }()
	p.awaitAppend(t, SuperblockSize)
	p.do(func(l *Log) { l.Outlived() })
	p.commitAll()
	if err := <-durable; !errors.Is(err, ErrOutcomeUnknown) {
		t.Error(err)
	}
	plain := laterPut(p.v, 2, payload(2, 100))
	p.awaitAppend(t, p.v.SizeBytes())
	p.do(func(l *Log) { l.Outlived() })
	p.commitAll()
	if err := <-plain; err != nil {
		t.Error(err)
	}
}

// Who leads no more refuses what was cut and what waits.
func TestRefusedAfterCut(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	first := laterPut(p.v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	p.do(func(l *Log) {
		p.change(func() { p.accepts = errNotHere })
		if err := l.Cut(SuperblockSize); err != nil {
			t.Error(err)
		}
	})
	if err := <-first; !errors.Is(err, errNotHere) {
		t.Error(err)
	}
	if err := <-laterPut(p.v, 2, nil); !errors.Is(err, errNotHere) {
		t.Error(err)
	}
}

// With a copy missing there are no puts, but deletes.
func TestPutsNeedMore(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	put := laterPut(p.v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	p.commitAll()
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	p.change(func() { p.puts = errNotHere })
	if err := <-laterPut(p.v, 2, nil); !errors.Is(err, errNotHere) {
		t.Error(err)
	}
	remove := laterDelete(p.v, 1)
	p.awaitAppend(t, SuperblockSize+136)
	p.commitAll()
	if err := <-remove; err != nil {
		t.Error(err)
	}
}

// A copy that may be stale does not say that something is not there, or is another's.
func TestStaleCopyRefusesNothing(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	p.change(func() { p.stale = true })
	absent := laterDelete(p.v, 1)
	p.do(func(*Log) {})
	for range 3 {
		p.do(func(*Log) {})
		wantPending(t, "a delete of what is not here", absent)
	}
	there := shipPut(1, payload(1, 100), 1<<60)
	p.do(func(l *Log) { // another has appended it meanwhile
		if err := l.Write(SuperblockSize, there.raw); err != nil {
			t.Error(err)
		}
		l.Commit(l.Length())
	})
	p.awaitAppend(t, SuperblockSize+int64(len(there.raw)))
	p.commitAll()
	if err := <-absent; err != nil {
		t.Errorf("a delete of what came to light: %v", err)
	}
	again := laterDelete(p.v, 1)
	p.do(func(*Log) {})
	wantPending(t, "a delete of what is deleted", again)
	p.do(func(*Log) { p.change(func() { p.stale = false }) })
	if err := <-again; !errors.Is(err, ErrNotFound) {
		t.Errorf("a delete of what is deleted: %v", err)
	}
}

// What nobody can settle is given up in time: what another server may have is unknown, the rest did not happen.
func TestExpire(t *testing.T) {
	_, _, p := newFollower(t, Config{})
	v := p.v
	sent := laterPut(v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	queued := laterPut(v, 2, payload(2, 100))
	p.awaitQueued(1)
	const calls = 3
	for range calls {
		p.do(func(l *Log) { l.Expire(calls) })
	}
	wantPending(t, "what was sent", sent)
	wantPending(t, "what is queued", queued)
	p.do(func(l *Log) { l.Expire(calls) })
	if err := <-sent; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("what was sent: %v", err)
	}
	if err := <-queued; !errors.Is(err, ErrUnsettled) {
		t.Errorf("what was queued: %v", err)
	}
	p.commitAll() // nobody waits for it any more, and it is settled all the same
	wantData(t, v, 1, payload(1, 100))
	wantData(t, v, 2, nil)
	third := laterPut(v, 3, payload(3, 100))
	p.awaitAppend(t, SuperblockSize+136)
	p.do(func(l *Log) {
		p.change(func() { p.accepts = ErrWait })
		if err := l.Cut(SuperblockSize + 136); err != nil {
			t.Error(err)
		}
	})
	for range calls + 1 {
		p.do(func(l *Log) { l.Expire(calls) })
	}
	if err := <-third; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("what was sent and cut: %v", err)
	}
}

// Close answers all, and what was in flight is in the log, not committed.
func TestCloseWithOperationsUnderWay(t *testing.T) {
	disk, s, p := newFollower(t, Config{})
	v := p.v
	sent := laterPut(v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	queued := laterPut(v, 2, payload(2, 100))
	p.awaitQueued(1)
	closeStore(t, s)
	if err := <-sent; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("what was sent: %v", err)
	}
	if err := <-queued; !errors.Is(err, ErrClosed) {
		t.Errorf("what was queued: %v", err)
	}
	s, v = openTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	wantData(t, v, 1, payload(1, 100)) // who leads next decides
	wantData(t, v, 2, nil)
}

// Batches carry what came together, and a large one is split.
func TestFlightsCarryMany(t *testing.T) {
	_, _, p := newFollower(t, Config{Sync: SyncNever})
	p.change(func() { p.accepts = ErrWait })
	const n = maxBatchOps + 10
	answers := make([]<-chan error, n)
	for i := range answers {
		answers[i] = laterPut(p.v, blob.Key(i+1), bytes.Repeat([]byte{1}, 10))
	}
	p.awaitQueued(n)
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	var first int
	p.do(func(l *Log) {
		first = len(p.v.committer.replica.flight.ops)
		l.Commit(l.Length())
	})
	if first != maxBatchOps {
		t.Errorf("%d operations in a flight", first)
	}
	p.commitAll()
	for _, answer := range answers {
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
	}
}

// A durable put is synced whatever the policy.
func TestFlightSyncs(t *testing.T) {
	disk, _, p := newFollower(t, Config{Sync: SyncNever})
	for _, durable := range []bool{false, true} {
		n := &Needle{Key: 1, Cookie: testCookie, Data: payload(1, 100)}
		var length int64
		p.do(func(l *Log) { length = l.Length() })
		done := later(func() error {
			if durable {
				return p.v.PutDurable(n)
			}
			return p.v.Put(n)
		})
		p.awaitAppend(t, length)
		left := readTestFile(t, disk.Image(vfs.LoseUnsynced, nil), testBase+".dat")
		if kept := int64(len(left)) > length; kept != durable {
			t.Errorf("durable: %v, kept: %v", durable, kept)
		}
		p.commitAll()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
