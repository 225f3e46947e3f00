package master

import (
	"context"
	"sync"
	"sync/atomic"

	"weed/internal/blob"
	"weed/master/state"
	"weed/raftstore"
)

// keyBlock is the number of keys leased at once: at 100,000 assigns a second, Raft is asked less than twice.
const keyBlock = 1 << 16

// block is a run of keys that this leader may hand out.
type block struct {
	next atomic.Uint64 // the next key; above last when used up
	last uint64
	half uint64 // the key at which the next block is leased
}

func newBlock(first, last uint64) *block {
	b := &block{last: last, half: first + (last-first)/2}
	b.next.Store(first)
	return b
}

// take returns the first of n keys in a row; ok is false, and what was left is lost, when there are fewer.
func (b *block) take(n uint64) (first uint64, ok bool) {
	end := b.next.Add(n)
	return end - n, end-1 <= b.last
}

// frontier returns the lowest key that may still be handed out, from this block or a later one.
func (b *block) frontier() uint64 { return min(b.next.Load(), b.last+1) }

// keyLease hands out needle keys from blocks that are leased through Raft, so that each key is handed out
// once whatever becomes of this process. Taking a key costs an atomic addition.
type keyLease struct {
	ctx     context.Context // of the term
	machine *state.Machine
	lease   func(ctx context.Context, count uint64) (state.KeyRange, error)
	lift    func(ctx context.Context, above blob.Key) error
	refills flights[struct{}]

	current atomic.Pointer[block]

	mu    sync.Mutex // guards spare, and the replacement of current
	spare *block     // leased, higher than current; nil when there is none
}

func newKeyLease(ctx context.Context, jobs *jobs, machine *state.Machine, store *raftstore.Store) *keyLease {
	k := &keyLease{
		ctx: ctx, machine: machine,
		lease: func(ctx context.Context, count uint64) (state.KeyRange, error) {
			return propose(ctx, store, state.LeaseKeys(count))
		},
		lift: func(ctx context.Context, above blob.Key) error {
			_, err := propose(ctx, store, state.RaiseKeys(above))
			return err
		},
	}
	k.refills.jobs = jobs
	k.current.Store(newBlock(1, 0)) // used up
	return k
}

// take returns the first of n keys in a row, n >= 1. It waits for Raft only when both blocks are used up.
func (k *keyLease) take(n uint64) (blob.Key, error) {
	if n > keyBlock/4 {
		r, err := k.lease(k.ctx, n)
		return r.First, err
	}
	for {
		b := k.current.Load()
		if first, ok := b.take(n); ok {
			if first <= b.half && b.half < first+n {
				k.refills.start(struct{}{}, k.refill)
			}
			return blob.Key(first), nil
		}
		if k.advance(b) {
			continue
		}
		if err := k.refills.start(struct{}{}, k.refill).wait(k.ctx); err != nil {
			return 0, err
		}
	}
}

// advance puts the spare in the place of a block that is used up. It is false when there is no spare.
func (k *keyLease) advance(used *block) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.Load() != used {
		return true // someone else has
	}
	if k.spare == nil {
		return false
	}
	k.current.Store(k.spare)
	k.spare = nil
	return true
}

// refill leases a spare block unless there is one.
func (k *keyLease) refill() error {
	k.mu.Lock()
	have := k.spare != nil
	k.mu.Unlock()
	if have {
		return nil
	}
	r, err := k.lease(k.ctx, keyBlock)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spare = newBlock(uint64(r.First), uint64(r.Last))
	return nil
}

// raise makes sure that no key up to above is handed out from its return on, because a volume server holds
// it. Keys outside of the sequence are passed over.
func (k *keyLease) raise(above blob.Key) error {
	if above > state.MaxKey || uint64(above) < k.current.Load().frontier() {
		return nil
	}
	if above > k.machine.LastKey() {
		if err := k.lift(k.ctx, above); err != nil {
			return err
		}
	}
	// A block leased before the sequence was lifted may still be on its way to spare.
	if err := k.settleRefill(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current.Store(k.current.Load().above(uint64(above)))
	if k.spare != nil {
		if k.spare = k.spare.above(uint64(above)); k.spare.next.Load() > k.spare.last {
			k.spare = nil
		}
	}
	return nil
}

// settleRefill waits for a refill that is under way, or does one.
func (k *keyLease) settleRefill() error {
	return k.refills.start(struct{}{}, k.refill).wait(k.ctx)
}

// above closes a block and returns what is left of it above a key.
func (b *block) above(key uint64) *block {
	next := b.next.Swap(b.last + 1) // nobody takes from the old block any more
	return newBlock(min(max(next, key+1), b.last+1), b.last)
}
