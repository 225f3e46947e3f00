package filer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
)

const (
	smallClaim     = 256 // fids in a claim for files that are not large
	largeClaim     = 32  // and for chunks of several megabytes: they spread over volumes
	largeFromBytes = 512 << 10
	claimIdle      = 5 * time.Minute // after which what nobody uses is released
)

// place is what decides where a chunk may go. The zero value leaves all to the masters.
type place struct {
	collection, replication, ttl, dataCenter string
	large                                    bool
}

// slot is a fid to upload to. Every slot must be settled, used or not.
type slot struct {
	claim *claim
	index int
	fid   blob.FileID
}

func (s slot) use() store.Use { return store.Use{Claim: s.claim.id, Index: s.index} }

// claim is a run of fids that the store knows about.
type claim struct {
	id    string
	first blob.FileID
	host  string // the volume server to write to
	count int
	key   place

	// Guarded by claims.mu.
	next    int // the first fid that was not given out
	pending int // slots that are not settled
	closed  bool
	spare   *claim // made ahead, takes its place
	touched time.Time
}

// claims hands out fids. It keeps at most one open claim for each place.
type claims struct {
	client *client.Client
	store  store.Store
	owner  string
	life   time.Duration
	chores *chores
	now    func() time.Time

	mu    sync.Mutex
	open  map[place]*claim
	fills map[place]*fill
}

// fill is a claim in the making; the other fields are final when done is closed.
type fill struct {
	done  chan struct{}
	claim *claim
	err   error
}

// newID returns 16 random hex digits.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// take returns a fid that is claimed durably, on another volume than avoid if there is one.
func (c *claims) take(ctx context.Context, at place, avoid blob.VolumeID) (slot, error) {
	for {
		c.mu.Lock()
		if open := c.open[at]; open != nil && open.first.Volume != avoid {
			s := slot{claim: open, index: open.next, fid: open.first}
			s.fid.Key += blob.Key(open.next)
			open.next++
			open.pending++
			open.touched = c.now()
			if open.next == open.count {
				c.closeLocked(open)
			} else if open.next == open.count-open.count/4 {
				c.fillLocked(at, avoid) // the next one, before anybody has to wait for it
			}
			c.mu.Unlock()
			return s, nil
		}
		f := c.fillLocked(at, avoid)
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return slot{}, ctx.Err()
		}
		if f.err != nil {
			return slot{}, f.err
		}
		if f.claim.first.Volume == avoid {
			avoid = 0 // there is no other
		}
	}
}

// fillLocked begins to make a claim, or joins who does. Its result becomes the open claim when there is none.
func (c *claims) fillLocked(at place, avoid blob.VolumeID) *fill {
	if f := c.fills[at]; f != nil {
		return f
	}
	f := &fill{done: make(chan struct{})}
	c.fills[at] = f
	c.chores.group.Go(func() {
		ctx, cancel := context.WithTimeout(c.chores.life, 30*time.Second)
		defer cancel()
		f.claim, f.err = c.make(ctx, at, avoid)
		c.mu.Lock()
		delete(c.fills, at)
		if f.err == nil {
			if old := c.open[at]; old != nil && old.first.Volume == avoid {
				c.closeLocked(old)
			}
			if c.open[at] == nil {
				c.open[at] = f.claim
			} else {
				c.spareLocked(f.claim)
			}
		}
		c.mu.Unlock()
		close(f.done)
	})
	return f
}

// spareLocked keeps a claim that was made ahead until the open one is used up.
func (c *claims) spareLocked(n *claim) {
	if old := c.open[n.key]; old.spare == nil {
		old.spare = n
		return
	}
	c.closeLocked(n)
}

// make assigns fids and claims them.
func (c *claims) make(ctx context.Context, at place, avoid blob.VolumeID) (*claim, error) {
	count := smallClaim
	if at.large {
		count = largeClaim
	}
	opts := client.AssignOptions{Count: count, Collection: at.collection, Replication: at.replication, TTL: at.ttl,
		DataCenter: at.dataCenter}
	var a client.Assignment
	var first blob.FileID
	for range 4 {
		var err error
		if a, err = c.client.Assign(ctx, opts); err != nil {
			return nil, err
		}
		if first, err = blob.ParseFileID(a.FID); err != nil {
			return nil, fmt.Errorf("%w: the master assigned %q", client.ErrUnavailable, a.FID)
		}
		if first.Volume != avoid {
			break
		}
	}
	n := &claim{id: newID(), first: first, host: a.URL, count: min(max(a.Count, 1), count), key: at, touched: c.now()}
	err := c.store.AddClaim(ctx, store.Claim{ID: n.id, Owner: c.owner, FID: first.String(), Count: n.count,
		Until: c.now().Add(c.life)})
	if err != nil {
		c.chores.release(n.id, 0) // it may have come about
		return nil, fmt.Errorf("claim fids: %w", err)
	}
	return n, nil
}

// settle says that a slot is done with: an entry refers to it, or it was abandoned.
func (c *claims) settle(slots ...slot) {
	if len(slots) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range slots {
		s.claim.pending--
		c.releaseLocked(s.claim)
	}
}

// abandon settles slots that no entry refers to; what was uploaded to them is deleted.
func (c *claims) abandon(slots ...slot) {
	if len(slots) == 0 {
		return
	}
	uses := make([]store.Use, len(slots))
	for i, s := range slots {
		uses[i] = s.use()
	}
	c.chores.abandon(uses)
	c.settle(slots...)
}

// giveUp takes no more fids from a claim, because its volume refuses writes.
func (c *claims) giveUp(n *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(n)
}

// giveUpAll takes no more fids from claims that nobody has taken one from since.
func (c *claims) giveUpAll(idleSince time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.open {
		if !n.touched.After(idleSince) {
			c.closeLocked(n)
		}
	}
}

func (c *claims) closeLocked(n *claim) {
	if n.closed {
		return
	}
	n.closed = true
	if c.open[n.key] == n {
		delete(c.open, n.key)
		if n.spare != nil {
			c.open[n.key] = n.spare
		}
	} else if n.spare != nil {
		c.closeLocked(n.spare)
	}
	n.spare = nil
	c.releaseLocked(n)
}

func (c *claims) releaseLocked(n *claim) {
	if n.closed && n.pending == 0 {
		c.chores.release(n.id, n.next)
	}
}

// renew keeps the claims of this filer from those who clean up, until ctx ends.
func (c *claims) renew(ctx context.Context) {
	tick := time.NewTicker(c.life / 5)
	defer tick.Stop()
	renewed := c.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.now()
		err := c.store.RenewClaims(ctx, c.owner, now.Add(c.life))
		if err == nil {
			renewed = now
		} else if ctx.Err() == nil {
			c.chores.log.Warn("claims were not renewed", "error", err)
		}
		if c.now().Sub(renewed) > c.life/5*4 { // others may have released them
			c.giveUpAll(c.now())
		}
		c.giveUpAll(c.now().Add(-claimIdle))
	}
}

// clean releases claims of filers that are gone: those that have expired, or with all those of any other owner.
func (c *claims) clean(ctx context.Context, all bool) error {
	list, err := c.store.Claims(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range list {
		if k.Owner == c.owner || !all && c.now().Before(k.Until) {
			continue
		}
		if err := c.store.ReleaseClaim(ctx, k.ID, k.Count); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
