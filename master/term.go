package master

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/master/state"
	"weed/raftstore"
	"weed/topology"
)

// term is one term of leadership with all the soft state that belongs to it.
type term struct {
	*Master
	tree        *topology.Tree
	keys        *keyLease
	growths     flights[growthKey]
	idleGrowths idleGrowths
	news        news
	identities  identities

	records   records
	claims    claims
	swaps     swaps
	copies    copyings
	drains    drains
	gone      gone
	deletions flights[blob.VolumeID]
	straying  sync.Mutex                  // held while it is decided what becomes of strays
	unknown   map[blob.VolumeID]time.Time // since when copies of volumes without a record are here; for who holds straying
	noting    sync.Mutex                  // held while what servers report goes into the states of records
	// A send asks for finishDeletions, and for settleOrphans and settleStrays, at once.
	deletionsDue, settlingDue chan struct{}

	number   uint64      // of Raft's term
	yielding atomic.Bool // leadership is being handed over: nothing is decided any more
	began    time.Time
	renewals flights[struct{}]
	leaseEnd atomic.Int64 // nanoseconds after began until which no other master can lead
	// warmUpEnd is when the volume servers have all had the time to report.
	warmUpEnd time.Time

	ctx  context.Context // ends with the term
	end  context.CancelFunc
	jobs jobs // what the term has started
}

// freshWarmUp is how long the first leader of a cluster waits for its first volume servers, which are started
// together with it more often than not and try again every half second.
const freshWarmUp = 3 * time.Second

func (m *Master) newTerm(parent context.Context, number uint64) *term {
	t := &term{
		Master: m, number: number, began: time.Now(),
		tree: topology.New(topology.Config{
			SizeLimitBytes: m.cfg.VolumeSizeLimitBytes, Pulse: m.cfg.Pulse, Seed: uint64(m.cookies.next()),
			Render: renderTarget, BoundOnly: true,
		}),
		records: records{unsettled: map[blob.VolumeID]struct{}{}, lacking: map[blob.VolumeID]time.Time{},
			surplus: map[blob.VolumeID]struct{}{}},
		unknown:      map[blob.VolumeID]time.Time{},
		swaps:        swaps{due: make(chan struct{}, 1)},
		deletionsDue: make(chan struct{}, 1), settlingDue: make(chan struct{}, 1),
	}
	view := m.machine.View()
	warmUp := m.cfg.Pulse * 3 / 2
	if view.ServerCount() == 0 && m.machine.LastVolumeID() == 0 {
		warmUp = min(warmUp, freshWarmUp)
	}
	t.warmUpEnd = t.began.Add(warmUp)
	t.fill(view)
	t.ctx, t.end = context.WithCancel(parent)
	t.keys = newKeyLease(t.ctx, &t.jobs, m.machine, m.store)
	t.copies = newCopyings()
	t.copies.steps.jobs = &t.jobs
	t.syncDrains()
	t.growths.jobs, t.deletions.jobs, t.renewals.jobs = &t.jobs, &t.jobs, &t.jobs
	t.jobs.start(t.keepLease)
	t.jobs.start(t.expireServers)
	t.jobs.start(t.askUnheard)
	t.jobs.start(t.carryOutSwaps)
	t.jobs.start(func() { t.everyPulse(t.copies.due, t.goOnCopying) })
	t.jobs.start(func() { t.followRecords(view) })
	t.jobs.start(t.vacuumByItself)
	t.jobs.start(func() { t.everyPulse(t.deletionsDue, t.finishDeletions) })
	t.jobs.start(func() { t.everyPulse(nil, t.expireVolumes) })
	t.jobs.start(func() {
		t.everyPulse(t.settlingDue, func() {
			t.settleOrphans()
			t.settleStrays()
		})
	})
	return t
}

// close ends the term and waits for what it has started.
func (t *term) close() {
	t.end()
	t.jobs.close()
}

// followLeadership opens a term when this master leads and has caught up, and closes it when it no longer
// does, until ctx ends.
func (m *Master) followLeadership(ctx context.Context) {
	var current *term
	stop := func() {
		if current != nil {
			m.term.Store(nil)
			current.close()
			current = nil
			m.log.Info("this master leads no more")
		}
	}
	defer stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		changes := m.store.LeaderChanges()
		if current != nil && !current.lasts() {
			stop()
		}
		if current == nil && m.store.IsLeader() {
			number := m.store.Term()
			if err := m.store.Ready(ctx); err == nil {
				current = m.newTerm(ctx, number)
				m.term.Store(current)
				m.log.Info("this master leads", "lastKey", uint64(m.machine.LastKey()),
					"lastVolume", uint32(m.machine.LastVolumeID()))
				continue // leadership may have changed meanwhile
			}
			retry.Reset(100 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-retry.C:
		}
	}
}

// leading returns the term if this master may decide, else nil.
func (m *Master) leading() *term {
	t := m.term.Load()
	if t == nil || !t.lasts() || t.yielding.Load() || !t.holdsLease() {
		return nil
	}
	return t
}

// lasts reports whether this master has led ever since the term began. One that lost its leadership and got it
// back, in no time that anyone noticed, may not go on with what it knew.
func (t *term) lasts() bool { return t.store.IsLeader() && t.store.Term() == t.number }

// holdsLease reports whether no other master can lead now. Raft's own word is not enough: a process that was
// stopped for a while and goes on takes a moment to learn that it was deposed. The lease counts, on the
// monotonic clock, from the moment a majority was asked for it, so it ends before theirs.
func (t *term) holdsLease() bool {
	if t.leaseRuns() {
		return true
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.store.Lease())
	defer cancel()
	for range 2 { // what others have asked a while ago may come too late
		if t.renewals.start(struct{}{}, t.renewLease).wait(ctx) != nil {
			return false
		}
		if t.leaseRuns() {
			return true
		}
	}
	return false
}

func (t *term) leaseRuns() bool { return time.Since(t.began) < time.Duration(t.leaseEnd.Load()) }

// renewLease asks a majority whether this master leads. One call at a time is enough, and all that Raft's main
// loop should have to take: the calls that wait while it waits for the disk are in the way of its heartbeats.
func (t *term) renewLease() error {
	asked := time.Since(t.began)
	if err := t.store.VerifyLeader(t.ctx); err != nil {
		return err
	}
	t.leaseEnd.Store(int64(asked + t.store.Lease()))
	return nil
}

// keepLease renews the lease before requests have to.
func (t *term) keepLease() {
	tick := time.NewTicker(max(t.store.Lease()/4, time.Millisecond))
	defer tick.Stop()
	for {
		_ = t.renewals.start(struct{}{}, t.renewLease).wait(t.ctx) // requests try again and say so
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// warming reports whether volume servers may not have reported yet in this term.
func (t *term) warming() bool { return time.Now().Before(t.warmUpEnd) }

// propose puts a command through Raft, within the term and a time limit.
func propose[R any](ctx context.Context, to *raftstore.Store, command state.Command[R]) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, raftTimeout)
	defer cancel()
	return state.Do(ctx, to, command)
}

// errNoLeader says that this master may not decide now.
var errNoLeader = errors.New("no leader at the moment")

// news wakes those who wait for a heartbeat to change the topology.
type news struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next one; nil while nobody waits
}

// wait returns a channel that is closed by the next tell.
func (n *news) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == nil {
		n.next = make(chan struct{})
	}
	return n.next
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next != nil {
		close(n.next)
		n.next = nil
	}
}
