package master

import "sync"

// jobs are goroutines that end with their owner. The zero value takes some.
type jobs struct {
	wg sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// start runs work in a goroutine of its own; it is false, and nothing runs, after close.
func (j *jobs) start(work func()) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	j.wg.Go(work)
	return true
}

// close takes no more jobs and waits for those that run.
func (j *jobs) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.wg.Wait()
}
