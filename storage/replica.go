package storage

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
)

// Replicator decides, together with the servers that hold the other copies, what becomes of a volume's log. All
// its methods are called by the volume's committer, as are the tasks given to Volume.Post and Volume.Help: one at a
// time. Only there the Log may be used.
type Replicator interface {
	// Accepts returns whether an operation, or a put, may be appended now. ErrWait: it stays queued, and is asked
	// for again after the next task; any other error is the answer to it.
	Accepts(puts bool) error
	// Appended says that n bytes were written at the end of the log, with a put among them or not. They are
	// committed by Log.Commit, or cut by Log.Cut.
	Appended(n int64, puts bool)
	// Persisted says that everything that was written is as durable as the policy asks for.
	Persisted()
	// Failed says that bytes that were written, here or by Log.Write, can't be made durable, or that the disk
	// refuses more.
	Failed(err error)
	// Current tells whether what is published here is all that was acknowledged anywhere. Unless it is, a key that
	// is not found may be there all the same.
	Current() bool
	// Idle says that nothing is about to be appended.
	Idle()
	// Compactable returns why the log may not be compacted up to a log offset now, nil if it may. It is asked when a
	// compaction begins, and again before the new log takes the place of the old one; the error ends it. Then all below
	// the offset must be committed for good: it is not cut any more.
	Compactable(floor int64) error
	// Compacted says that the log is that of an Origin now.
	Compacted(o Origin)
}

// replica is the part of a committer that a replicated volume needs.
type replica struct {
	on     atomic.Bool // there is a replicator; for others than the committer
	flying atomic.Bool // there is a flight; who sees it need not wake the committer
	keys   tailKeys

	// Owned by the committer.
	r          Replicator
	noPuts     error        // why puts are refused now
	unsettled  bool         // the replicator has not been told that nothing follows
	unsynced   bool         // bytes were written that the replicator does not know to be durable
	catchingUp bool         // see Log.CatchUp
	sync       bool         // what is unsynced is to be synced whatever the policy
	parsed     int64        // offset up to which the uncommitted part of the log was read
	entries    []tailEntry  // of the uncommitted part, in order
	flight     *flight      // nil if all that was appended here is decided
	cuts       bool         // there may be operations in the queue that were in the log and were cut
	doubted    []*operation // refused by what is published here, while that was not Current, or by what is in flight
}

// tailEntry is an operation in the uncommitted part of the log.
type tailEntry struct {
	idxEntry
	end int64 // of its record
}

// tailKeys are the keys of the uncommitted part, for readers.
type tailKeys struct {
	n       atomic.Int64 // entries, so that readers need no lock while there are none
	mu      sync.Mutex   // guards count and changed
	count   map[blob.Key]int32
	changed chan struct{} // closed when entries go; nil while nobody waits
}

func (t *tailKeys) add(key blob.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = map[blob.Key]int32{}
	}
	t.count[key]++
	t.n.Add(1)
}

func (t *tailKeys) remove(entries []tailEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range entries {
		if key := entries[i].key; t.count[key] > 1 {
			t.count[key]--
		} else {
			delete(t.count, key)
		}
	}
	t.n.Add(-int64(len(entries)))
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait returns a channel that is closed when entries have gone, nil if key is not among them.
func (t *tailKeys) wait(key blob.Key) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[key] == 0 {
		return nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// Settled waits until it is known what becomes of the appends for a key that are under way. ErrWait: that took
// longer than within, or the log has begun anew meanwhile, so that what was there before is not.
func (v *Volume) Settled(key blob.Key, within time.Duration) error {
	resets := v.resets.Load()
	keys := &v.committer.replica.keys
	if keys.n.Load() == 0 {
		return nil
	}
	changed := keys.wait(key)
	if changed == nil {
		return nil
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	for ; changed != nil; changed = keys.wait(key) {
		select {
		case <-changed:
		case <-timer.C:
			return ErrWait
		}
	}
	if v.resets.Load() != resets {
		return ErrWait
	}
	return nil
}

// Replicate hands the volume to a replicator, which start makes on the committer. It is called once. The error is
// ErrClosed.
func (v *Volume) Replicate(start func(*Log) Replicator) error {
	done := make(chan struct{})
	posted := v.committer.post(func() {
		defer close(done)
		c := v.committer
		c.replica.parsed = c.end
		c.replica.r = start(&Log{c})
		c.replica.on.Store(true)
	})
	if !posted {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	<-done
	return nil
}

// Post has the committer run a task, after those posted before. It returns false if the volume is closed: then the
// task never runs.
func (v *Volume) Post(task func()) bool { return v.committer.post(task) }

// Kept returns what a replicator has kept by Log.Save, nil for nothing.
func (v *Volume) Kept() json.RawMessage {
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	return v.meta.Replication
}
