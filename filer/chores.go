package filer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"weed/filer/store"
)

// maxChores bounds what waits for the store. Beyond it abandoned fids are left to the release of their claim, and
// claims to their expiry.
const maxChores = 100_000

// chores are changes of the store that nobody waits for: they are tried until they succeed, or the filer's life ends.
type chores struct {
	store store.Store
	log   *slog.Logger
	life  context.Context // of all background work
	group sync.WaitGroup
	kick  func() // there may be drops

	mu       sync.Mutex
	uses     []store.Use
	releases []release
	wake     chan struct{}
}

type release struct {
	claim string
	first int
}

func newChores(life context.Context, s store.Store, log *slog.Logger, kick func()) *chores {
	return &chores{store: s, log: log, life: life, kick: kick, wake: make(chan struct{}, 1)}
}

func (c *chores) abandon(uses []store.Use) {
	c.mu.Lock()
	if len(c.uses) < maxChores {
		c.uses = append(c.uses, uses...)
	}
	c.mu.Unlock()
	c.poke()
}

func (c *chores) release(claim string, first int) {
	c.mu.Lock()
	if len(c.releases) < maxChores {
		c.releases = append(c.releases, release{claim, first})
	}
	c.mu.Unlock()
	c.poke()
}

func (c *chores) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (c *chores) run(ctx context.Context) {
	wait := time.Duration(0)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		} else {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			}
		}
		if err := c.work(ctx); err == nil || errors.Is(err, store.ErrClosed) {
			wait = 0
		} else {
			wait = min(max(2*wait, 100*time.Millisecond), 10*time.Second)
			c.log.Warn("the store does not take what is to be cleaned up: trying again", "error", err)
		}
	}
}

// work does all that waits; what fails stays.
func (c *chores) work(ctx context.Context) error {
	c.mu.Lock()
	uses, releases := c.uses, c.releases
	c.uses, c.releases = nil, nil
	c.mu.Unlock()
	var err error
	if len(uses) > 0 {
		if err = c.store.Abandon(ctx, uses); err == nil {
			uses = nil
			c.kick()
		}
	}
	for err == nil && len(releases) > 0 {
		if err = c.store.ReleaseClaim(ctx, releases[0].claim, releases[0].first); err == nil {
			releases = releases[1:]
			c.kick()
		}
	}
	if len(uses)+len(releases) > 0 {
		c.mu.Lock()
		c.uses = append(uses, c.uses...)
		c.releases = append(releases, c.releases...)
		c.mu.Unlock()
	}
	return err
}
