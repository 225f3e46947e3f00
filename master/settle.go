package master

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/master/state"
)

// claims are the volumes that a growth of this term makes: nobody else decides what becomes of them.
type claims struct {
	mu      sync.Mutex
	opening int // proposals of new volumes under way, whose ids are not known yet
	ids     map[blob.VolumeID]struct{}
}

// open announces a proposal of new volumes. The function that it returns names those that it made.
func (c *claims) open() (opened func(state.VolumeIDRange)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opening++
	return func(r state.VolumeIDRange) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opening--
		if c.ids == nil {
			c.ids = map[blob.VolumeID]struct{}{}
		}
		for i := range r.Len() {
			c.ids[r.First+blob.VolumeID(i)] = struct{}{}
		}
	}
}

// drop gives a volume up, made or not.
func (c *claims) drop(id blob.VolumeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ids, id)
}

// mayHave reports whether a volume is claimed, or may be for all that is known.
func (c *claims) mayHave(id blob.VolumeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, has := c.ids[id]
	return has || c.opening > 0
}

// gone remembers which copies of volumes in deletion are known not to be there any more.
type gone struct {
	mu      sync.Mutex
	members map[blob.VolumeID][]state.ServerID
}

func (g *gone) has(id blob.VolumeID, member state.ServerID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.members[id], member)
}

func (g *gone) add(id blob.VolumeID, member state.ServerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members == nil {
		g.members = map[blob.VolumeID][]state.ServerID{}
	}
	g.members[id] = append(g.members[id], member)
}

func (g *gone) forget(id blob.VolumeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, id)
}

// everyPulse does work at each pulse and when it is asked for, until the term ends.
func (t *term) everyPulse(ask <-chan struct{}, work func()) {
	tick := time.NewTicker(max(t.cfg.Pulse, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		case <-ask:
		}
		work()
	}
}

// kick asks for work; one that has been asked for and not begun is enough.
func kick(ask chan<- struct{}) {
	select {
	case ask <- struct{}{}:
	default:
	}
}

// finishDeletions goes on with the deletion of volumes that are not wholly deleted.
func (t *term) finishDeletions() {
	var ids []blob.VolumeID
	for _, id := range t.pending() {
		if v, ok := t.machine.Volume(id); ok && v.State == state.Deleting {
			ids = append(ids, id)
		}
	}
	each(len(ids), func(i int) { _ = t.deleteVolume(ids[i]) }) // the next pulse tries again
}

// errLeft says that some copies of a volume in deletion are left.
var errLeft = errors.New("copies are left")

// deleteVolume has the members of a volume in deletion delete their copies, and removes its record when all
// have. It fails with errLeft while some have not: their servers are away, or can't. Callers at one time share
// the work.
func (t *term) deleteVolume(id blob.VolumeID) error {
	return t.deletions.start(id, func() error { return t.tryDelete(id) }).wait(t.ctx)
}

func (t *term) tryDelete(id blob.VolumeID) error {
	v, ok := t.machine.Volume(id)
	if !ok || v.State != state.Deleting {
		return nil
	}
	if t.claims.mayHave(id) {
		return errLeft // orders to make copies are under way
	}
	left := 0
	for _, member := range v.Members {
		if t.gone.has(id, member) {
			continue
		}
		server := string(member)
		if !t.tree.Serves(server) {
			left++
			continue
		}
		if err := t.deleteCopy(server, id, v.Collection); err != nil {
			t.log.Warn("a copy of a deleted volume is left", "server", server, "volume", uint32(id), "err", err)
			left++
			continue
		}
		t.gone.add(id, member)
		t.tree.Forget(id, server)
	}
	if left > 0 {
		return fmt.Errorf("volume %d: %d %w", id, left, errLeft)
	}
	_, err := state.Only(propose(t.ctx, t.store, state.RemoveVolumes([]blob.VolumeID{id})))
	if err != nil {
		return fmt.Errorf("remove volume %d: %w", id, err)
	}
	t.gone.forget(id)
	t.sync(id)
	return nil
}

// settleOrphans decides what becomes of volumes whose making an earlier leader left unfinished, or this one
// without learning of it: those of which every member reports a copy come about, the others are undone once
// the servers have had the time to report.
func (t *term) settleOrphans() {
	for _, id := range t.pending() {
		v, ok := t.machine.Volume(id)
		if !ok || v.State != state.Creating || t.claims.mayHave(id) {
			continue
		}
		whole, open := true, false
		for _, member := range v.Members {
			p := t.tree.Presence(id, string(member))
			whole = whole && p.Heard && p.Holds
			open = open || p.Here && !p.Heard
		}
		to := state.Deleting
		if whole {
			to = state.Writable
		} else if open || t.warming() {
			continue
		}
		if err := t.setState(v, to); err != nil {
			t.log.Warn("could not settle a volume that was being made", "volume", uint32(id), "err", err)
			continue
		}
		t.log.Info("settled a volume that was being made when the leader changed", "volume", uint32(id), "state", to.String())
		if to == state.Deleting {
			kick(t.deletionsDue)
		}
	}
}
