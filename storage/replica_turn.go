package storage

import "runtime"

// turnReplica is the rest of a turn of a replicated volume; told says that tasks were run.
func (c *committer) turnReplica(told bool) bool {
	if told {
		c.askAgain()
	}
	c.persistReplica()
	if c.propose() || told {
		return true
	}
	c.idleReplica()
	return false
}

// Help is Post for a caller who lends its goroutine: if the committer rests, the task runs before the call returns, and so
// does what follows from it short of a sync. It is for replicated volumes, and for tasks that take as long as a write.
func (v *Volume) Help(task func()) bool { return v.committer.help(task) }

// help has a task run, as post does, but by the caller if nobody takes turns just now: it decides what follows from the
// task, too. So neither a message of another server nor its answer has to go from one goroutine to another. What waits for
// a sync, and all that comes meanwhile, is left to the committer's goroutine.
func (c *committer) help(task func()) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	if !c.free() {
		c.tasks = append(c.tasks, task)
		c.unlock(true)
		return true
	}
	c.busy = true
	c.mu.Unlock()
	p := &c.replica
	c.helped = true
	flew := p.flight != nil
	task()
	if flew && p.flight == nil {
		// Those who were answered may go first, and others queue what shares the next commit.
		runtime.Gosched()
	}
	c.mu.Lock()
	c.takeWaiting()
	c.mu.Unlock()
	c.askAgain()
	c.persistReplica()
	if !c.propose() {
		c.idleReplica()
	}
	c.helped = false
	c.rest(p.unsynced || c.goesOn())
	return true
}

// lead takes a turn on the goroutine of somebody whose operation is queued, and who waits for it anyhow. c.mu is held, the
// committer is free, and the volume replicated.
func (c *committer) lead() {
	c.busy = true
	c.mu.Unlock()
	c.turn()
	c.rest(c.goesOn())
}

// goesOn reports whether there is another turn to take: operations wait, or the replicator has yet to hear that none do.
func (c *committer) goesOn() bool {
	p := &c.replica
	return p.flight == nil && !c.gather.lacks(len(c.queue)) && (len(c.queue) > 0 || p.unsettled)
}
