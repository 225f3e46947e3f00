package storage

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"time"

	"weed/internal/vfs"
)

// TestCutAndThereAllTheSame: a primary cuts what was not committed, another server leads before that is everywhere and has it
// in its log: then it has come about, and nobody is told that it was refused. What is not in that log is refused.
func TestCutAndThereAllTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(tail []byte) []byte
		compact    bool
		put, erase error
	}{
		"there":     {func(tail []byte) []byte { return tail }, false, ErrOutcomeUnknown, nil},
		"not there": {func([]byte) []byte { return nil }, false, errNotHere, errNotHere},
		"another one in its place": {func(tail []byte) []byte {
			return joined([]shipped{shipPut(7, payload(9, 100), 1<<62), shipDelete(1, 1<<62+4096)})
		}, false, errNotHere, errNotHere},
		"compacted since": {func(tail []byte) []byte { return tail }, true, ErrOutcomeUnknown, ErrOutcomeUnknown},
	} {
		disk, s, p := newFollower(t, Config{})
		length := p.v.LogLength()
		first := laterPut(p.v, 1, payload(1, 100))
		p.awaitAppend(t, length)
		p.commitAll()
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		p.change(func() { p.accepts = ErrWait })
		put := laterPut(p.v, 7, payload(7, 100))
		p.awaitQueued(1)
		erase := laterDelete(p.v, 1)
		p.awaitQueued(2)
		from := p.v.LogLength()
		p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
		p.awaitAppend(t, from)
		tail := bytes.Clone(readTestFile(t, disk, testBase+".dat")[from:])
		p.do(func(l *Log) {
			p.change(func() { p.accepts = ErrWait })
			if err := l.Cut(from); err != nil {
				t.Error(err)
			}
		})
		wantPending(t, name, put)
		p.do(func(l *Log) {
			if err := l.Write(l.Length(), c.change(tail)); err != nil {
				t.Error(err)
			}
			l.Commit(l.Length())
		})
		if c.compact {
			if _, err := p.v.Compact(CompactOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		p.do(func(*Log) { p.change(func() { p.accepts = errNotHere }) })
		if err := <-put; !errors.Is(err, c.put) {
			t.Errorf("%s: the put: %v, want %v", name, err, c.put)
		}
		if err := <-erase; !errors.Is(err, c.erase) {
			t.Errorf("%s: the delete: %v, want %v", name, err, c.erase)
		}
		closeStore(t, s)
	}
}

// TestCutAndProposedAgain: what was cut and is not in the log of the epoch that this server leads is decided anew there, once.
func TestCutAndProposedAgain(t *testing.T) {
	_, s, p := newFollower(t, Config{Sync: SyncNever})
	put := laterPut(p.v, 7, payload(7, 100))
	p.awaitAppend(t, SuperblockSize)
	p.do(func(l *Log) {
		if err := l.Cut(SuperblockSize); err != nil {
			t.Error(err)
		}
	})
	p.awaitAppend(t, SuperblockSize)
	p.commitAll()
	if err := <-put; err != nil {
		t.Error(err)
	}
	wantData(t, p.v, 7, payload(7, 100))
	if n := p.v.Status().Live; n != 1 {
		t.Errorf("%d blobs", n)
	}
	closeStore(t, s)
}

// TestRefusedForWhatIsInFlight: a delete that comes behind another one of the same blob finds nothing only if that one comes
// about; so does a put with another cookie.
func TestRefusedForWhatIsInFlight(t *testing.T) {
	_, s, p := newFollower(t, Config{Sync: SyncNever})
	first := laterPut(p.v, 1, payload(1, 100))
	p.awaitAppend(t, SuperblockSize)
	p.commitAll()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	from := p.v.LogLength()
	p.change(func() { p.accepts = ErrWait })
	var waiting []<-chan error
	for i, op := range []func() error{
		func() error { _, err := p.v.Delete(1, testCookie); return err },
		func() error { _, err := p.v.Delete(1, testCookie); return err },
		func() error { return p.v.Put(&Needle{Key: 2, Cookie: testCookie, Data: []byte("two")}) },
		func() error { return p.v.Put(&Needle{Key: 2, Cookie: testCookie + 1, Data: []byte("other")}) },
	} {
		waiting = append(waiting, later(op))
		p.awaitQueued(i + 1)
	}
	for range 3 { // each time it is cut
		p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
		p.awaitAppend(t, from)
		for i, done := range waiting {
			wantPending(t, []string{"a delete", "another delete", "a put", "another put"}[i], done)
		}
		p.do(func(l *Log) {
			p.change(func() { p.accepts = ErrWait })
			if err := l.Cut(from); err != nil {
				t.Error(err)
			}
		})
	}
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	p.awaitAppend(t, from)
	p.commitAll()
	for i, want := range []error{nil, ErrNotFound, nil, ErrCookie} {
		if err := <-waiting[i]; !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("operation %d: %v, want %v", i, err, want)
		}
	}
	closeStore(t, s)
}

// TestRefusedForWhatIsInFlightThenForGood: what was refused for an operation that was cut, and is refused for another reason
// when it is decided anew, is answered with that.
func TestRefusedForWhatIsInFlightThenForGood(t *testing.T) {
	_, s, p := newFollower(t, Config{Sync: SyncNever})
	from := p.v.LogLength()
	p.change(func() { p.accepts = ErrWait })
	first := laterPut(p.v, 2, []byte("two"))
	p.awaitQueued(1)
	second := later(func() error { return p.v.Put(&Needle{Key: 2, Cookie: testCookie + 1, Data: []byte("other")}) })
	p.awaitQueued(2)
	p.do(func(*Log) { p.change(func() { p.accepts = nil }) })
	p.awaitAppend(t, from)
	missing := errors.New("a copy is missing")
	p.do(func(l *Log) {
		p.change(func() { p.puts = missing })
		if err := l.Cut(from); err != nil {
			t.Error(err)
		}
	})
	for _, done := range []<-chan error{first, second} {
		select {
		case err := <-done:
			if !errors.Is(err, missing) {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it is never answered")
		}
	}
	closeStore(t, s)
}

// TestRefusedForWhatFails: if the disk takes neither of two deletes of a blob, the second has not found that it is gone.
func TestRefusedForWhatFails(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, []byte("one"))
	hold, holding := make(chan struct{}), make(chan struct{})
	v.Post(func() { close(holding); <-hold })
	<-holding
	both := []<-chan error{laterDelete(v, 1), laterDelete(v, 1)}
	for waiting := 0; waiting < 2; {
		v.committer.mu.Lock()
		waiting = len(v.committer.waiting)
		v.committer.mu.Unlock()
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("7.dat", vfs.OpWrite) {
			return syscall.EIO
		}
		return nil
	})
	close(hold)
	for _, done := range both {
		if err := <-done; !errors.Is(err, syscall.EIO) {
			t.Errorf("%v", err)
		}
	}
	disk.SetFault(nil)
	wantData(t, v, 1, []byte("one"))
	closeStore(t, s)
}
