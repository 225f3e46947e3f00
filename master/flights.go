package master

import (
	"context"
	"sync"
)

// flights makes concurrent callers with one wish share one piece of work. jobs is set before use and counts
// the work under way.
type flights[K comparable] struct {
	jobs *jobs

	mu   sync.Mutex
	open map[K]*flight
}

// flight is work under way.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// start begins the work unless it is under way for this key, and returns it either way. It fails with
// context.Canceled when jobs takes no more.
func (f *flights[K]) start(key K, work func() error) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.open[key]; fl != nil {
		return fl
	}
	if f.open == nil {
		f.open = map[K]*flight{}
	}
	fl := &flight{done: make(chan struct{})}
	f.open[key] = fl
	started := f.jobs.start(func() {
		fl.err = work()
		f.mu.Lock()
		delete(f.open, key)
		f.mu.Unlock()
		close(fl.done)
	})
	if !started {
		delete(f.open, key)
		fl.err = context.Canceled
		close(fl.done)
	}
	return fl
}

// wait returns the outcome of the work, or the error of ctx when that ends first.
func (fl *flight) wait(ctx context.Context) error {
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
