package live

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/replication"
	"weed/replication/link"
	"weed/storage"
)

// Replica is this server's copy of a replicated volume.
type Replica struct {
	node *Node
	id   blob.VolumeID
	v    *storage.Volume

	status    atomic.Pointer[replication.Status]
	uncoverer atomic.Int32 // tasks under way after which the group knows that it is not covered
	released  atomic.Bool
	retired   atomic.Bool // the volume was closed
	left      sync.Once
	rest      atomic.Int32 // one of awake, resting, outside

	mu     sync.Mutex // guards inbox
	inbox  []delivery
	inTask func()
	tick   func()
	tell   func()

	// Owned by the volume's committer.
	group    *replication.Group
	log      *storage.Log
	spare    []delivery
	failed   bool                // the log can't be written
	renew    bool                // the log is to be fetched anew, once the others go on without it
	told     bool                // the group knows that; nothing that it wants to be written is any more
	unsaved  bool                // what the group takes for kept is not
	failedAt replication.Instant // or when it was last tried to go on
	asking   bool
	expiring int // calls of Expire until somebody has waited long enough
	teller   *time.Timer
	telling  bool // the teller runs
}

// How much of the clock a replica needs.
const (
	awake   = iota // it is called at every tick
	resting        // a member that has nothing to do while the others' promises hold
	outside        // no member, and nothing to do
)

// maxSpareDeliveries bounds the memory that is kept for messages.
const maxSpareDeliveries = 1 << 10

type delivery struct {
	from  replication.Server
	frame link.Frame
}

func decodeKept(text json.RawMessage) (kept replication.Durable, err error) {
	if len(text) > 0 {
		err = json.Unmarshal(text, &kept)
	}
	return kept, err
}

// start hands the volume to its group. The error is storage.ErrClosed.
func (r *Replica) start(kept replication.Durable, fresh bool) error {
	n := r.node
	r.inTask, r.tick, r.tell = r.takeInbox, r.onTick, r.tellNow
	r.expiring = int(n.cfg.GiveUp / (n.cfg.Lease / ticksPerLease))
	return r.v.Replicate(func(log *storage.Log) storage.Replicator {
		r.log = log
		r.group = replication.NewGroup(r.id, n.cfg.Self, n.leases, kept, replication.Origin(log.Origin()),
			log.Length(), fresh, n.now())
		r.failed = r.v.ReadOnly()&(storage.CauseDamaged|storage.CauseFiles) != 0
		r.carryOut(r.group.Tick(n.now()))
		r.giveWay()
		return r
	})
}

// Volume returns the volume's id.
func (r *Replica) Volume() blob.VolumeID { return r.id }

// Look returns how the copy stands now.
func (r *Replica) Look() replication.Status {
	done := make(chan replication.Status, 1)
	if !r.v.Post(func() { done <- r.group.Status() }) {
		r.stir() // so that the closed volume is noticed
		return r.Status()
	}
	return <-done
}

// Status returns the copy's standing, without its lengths and learners: those are of when the standing last changed.
func (r *Replica) Status() replication.Status { return *r.status.Load() }

// deliver queues a message for the group. It reports whether that is the first, so that the group is to be called.
func (r *Replica) deliver(from replication.Server, f link.Frame) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inbox = append(r.inbox, delivery{from, f})
	return len(r.inbox) == 1
}

func (r *Replica) takeInbox() {
	r.mu.Lock()
	taken := r.inbox
	r.inbox = r.spare[:0]
	r.mu.Unlock()
	now := r.node.now()
	for i := range taken {
		d := &taken[i]
		r.carryOut(r.group.Receive(d.from, d.frame.Message, now))
		d.frame.Release()
	}
	clear(taken)
	if r.spare = taken; cap(taken) > maxSpareDeliveries {
		r.spare = nil
	}
}

func (r *Replica) onTick() {
	r.recover()
	r.carryOut(r.group.Tick(r.node.now()))
	r.giveWay()
	r.log.Expire(r.expiring)
	r.log.Flush()
	switch {
	case r.log.Waiting() || r.failed || r.asking || !r.group.Quiet():
	case r.Status().Role == replication.Outside:
		r.rest.Store(outside)
	default:
		r.rest.Store(resting)
	}
}

