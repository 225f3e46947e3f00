package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"weed/internal/blob"
)

// Location is a volume server that holds a copy of a volume.
type Location struct {
	URL        string `json:"url"` // host:port
	PublicURL  string `json:"publicUrl"`
	DataCenter string `json:"dataCenter"`
}

// Lookup returns where the copies of a volume are, the primary first. Answers are kept for Config.LookupTTL
// and dropped when a server proves them wrong. Callers must not change the slice. A volume that no server
// holds is ErrNotFound.
func (c *Client) Lookup(ctx context.Context, volume uint32) ([]Location, error) {
	locs, _, err := c.lookup(ctx, volume)
	if err != nil {
		return nil, fmt.Errorf("look up volume %d: %w", volume, err)
	}
	return locs, nil
}

// lookup also tells when the answer was got.
func (c *Client) lookup(ctx context.Context, volume uint32) ([]Location, time.Time, error) {
	if locs, at, ok := c.lookups.get(volume, c.clock.Now().Add(-c.cfg.LookupTTL)); ok {
		return locs, at, nil
	}
	f, first := c.lookups.join(volume)
	if first {
		// The flight outlives its first caller: others wait for it too.
		c.wg.Go(func() { c.fly(volume, f) })
	}
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, time.Time{}, ctx.Err()
		}
	}
	return f.locs, f.at, f.err
}

// fly asks the masters once for all who wait for f.
func (c *Client) fly(volume uint32, f *flight) {
	ctx, cancel := context.WithTimeout(c.root, c.cfg.IOTimeout)
	defer cancel()
	var answer struct {
		Locations []Location `json:"locations"`
	}
	f.at = c.clock.Now()
	f.err = c.askMaster(ctx, "/dir/lookup?volumeId="+strconv.FormatUint(uint64(volume), 10), &answer)
	switch {
	case c.root.Err() != nil:
		f.err = ErrClosed
	case f.err != nil && ctx.Err() != nil:
		f.err = fmt.Errorf("%w: no master answered within %v", ErrUnavailable, c.cfg.IOTimeout)
	case f.err == nil && len(answer.Locations) == 0:
		f.err = fmt.Errorf("%w: no server holds the volume", ErrNotFound)
	}
	f.locs = answer.Locations
	c.lookups.land(volume, f)
}

// lookupCache keeps the locations of a bounded number of volumes, and lets one question be asked once.
type lookupCache struct {
	max int

	mu      sync.RWMutex
	entries map[uint32]lookupEntry
	flights map[uint32]*flight
}

type lookupEntry struct {
	locs []Location
	at   time.Time
}

// flight is a question under way. The other fields are final when done is closed.
type flight struct {
	done chan struct{}
	locs []Location
	at   time.Time
	err  error
}

func (l *lookupCache) init(limit int) {
	l.max = limit
	l.entries = make(map[uint32]lookupEntry)
	l.flights = make(map[uint32]*flight)
}

// get returns an answer that is not older than oldest.
func (l *lookupCache) get(volume uint32, oldest time.Time) ([]Location, time.Time, bool) {
	l.mu.RLock()
	e, ok := l.entries[volume]
	l.mu.RUnlock()
	return e.locs, e.at, ok && e.at.After(oldest)
}

func (l *lookupCache) join(volume uint32) (f *flight, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f = l.flights[volume]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	l.flights[volume] = f
	return f, true
}

func (l *lookupCache) land(volume uint32, f *flight) {
	l.mu.Lock()
	delete(l.flights, volume)
	if f.err == nil {
		for other := range l.entries { // any one: a map iterates from a random place
			if len(l.entries) < l.max {
				break
			}
			delete(l.entries, other)
		}
		l.entries[volume] = lookupEntry{locs: f.locs, at: f.at}
	} else {
		delete(l.entries, volume)
	}
	l.mu.Unlock()
	close(f.done)
}

// forget drops the answer that was got at the time given; a newer one stays.
func (l *lookupCache) forget(volume uint32, at time.Time) {
	l.mu.Lock()
	if e, ok := l.entries[volume]; ok && !e.at.After(at) {
		delete(l.entries, volume)
	}
	l.mu.Unlock()
}

// order returns the locations in the order in which reads try them: beginning with another one each time.
func (c *Client) order(locs []Location) []Location {
	if len(locs) < 2 {
		return locs
	}
	first := int(c.replica.Add(1) % uint32(len(locs)))
	return slices.Concat(locs[first:], locs[:first])
}

// lookupFreshness is the age up to which locations are not asked for again just because a blob is missing.
const lookupFreshness = time.Second

// onReplicas calls try with one holder of the fid's volume after the other until one succeeds or says
// something final. Locations that proved wrong are dropped, and asked for once more.
func (c *Client) onReplicas(ctx context.Context, fid string, rotate bool, try func(host string) error) error {
	id, err := blob.ParseFileID(fid)
	if err != nil {
		return invalid("fid %.100q", fid)
	}
	volume := uint32(id.Volume)
	p := c.patience()
	var last error
	for again := false; ; again = true {
		locs, at, err := c.lookup(ctx, volume)
		if err != nil {
			if last != nil && ctx.Err() == nil {
				err = last // what the servers said weighs more than that the masters are away
			}
			return err
		}
		tries := locs
		if rotate {
			tries = c.order(locs)
		}
		var waitFor error
		for _, l := range tries {
			last = try(l.URL)
			if last == nil || ctx.Err() != nil || !tryElsewhere(last) {
				break
			}
			if retryAfter(last) > 0 {
				waitFor = last
			}
		}
		if last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		elsewhere := tryElsewhere(last)
		var spent spentError
		if errors.As(last, &spent) {
			return last
		}
		old := c.clock.Now().Sub(at) > lookupFreshness
		if !elsewhere && !(isMissing(last) && old) {
			return last
		}
		c.lookups.forget(volume, at)
		switch {
		case elsewhere && waitFor != nil && p.wait(ctx, waitFor):
		case again || !old:
			return orContext(ctx, last)
		}
	}
}
