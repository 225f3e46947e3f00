package master

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// copyings are those of a term, one for each volume at most.
type copyings struct {
	steps flights[blob.VolumeID] // each copying takes one step at a time
	due   chan struct{}          // a send asks to go on at once

	mu        sync.Mutex
	open      map[blob.VolumeID]*copying
	failed    map[blob.VolumeID]failedCopying // the last one of each volume, until somebody asks
	avoid     map[placeOfCopy]time.Time
	abandoned map[blob.VolumeID]state.ServerID // members that no configuration may add just now
	refused   map[blob.VolumeID]string         // why a volume can't be repaired now
}

type failedCopying struct {
	from, to state.ServerID
	err      error
}

type placeOfCopy struct {
	id     blob.VolumeID
	server state.ServerID
}

func newCopyings() copyings {
	return copyings{due: make(chan struct{}, 1), open: map[blob.VolumeID]*copying{}, failed: map[blob.VolumeID]failedCopying{},
		avoid: map[placeOfCopy]time.Time{}, abandoned: map[blob.VolumeID]state.ServerID{}, refused: map[blob.VolumeID]string{}}
}

// of returns the copying of a volume, nil if there is none.
func (c *copyings) of(id blob.VolumeID) *copying {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[id]
}

// all returns the copyings in the order in which they began.
func (c *copyings) all() []*copying {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*copying, 0, len(c.open))
	for _, one := range c.open {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *copying) int { return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.id, b.id)) })
	return all
}

// concerns reports whether a heartbeat tells of a volume that is being copied.
func (c *copyings) concerns(hb *wire.Heartbeat) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0 && slices.ContainsFunc(hb.Volumes, func(info wire.VolumeInfo) bool {
		return c.open[blob.VolumeID(info.ID)] != nil
	})
}

// avoids reports whether a server has failed with a copy of a volume lately.
func (c *copyings) avoids(id blob.VolumeID, server state.ServerID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, ok := c.avoid[placeOfCopy{id, server}]
	if ok && now.Sub(since) > avoidTime {
		delete(c.avoid, placeOfCopy{id, server})
		return false
	}
	return ok
}

// vetoes reports whether a group has a new member whose copy has just been given up.
func (c *copyings) vetoes(v *state.Volume, next *state.Group) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	server, ok := c.abandoned[v.ID]
	return ok && slices.Contains(next.Members, server) && !slices.Contains(v.Members, server)
}