// needsTick reports whether the group is to look at the clock. It may be called concurrently with all else.
func (r *Replica) needsTick(now replication.Instant) bool {
	if r.retired.Load() {
		return false
	}
	switch r.rest.Load() {
	case resting:
		return !r.group.Readable(now)
	case outside:
		return false
	}
	return true
}

// retire ends the part of a copy whose volume was closed. It stays where it is, so that nobody takes the volume for one
// without copies when it is opened again, until that has a replica.
func (r *Replica) retire() {
	r.retired.Store(true)
	r.leave()
}

// leave has the copy claim nothing and answer no reads any more.
func (r *Replica) leave() {
	r.released.Store(true)
	r.left.Do(func() {
		if !r.v.Post(r.group.Leave) {
			_ = r.v.Close() // waits for whoever closes the volume, and gets the error: nobody else calls the group then
			r.group.Leave()
		}
	})
}

// stir ends a rest.
func (r *Replica) stir() {
	if r.rest.Load() != awake {
		r.rest.Store(awake)
	}
}

// uncovered makes reads wait at once until the group knows that another server promises it nothing.
func (r *Replica) uncovered(by replication.Server) {
	r.uncoverer.Add(1) // and for ever if the volume is closed
	r.v.Post(func() {
		r.carryOut(r.group.Uncovered(by, r.node.now()))
		r.uncoverer.Add(-1)
	})
}

// Configured tells the replica of a configuration that the masters have.
func (r *Replica) Configured(c replication.Config) {
	if c.Epoch > r.Status().Config.Epoch {
		r.v.Post(func() { r.carryOut(r.group.Configured(c, r.node.now())) })
	}
}

// Change orders the primary to change who holds the volume: to add a server, take that order back, drop a member
// or let another one lead; "" for what is not asked for. The error is replication.ErrNotPrimary or storage.ErrClosed.
func (r *Replica) Change(add, forget, drop, lead replication.Server) error {
	done := make(chan error, 1)
	posted := r.v.Post(func() {
		now := r.node.now()
		order := func(to replication.Server, give func(replication.Server, replication.Instant) ([]replication.Effect, error)) error {
			if to == "" {
				return nil
			}
			effects, err := give(to, now)
			r.carryOut(effects)
			return err
		}
		if forget != "" {
			r.group.Forget(forget)
		}
		done <- errors.Join(order(add, r.group.Learn), order(lead, r.group.HandOver), order(drop, r.group.Drop))
	})
	if !posted {
		r.stir() // so that the closed volume is noticed
		return fmt.Errorf("volume %d: %w", r.id, storage.ErrClosed)
	}
	return <-done
}

// Readable reports whether a blob that is looked up after the call, and after Volume.Settled, may be answered: it
// finds all that was acknowledged before. To have looked it up before the call is no good: the copy may have caught
// up in between.
func (r *Replica) Readable() bool {
	return r.uncoverer.Load() == 0 && !r.released.Load() && r.group.Readable(r.node.now())
}

// AwaitEpoch waits until the copy knows a configuration of at least an epoch; false if that takes longer than within.
func (r *Replica) AwaitEpoch(epoch uint64, within time.Duration) bool {
	return r.await(within, func() bool { return r.Status().Config.Epoch >= epoch })
}

// waitStep is how often a read that waits for a lease looks again.
const waitStep = 10 * time.Millisecond

// Await waits until the copy is readable; false if that takes longer than within, or this server has no part in
// the volume.
func (r *Replica) Await(within time.Duration) bool {
	return r.await(within, func() bool { return r.Readable() || r.Status().Role == replication.Outside }) && r.Readable()
}

func (r *Replica) await(within time.Duration, done func() bool) bool {
	look := time.NewTicker(waitStep)
	defer look.Stop()
	for end := time.Now().Add(within); !done(); <-look.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
