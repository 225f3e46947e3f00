package storage

import (
	"errors"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// helped has a task run by the caller, as soon as the committer rests.
func (p *puppet) helped(t testing.TB, task func(l *Log)) {
	t.Helper()
	late := time.Now().Add(20 * time.Second)
	for ran := false; !ran; {
		if time.Now().After(late) {
			t.Fatal("the committer never rests")
		}
		done := make(chan struct{})
		p.v.Help(func() {
			task(p.log)
			close(done)
		})
		select {
		case <-done:
			ran = true
		default: // the committer does it
			<-done
		}
	}
}

// A helper does all that a task leads to, but for syncs.
func TestHelp(t *testing.T) {
	const ns = 1<<60 + 1
	for policy, within := range map[SyncPolicy]bool{SyncNever: true, SyncAlways: false} {
		_, _, p := newFollower(t, Config{Sync: policy})
		var records []shipped
		for range 20 {
			var length int64
			p.helped(t, func(l *Log) {
				r := shipPut(7, payload(7, 10+len(records)), ns+uint64(len(records)))
				if err := l.Write(l.Length(), r.raw); err != nil {
					t.Error(err)
				}
				length, records = l.Length(), append(records, r)
			})
			p.mu.Lock()
			persisted := p.persisted
			p.mu.Unlock()
			if within && persisted != length {
				t.Errorf("durable up to %d, want %d", persisted, length)
			}
			p.await(t, "a sync", func() bool { return p.persisted == length })
		}
		p.helped(t, func(l *Log) { l.Commit(l.Length()) })
		wantRecords(t, p.v, records)
	}
}

// Who commits a flight as a helper appends what waited for its end.
func TestHelperGoesOn(t *testing.T) {
	_, s, p := newFollower(t, Config{Sync: SyncNever})
	first := laterPut(p.v, 1, payload(1, 10))
	p.awaitAppend(t, SuperblockSize)
	var rest []<-chan error
	for key := range 5 {
		rest = append(rest, laterPut(p.v, blob.Key(2+key), payload(2, 10)))
	}
	p.awaitQueued(5)
	var length int64
	p.helped(t, func(l *Log) {
		if length == 0 {
			length = l.Length()
		}
		l.Commit(l.Length())
	})
	if err := <-first; err != nil {
		t.Error(err)
	}
	p.awaitAppend(t, length)
	p.helped(t, func(l *Log) { l.Commit(l.Length()) })
	for _, done := range rest {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	closeStore(t, s)
	if p.v.Help(func() { t.Error("ran") }) || !errors.Is(p.v.Put(&Needle{Key: 9}), ErrClosed) {
		t.Error("a closed volume takes more")
	}
}

// quick is a Replicator whose copies are always there at once: what is appended is committed before the call returns.
type quick struct {
	solo
	idle chan struct{}
}

func (q *quick) Idle() { q.idle <- struct{}{} }

// Who has its operation decided at once tells that nothing follows, or has it told.
func TestIdleIsToldAfterALead(t *testing.T) {
	_, v := createTestVolume(t, vfs.NewMem(), Config{Sync: SyncNever})
	idle := make(chan struct{}, 100)
	if err := v.Replicate(func(l *Log) Replicator { return &quick{solo{log: l, committed: l.Length()}, idle} }); err != nil {
		t.Fatal(err)
	}
	for key := range blob.Key(50) {
		mustPut(t, v, key+1, []byte("x"))
		select {
		case <-idle:
		case <-time.After(20 * time.Second):
			t.Fatalf("put %d: nobody was told that nothing follows", key)
		}
	}
}

// What is refused for an operation of its commit is answered with it where there are no other copies to wait for.
func TestRefusedForAMateOfTheOnlyCopy(t *testing.T) {
	_, v := createTestVolume(t, vfs.NewMem(), Config{Sync: SyncNever})
	replicateAlone(t, v)
	mustPut(t, v, 1, []byte("x"))
	begun, held := make(chan struct{}), make(chan struct{})
	v.Post(func() { close(begun); <-held })
	<-begun
	deletes := []<-chan error{laterDelete(v, 1), laterDelete(v, 1)}
	for waiting := 0; waiting < len(deletes); {
		v.committer.mu.Lock()
		waiting = len(v.committer.waiting)
		v.committer.mu.Unlock()
	}
	close(held)
	late := time.After(20 * time.Second)
	notFound := 0
	for _, done := range deletes {
		select {
		case err := <-done:
			if errors.Is(err, ErrNotFound) {
				notFound++
			} else if err != nil {
				t.Error(err)
			}
		case <-late:
			t.Fatal("a delete is not answered")
		}
	}
	if notFound != 1 {
		t.Errorf("%d of 2 deletes found nothing", notFound)
	}
}
