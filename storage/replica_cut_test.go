package storage

import (
	"bytes"
	"errors"
	"testing"
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
