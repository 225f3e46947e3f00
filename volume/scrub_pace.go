package volume

import (
	"context"
	"sync"
	"time"
)

// pacer keeps all who read through it together at a rate.
type pacer struct {
	bytesPerSecond int64

	mu   sync.Mutex // guards next
	next time.Time  // when the next may read
}

// wait returns when n bytes may be read, or ctx ends. What was not used is not saved up.
func (p *pacer) wait(ctx context.Context, n int) error {
	now := time.Now()
	p.mu.Lock()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(float64(n) / float64(p.bytesPerSecond) * float64(time.Second)))
	p.mu.Unlock()
	if !at.After(now) {
		return ctx.Err()
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
