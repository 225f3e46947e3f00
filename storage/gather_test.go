package storage

import (
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// newGathering returns a replica with eight operations in flight that count as long under way, behind one more that has
// been answered, and how those end.
func newGathering(t *testing.T) (p *puppet, flying []<-chan error) {
	_, _, p = newFollower(t, Config{Sync: SyncNever})
	p.do(func(l *Log) { l.c.gather.limit = time.Hour })
	first := laterPut(p.v, 1, payload(1, 10))
	p.awaitAppend(t, SuperblockSize)
	flying = p.putAll(8)
	p.awaitQueued(8)
	p.commitAll()
	p.awaitFlight(t, 8)
	if err := <-first; err != nil {
		t.Error(err)
	}
	return p, flying
}

func (p *puppet) putAll(n int) (later []<-chan error) {
	for range n {
		key := blob.Key(p.keys.Add(1)) + 100
		later = append(later, laterPut(p.v, key, payload(uint64(key), 10)))
	}
	return later
}

// awaitFlight waits until so many operations are in flight.
func (p *puppet) awaitFlight(t *testing.T, want int) {
	t.Helper()
	n := 0
	for late := time.Now().Add(20 * time.Second); n == 0; {
		if time.Now().After(late) {
			t.Fatal("nothing is in flight")
		}
		p.do(func(l *Log) {
			if f := l.c.replica.flight; f != nil {
				n = len(f.ops)
			}
		})
	}
	if n != want {
		t.Errorf("%d operations in flight, want %d", n, want)
	}
}

// land commits what is in flight, which took an hour.
func (p *puppet) land(t *testing.T, flying []<-chan error) {
	t.Helper()
	p.do(func(l *Log) {
		l.Commit(l.Length())
		l.c.gather.took = time.Hour
	})
	for _, put := range flying {
		if err := <-put; err != nil {
			t.Error(err)
		}
	}
}

// wantNoFlight fails the test if something is in flight though the committer has had its turns.
func (p *puppet) wantNoFlight(t *testing.T) {
	t.Helper()
	p.do(func(*Log) {})
	p.do(func(l *Log) {
		if l.c.replica.flight != nil {
			t.Errorf("%d are in flight already", len(l.c.replica.flight.ops))
		}
	})
}

// The next flight waits for most of those who were answered, and takes them together.
func TestFlightWaitsForThoseWhoComeAgain(t *testing.T) {
	p, flying := newGathering(t)
	p.land(t, flying)
	again := p.putAll(6)
	p.awaitQueued(6)
	p.wantNoFlight(t)
	again = append(again, p.putAll(1)...) // all but a sixteenth
	p.awaitFlight(t, 7)
	p.land(t, again)
}

// Those who come again before the committer looks are not waited for once more.
func TestFlightDoesNotWaitForThoseWhoAreThere(t *testing.T) {
	p, flying := newGathering(t)
	c := p.v.committer
	var again []<-chan error
	p.do(func(l *Log) {
		l.Commit(l.Length())
		c.gather.took = time.Hour
		again = p.putAll(8)
		for there := 0; there < 8; {
			c.mu.Lock()
			there = len(c.waiting)
			c.mu.Unlock()
		}
		c.mu.Lock()
		c.takeWaiting() // as a helper does behind its task
		c.mu.Unlock()
	})
	p.awaitFlight(t, 8)
	p.land(t, append(flying, again...))
}

// When the time is up it takes those that there are; and if nobody has come the others are told that nothing follows.
func TestFlightDoesNotWaitForEver(t *testing.T) {
	for _, came := range []int{3, 0} {
		p, flying := newGathering(t)
		p.land(t, flying)
		again := p.putAll(came)
		p.awaitQueued(came)
		p.wantNoFlight(t)
		p.mu.Lock()
		idle := p.idle
		p.mu.Unlock()
		p.v.committer.stopGathering()
		if came > 0 {
			p.awaitFlight(t, came)
			p.land(t, again)
		} else {
			p.await(t, "rest", func() bool { return p.idle > idle })
		}
	}
}

// The time ends by itself.
func TestFlightWaitsByTheClock(t *testing.T) {
	p, flying := newGathering(t)
	p.do(func(l *Log) { l.c.gather.limit = time.Millisecond })
	p.land(t, flying)
	again := p.putAll(1)
	p.awaitFlight(t, 1)
	p.do(func(l *Log) { l.c.gather.limit = 0 })
	p.land(t, again)
}

// Without other copies it is the sync that is shared. What is held back when the volume is closed is decided first.
func TestSyncWaitsForThoseWhoComeAgain(t *testing.T) {
	s, v := createTestVolume(t, vfs.NewMem(), Config{Sync: SyncAlways})
	c := v.committer
	turn := func(task func()) {
		done := make(chan struct{})
		c.post(func() { task(); close(done) })
		<-done
	}
	var puts []<-chan error
	put := func(n int) {
		for range n {
			puts = append(puts, laterPut(v, blob.Key(len(puts)+1), []byte("x")))
		}
	}
	answered := func() {
		t.Helper()
		for _, put := range puts {
			if err := <-put; err != nil {
				t.Error(err)
			}
		}
		puts = puts[:0]
	}
	queued := func(n int) {
		for there := 0; there < n; {
			turn(func() { there = len(c.queue) })
		}
		for _, put := range puts {
			wantPending(t, "a put", put)
		}
	}
	hold := func() {
		turn(func() { c.gather.landed, c.gather.took, c.gather.limit, c.gather.skip = 8, time.Hour, time.Hour, 0 })
	}
	hold()
	put(6)
	queued(6)
	put(1)
	answered()
	hold()
	put(3)
	queued(3)
	closeStore(t, s)
	answered()
}

// Where nobody comes again flights wait ever more rarely, until somebody does.
func TestFlightsWaitWhereItHelps(t *testing.T) {
	g := gather{limit: time.Hour}
	turns := func(come int) (held int) {
		for range 200 {
			g.landed, g.took = 12, time.Minute
			if g.begin(4, func() {}); g.want.Load() == 0 {
				continue
			}
			held++
			if !g.lacks(10) || g.lacks(11) {
				t.Fatalf("waits for %d", g.want.Load())
			}
			g.over.Store(true)
			g.end(4 + come)
		}
		return held
	}
	if n := turns(0); n != 8 {
		t.Errorf("%d of 200 flights waited in vain", n)
	}
	g.skip = 0
	if n := turns(7); n != 200 {
		t.Errorf("%d of 200 flights waited where that helps", n)
	}
	for _, c := range []struct {
		landed, waiting int
		took            time.Duration
	}{{1, 0, time.Minute}, {2, 0, time.Minute}, {2, 1, time.Minute}, {12, 11, time.Minute}, {8, 0, minCommit - 1}, {6, 0, slowCommit - 1}} {
		g.landed, g.took = c.landed, c.took
		if g.begin(c.waiting, func() {}); g.want.Load() != 0 {
			t.Errorf("after %+v the next flight waits for %d", c, g.want.Load())
		}
	}
}

// What is queued when the volume is closed is decided, though the commit before it is followed by a wait.
func TestCloseDecidesWhatComesBehindASync(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{Sync: SyncAlways})
	c := v.committer
	syncing, goOn := make(chan struct{}, 100), make(chan struct{})
	disk.SetFault(func(op vfs.Op) error {
		if op.Is(testBase+".dat", vfs.OpSync) {
			syncing <- struct{}{}
			<-goOn
		}
		return nil
	})
	begun, held := make(chan struct{}), make(chan struct{})
	c.post(func() { c.gather.limit = time.Hour; close(begun); <-held })
	<-begun
	var puts []<-chan error
	put := func(n int) {
		for range n {
			puts = append(puts, laterPut(v, blob.Key(len(puts)+1), []byte("x")))
		}
		for there := 0; there < n; {
			c.mu.Lock()
			there = len(c.waiting)
			c.mu.Unlock()
		}
	}
	put(8)
	close(held)
	<-syncing
	began := time.Now()
	put(3)
	for time.Since(began) < slowCommit { // so that it is worth a wait
	}
	closed := later(s.Close)
	for shut := false; !shut; {
		c.mu.Lock()
		shut = c.closed
		c.mu.Unlock()
	}
	close(goOn)
	for i, put := range puts {
		if err := <-put; err != nil {
			t.Errorf("put %d: %v", i, err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Clients that come when they like are as many, in the time of a slow commit, as it has answered. So nobody is waited for
// that long: each commit would carry more, and take longer, than without.
func TestSlowCommitsAreNotWaitedOut(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      0,
		200 * time.Microsecond: 800 * time.Microsecond,
		time.Millisecond:       longGather,
		6 * time.Millisecond:   3 * time.Millisecond,
		time.Hour:              maxGather,
	} {
		g := gather{limit: maxGather, took: took}
		if within := g.within(); within != want {
			t.Errorf("after a commit of %v the next waits for %v, want %v", took, within, want)
		}
	}
}
