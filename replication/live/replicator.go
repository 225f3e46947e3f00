package live

import (
	"errors"
	"fmt"
	"time"

	"weed/replication"
	"weed/storage"
)

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
