package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// Accepts is called by the committer.
func (r *Replica) Accepts(puts bool) error {
	if r.failed && r.alone() { // there is no other copy to go on with
		return fmt.Errorf("%w: %s", storage.ErrReadOnly, r.v.ReadOnly())
	}
	err := r.group.Accepts(puts)
	if !errors.Is(err, replication.ErrNotPrimary) {
		return err
	}
	if s := r.Status(); s.Role == replication.Follower && s.InSync {
		return err // so what was cut is decided: it is not in the log of this epoch
	}
	r.stir() // those who wait are not to wait for ever
	return storage.ErrWait
}

// Current is called by the committer.
func (r *Replica) Current() bool { return r.Readable() }

// Appended is called by the committer.
func (r *Replica) Appended(n int64, puts bool) {
	if r.log.WantsSync() {
		r.group.Sync(r.log.Length())
	}
	_, effects, err := r.group.Propose(n, puts, r.node.now())
	if err != nil { // Accepts has just said otherwise, on this goroutine
		r.fail(err)
		return
	}
	r.carryOut(effects)
}

// Persisted is called by the committer.
func (r *Replica) Persisted() { r.carryOut(r.group.AllPersisted(r.node.now())) }

// Failed is called by the committer.
func (r *Replica) Failed(err error) { r.fail(err) }

// tellDelay is how long the members may have to wait for the commit point while nothing is shipped that tells them.
const tellDelay = time.Millisecond

// Idle is called by the committer. Often enough something follows at once, which saves a message and its answer.
func (r *Replica) Idle() {
	switch {
	case r.telling:
		return
	case r.teller == nil:
		r.teller = time.AfterFunc(tellDelay, func() { r.v.Post(r.tell) })
	default:
		r.teller.Reset(tellDelay)
	}
	r.telling = true
}

// tellNow lets the members know what is committed, unless what is in flight has told them.
func (r *Replica) tellNow() {
	r.telling = false
	r.carryOut(r.group.Idle())
}

// Compactable is called by the committer.
func (r *Replica) Compactable(floor int64) error { return r.group.MayCompact(floor) }

// Compacted is called by the committer.
func (r *Replica) Compacted(o storage.Origin) { r.group.Compacted(replication.Origin(o)) }

// ReadLog reads what is shipped: see link.Source.
func ReadLog(v *storage.Volume, offset int64, p []byte, of *replication.Origin) (int, error) {
	var origin storage.Origin
	if of != nil {
		origin = storage.Origin(*of)
	}
	return v.ReadLog(offset, p, origin)
}

// carryOut does what the group asks for.
func (r *Replica) carryOut(effects []replication.Effect) {
	r.stir()
	var failure error
	for i := range effects {
		e := &effects[i]
		if r.told && writes(e.Kind) {
			continue // as after a crash, until it is restarted
		}
		if failure == nil { // what follows may depend on what was not done
			failure = r.do(e)
		}
		r.unsaved = r.unsaved || failure != nil && e.Kind == replication.EffectSave
	}
	r.publish()
	if failure != nil {
		r.fail(failure)
	}
}

// writes reports whether an effect changes what is on the disk.
func writes(kind replication.EffectKind) bool {
	switch kind {
	case replication.EffectWrite, replication.EffectCut, replication.EffectReset, replication.EffectSave:
		return true
	}
	return false
}

func (r *Replica) do(e *replication.Effect) (err error) {
	switch e.Kind {
	case replication.EffectSend:
		r.node.cfg.Links.Send(e.To, link.Frame{Volume: r.id, Message: e.Message})
	case replication.EffectWrite:
		r.log.CatchUp(!r.status.Load().InSync)
		err = r.log.Write(e.Offset, e.Bytes)
		if e.Sync {
			r.log.Sync()
		}
		r.group.Whole(r.log.Whole())
	case replication.EffectCut:
		err = r.log.Cut(e.Offset)
		r.group.Whole(r.log.Whole())
	case replication.EffectReset:
		err = r.log.Reset(storage.Origin(e.Origin))
		r.group.Whole(r.log.Whole())
	case replication.EffectSave:
		var text []byte
		if text, err = json.Marshal(e.Durable); err == nil {
			err = r.log.Save(text, slices.ContainsFunc(e.Durable.Config.Members, r.isOther))
		}
		if c := &e.Durable.Config; len(c.Members) < c.Copies {
			r.log.Lonely()
		}
		if e.Durable.Config.Primary != r.node.cfg.Self {
			r.log.Outlived()
		}
	case replication.EffectCommit:
		r.log.Commit(e.Offset)
	case replication.EffectConfigure:
		r.configure(e.Config)
	}
	return err // EffectReady needs nothing: the committer asks again after each task
}

func (r *Replica) isOther(s replication.Server) bool { return s != r.node.cfg.Self }

// configure asks the masters, beside the committer.
func (r *Replica) configure(c replication.Config) {
	if r.asking {
		return
	}
	r.asking = true
	n := r.node
	n.call(func() {
		select {
		case n.asking <- struct{}{}:
		case <-n.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.GiveUp/2)
		inForce, err := n.cfg.Masters.Configure(ctx, r.id, c)
		cancel()
		<-n.asking
		r.v.Post(func() {
			r.asking = false
			if err != nil {
				n.cfg.Logger.Warn("masters did not change who holds a volume: it is tried again", "volume", r.id, "epoch", c.Epoch, "err", err)
				r.carryOut(r.group.ConfigureFailed(n.now()))
				return
			}
			r.carryOut(r.group.Configured(inForce, n.now()))
		})
	})
}

// publish shows the state of the group to others, and the masters what is new for them.
func (r *Replica) publish() {
	old := r.status.Load()
	if old != nil && r.group.Stands(old) {
		return
	}
	s := r.group.Status()
	r.status.Store(&s)
	if old == nil || old.Config.Epoch == s.Config.Epoch && old.InSync == s.InSync {
		return
	}
	r.node.cfg.Logger.Info("replication", "volume", r.id, "epoch", s.Config.Epoch, "primary", s.Config.Primary,
		"members", s.Config.Members, "inSync", s.InSync)
	if r.node.cfg.Changed != nil {
		r.node.cfg.Changed(r.id)
	}
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
