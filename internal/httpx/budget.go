package httpx

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultBudgetBytes = 256 << 20
	defaultBudgetWait  = 3 * time.Second
)

// A Budget bounds the memory of all bodies in flight. Besides, a quarter of it may lie ready for reuse, so
// the process holds at most 1.25 times the budget for bodies.
//
// Whoever finds no room waits: bodies that have begun to arrive first, the oldest of them first, then
// newcomers in the order of their coming; nobody is overtaken by a smaller one. A newcomer holds nothing
// while it waits. Bodies that have begun hold what has arrived, so they could block each other; when
// everything in use is held by bodies that wait, the youngest of them is given up (ErrBusy) for the oldest,
// until the oldest can go on. The oldest always ends that way, so there is always progress. Nobody waits
// longer than the Budget's wait.
type Budget struct {
	total int64
	wait  time.Duration
	free  atomic.Int64
	queue atomic.Int32 // waiters; 0 lets takers pass without the mutex
	ages  atomic.Uint64
	shelf shelf

	mu        sync.Mutex
	growers   []*waiter // hold some already, by age
	newcomers []*waiter // hold nothing, in order of arrival
}

// A claim is what one body holds of the budget.
type claim struct {
	held int64
	age  uint64 // lower is older; given when the body begins to grow
}

type waiter struct {
	need, held int64
	age        uint64
	ready      chan error // takes one verdict
}

// NewBudget returns a budget of so many bytes (0 = 256 MiB), in which a body waits for room for at most wait
// (0 = 3 s).
func NewBudget(bytes int64, wait time.Duration) *Budget {
	if bytes <= 0 {
		bytes = defaultBudgetBytes
	}
	if wait <= 0 {
		wait = defaultBudgetWait
	}
	b := &Budget{total: bytes, wait: wait}
	b.free.Store(bytes)
	b.shelf.most = int(bytes / 4)
	return b
}

// InUse returns the bytes held by bodies in flight.
func (b *Budget) InUse() int64 { return b.total - b.free.Load() }

// Waiting returns how many bodies wait for room.
func (b *Budget) Waiting() int { return int(b.queue.Load()) }

// extend adds n bytes to what c holds. It may wait; it returns ErrBusy, or ErrTooLarge when c would hold more
// than there is.
func (b *Budget) extend(c *claim, n int64) error {
	if c.held+n > b.total {
		return ErrTooLarge
	}
	if b.queue.Load() != 0 || !b.take(n) {
		if err := b.await(c, n); err != nil {
			return err
		}
	}
	c.held += n
	return nil
}

func (b *Budget) release(n int64) {
	if n == 0 {
		return
	}
	b.free.Add(n)
	if b.queue.Load() != 0 {
		b.mu.Lock()
		b.grantLocked()
		b.mu.Unlock()
	}
}

// take takes n bytes if they are free.
func (b *Budget) take(n int64) bool {
	for {
		free := b.free.Load()
		if free < n {
			return false
		}
		if b.free.CompareAndSwap(free, free-n) {
			return true
		}
	}
}

func (b *Budget) await(c *claim, n int64) error {
	w := &waiter{need: n, held: c.held, age: c.age, ready: make(chan error, 1)}
	b.mu.Lock()
	b.queue.Add(1) // before grantLocked looks: a release from here on sees the queue
	if c.held > 0 {
		i, _ := slices.BinarySearchFunc(b.growers, w.age, func(g *waiter, age uint64) int {
			if g.age < age {
				return -1
			}
			return 1
		})
		b.growers = slices.Insert(b.growers, i, w)
	} else {
		b.newcomers = append(b.newcomers, w)
	}
	b.grantLocked()
	b.mu.Unlock()

	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case err := <-w.ready:
		return err
	case <-timer.C:
	}
	b.mu.Lock()
	if b.removeLocked(w) {
		w.ready <- ErrBusy
		b.grantLocked() // it may have been in the way
	}
	b.mu.Unlock()
	return <-w.ready
}

// grantLocked serves the head of the queue as long as there is room, and breaks a tie of growers.
func (b *Budget) grantLocked() {
	for {
		var head *waiter
		switch {
		case len(b.growers) > 0:
			head = b.growers[0]
		case len(b.newcomers) > 0:
			head = b.newcomers[0]
		default:
			return
		}
		if b.take(head.need) {
			b.removeLocked(head)
			head.ready <- nil
			continue
		}
		break
	}
	if len(b.growers) < 2 {
		return
	}
	held := int64(0)
	for _, g := range b.growers {
		held += g.held
	}
	if held == b.InUse() {
		victim := b.growers[len(b.growers)-1]
		b.removeLocked(victim)
		victim.ready <- ErrBusy // its release comes back here
	}
}

// removeLocked takes w out of the queue, or reports that its verdict is already given.
func (b *Budget) removeLocked(w *waiter) bool {
	for _, list := range []*[]*waiter{&b.growers, &b.newcomers} {
		if i := slices.Index(*list, w); i >= 0 {
			*list = slices.Delete(*list, i, i+1)
			b.queue.Add(-1)
			return true
		}
	}
	return false
}
