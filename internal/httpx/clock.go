package httpx

import (
	"sync"
	"sync/atomic"
	"time"
)

// A clock tells the time since its start in nanoseconds, at the cost of one load. It lags by up to half a
// grain.
type clock struct {
	start time.Time
	grain time.Duration // tolerance of deadlines: they are late by up to two grains, never early
	ns    atomic.Int64
	done  chan struct{}
	once  sync.Once
}

const (
	minGrain = 5 * time.Millisecond
	maxGrain = time.Second
)

func (c *clock) init(idleTimeout time.Duration) {
	c.start = time.Now()
	c.grain = min(max(idleTimeout/8, minGrain), maxGrain)
	c.done = make(chan struct{})
}

func (c *clock) now() int64 { return c.ns.Load() }

// late reports whether the clock lags by more than a grain, because the machine is overloaded or was asleep, and
// sets it right. Deadlines taken from a late clock fire too early; nobody should die of that.
func (c *clock) late() bool {
	real := int64(time.Since(c.start))
	lag := real - c.ns.Load()
	c.ns.Store(real)
	return lag > int64(c.grain)
}

// run advances the clock until stop.
func (c *clock) run() {
	t := time.NewTicker(c.grain / 2)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
			c.ns.Store(int64(time.Since(c.start)))
		}
	}
}

func (c *clock) stop() { c.once.Do(func() { close(c.done) }) }
