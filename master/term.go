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
	tree    *topology.Tree
	keys    *keyLease
	growths flights[growthKey]
	news    news

	records   records
	claims    claims
	gone      gone
	deletions flights[blob.VolumeID]
	straying  sync.Mutex // held while it is decided what becomes of strays
	noting    sync.Mutex // held while what servers report goes into the states of records
	// A send asks for finishDeletions, and for settleOrphans and settleStrays, at once.
	deletionsDue, settlingDue chan struct{}

	began    time.Time
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

func (m *Master) newTerm(parent context.Context) *term {
	t := &term{
		Master: m, began: time.Now(),
		tree: topology.New(topology.Config{
			SizeLimitBytes: m.cfg.VolumeSizeLimitBytes, Pulse: m.cfg.Pulse, Seed: uint64(m.cookies.next()),
			Render: renderTarget, BoundOnly: true,
		}),
		records:      records{unsettled: map[blob.VolumeID]struct{}{}},
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
	t.growths.jobs, t.deletions.jobs = &t.jobs, &t.jobs
	t.jobs.start(t.keepLease)
	t.jobs.start(t.expireServers)
	t.jobs.start(func() { t.followRecords(view) })
	t.jobs.start(func() { t.everyPulse(t.deletionsDue, t.finishDeletions) })
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
		if !m.store.IsLeader() {
			stop()
		} else if current == nil {
			if err := m.store.Ready(ctx); err == nil {
				current = m.newTerm(ctx)
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
	if t == nil || !m.store.IsLeader() || !t.holdsLease() {
		return nil
	}
	return t
}

// holdsLease reports whether no other master can lead now. Raft's own word is not enough: a process that was
// stopped for a while and goes on takes a moment to learn that it was deposed. The lease counts, on the
// monotonic clock, from the moment a majority was asked for it, so it ends before theirs.
func (t *term) holdsLease() bool {
	return time.Since(t.began) < time.Duration(t.leaseEnd.Load()) || t.renewLease() == nil
}

// renewLease asks a majority whether this master leads.
func (t *term) renewLease() error {
	asked := time.Since(t.began)
	ctx, cancel := context.WithTimeout(t.ctx, t.store.Lease())
	defer cancel()
	if err := t.store.VerifyLeader(ctx); err != nil {
		return err
	}
	for end := int64(asked + t.store.Lease()); ; {
		old := t.leaseEnd.Load()
		if old >= end || t.leaseEnd.CompareAndSwap(old, end) {
			return nil
		}
	}
}

// keepLease renews the lease before requests have to.
func (t *term) keepLease() {
	tick := time.NewTicker(max(t.store.Lease()/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
			_ = t.renewLease() // requests try again and say so
		}
	}
}

// warming reports whether volume servers may not have reported yet in this term.
func (t *term) warming() bool { return time.Now().Before(t.warmUpEnd) }

// expireServers takes servers out that have fallen silent. A tick that comes late says that this process
// stood still, not that the servers did: they get the time to be heard.
func (t *term) expireServers() {
	every := max(t.cfg.Pulse/4, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	var patienceUntil time.Time
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > t.cfg.Pulse+every {
			patienceUntil = now.Add(2 * t.cfg.Pulse)
		}
		if last = now; now.Before(patienceUntil) {
			continue
		}
		for _, at := range t.tree.Expire(t.deps.Now()) {
			t.log.Warn("volume server is silent: its volumes are not assigned to", "server", at.URL,
				"dataCenter", at.DataCenter, "rack", at.Rack)
		}
	}
}

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
