package storage

import "runtime"

// free reports whether nobody takes turns, nor is about to, and nothing but operations waits. c.mu is held.
func (c *committer) free() bool { return !c.busy && !c.due && len(c.tasks) == 0 }

// unlock unlocks c.mu, and wakes the goroutine if there is work that nobody else sees to.
func (c *committer) unlock(work bool) {
	wake := work && !c.busy && !c.due
	c.due = c.due || wake
	c.mu.Unlock()
	if wake {
		c.wakeUp()
	}
}

func (c *committer) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// post has a task run, after those posted before. A closed committer takes none, and returns false.
func (c *committer) post(task func()) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.tasks = append(c.tasks, task)
	c.unlock(true)
	return true
}

// begin lets the goroutine take turns, if nobody else does.
func (c *committer) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return false
	}
	c.busy, c.due = true, false
	return true
}

// rest ends the turns of whoever took them. What is left is for the goroutine.
func (c *committer) rest(left bool) {
	c.mu.Lock()
	c.held = len(c.queue)
	p, n := &c.replica, len(c.waiting)+c.held
	mayFly := !p.flying.Load() && !c.gather.lacks(n)
	left = left || c.due || c.closed || len(c.tasks) > 0 || len(c.waiting) > 0 && mayFly || c.gather.ended(n)
	c.busy, c.due = false, false
	c.unlock(left)
}

func (c *committer) run() {
	defer close(c.stopped)
	for range c.wake {
		if !c.begin() {
			continue
		}
		for c.turn() {
		}
		if c.replica.r == nil && !c.gather.holds() { // else by Log.Flush, or behind the next commit
			c.flushIdx()
		}
		c.mu.Lock()
		closed := c.closed && len(c.waiting)+len(c.tasks) == 0 && !c.gather.holds()
		c.mu.Unlock()
		if closed {
			c.giveUp()
			return
		}
		c.rest(false)
	}
}

// turn runs the tasks and decides the next operations; false says that there was nothing to do.
func (c *committer) turn() bool {
	// Whoever is about to queue an operation may do so first, and share the commit.
	runtime.Gosched()
	c.mu.Lock()
	tasks := c.tasks
	c.tasks = c.spare[:0]
	c.takeWaiting()
	c.mu.Unlock()
	for _, task := range tasks {
		task()
	}
	clear(tasks)
	c.spare = tasks
	if c.replica.r != nil {
		return c.turnReplica(len(tasks) > 0)
	}
	if c.gathers() || len(c.queue) == 0 {
		return len(tasks) > 0
	}
	n := batchLength(c.queue)
	c.commit(c.queue[:n])
	c.drop(n)
	return true
}

// takeWaiting moves what was queued to where it is decided. c.mu is held.
func (c *committer) takeWaiting() {
	c.queue = append(c.queue, c.waiting...)
	clear(c.waiting)
	c.waiting = c.waiting[:0]
}

// drop takes the first operations out of the queue.
func (c *committer) drop(n int) {
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
}
