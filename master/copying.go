package master

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// Bounds of what is copied at a time for repair and for servers that are drained. What an operator orders, and
// copies that come back and need little, are not held up by them.
const (
	maxCopyings       = 4 // in the cluster
	maxServerCopyings = 2 // that read from a server, or write to it
	// stallTimeout is how long a copy may make no progress before it is tried elsewhere.
	stallTimeout = 2 * time.Minute
	// avoidTime is how long a server gets no copy of a volume again with which it has failed.
	avoidTime = 10 * time.Minute
)

// purpose is why a copy is made.
type purpose string

const (
	forRepair  purpose = "repair"  // a copy has been missing for too long
	forReturn  purpose = "return"  // a server holds a copy that is missing
	forAdopt   purpose = "adopt"   // the same, as an operator wants it
	forMove    purpose = "move"    // an operator wants it elsewhere
	forDrain   purpose = "drain"   // a server is to be emptied
	forReplica purpose = "replica" // an operator does not want to wait for the repair
)

// limited reports whether a copy counts within the bounds.
func (p purpose) limited() bool { return p == forRepair || p == forDrain }

// needless reports whether there is no reason for a copy any more, because the volume has enough members.
func (p purpose) needless(v *state.Volume) bool {
	return p != forMove && p != forDrain && len(v.Members) >= v.Copies()
}

// copying makes a server member of a volume, and then takes another one out if it is to take its place. It is
// driven by what the records and the reports say, so each step may be done again, also by the next leader.
type copying struct {
	id   blob.VolumeID
	to   state.ServerID // becomes a member
	from state.ServerID // is left out then, and its copy is deleted; "" for none
	why  purpose

	began time.Time

	mu        sync.Mutex            // guards what follows
	plan      *topology.Reservation // the slot for the copy until it is made; nil where there is one already
	made      bool                  // the copy was made for this
	tried     bool                  // the server has been asked for its part
	given     bool                  // up: a better copy has turned up
	bytes, of int64                 // of the log that have arrived
	moved     time.Time             // when it last came forward
	doing     string
}

// progress is a copying as reports show it.
type progress struct {
	VolumeID blob.VolumeID  `json:"volumeId"`
	From     state.ServerID `json:"from,omitempty"`
	To       state.ServerID `json:"to,omitempty"`
	Why      purpose        `json:"why,omitempty"`
	Doing    string         `json:"doing,omitempty"`
	Bytes    int64          `json:"bytes"` // of the log that have arrived
	Of       int64          `json:"of"`
	Done     bool           `json:"done"`
}

func (c *copying) progress() progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return progress{VolumeID: c.id, From: c.from, To: c.to, Why: c.why, Doing: c.doing, Bytes: c.bytes, Of: c.of}
}

// does says what the copying waits for.
func (c *copying) does(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doing = fmt.Sprintf(format, args...)
}

func (c *copying) isMade() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

// give gives the copying up, unless it has made its member already.
func (c *copying) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = true
}

// came notes how far the copy is.
func (c *copying) came(bytes, of int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes > c.bytes {
		c.moved = now
	}
	c.bytes, c.of, c.tried = bytes, of, true
	c.doing = fmt.Sprintf("%s: %s has %d of %d bytes", c.why, c.to, bytes, of)
}

func (c *copying) stalled(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.moved) > stallTimeout
}

// startCopying begins a copying. If the volume has one already, its plan is released, and nothing else happens.
func (t *term) startCopying(c *copying) {
	now := t.deps.Now()
	c.began, c.moved, c.doing = now, now, string(c.why)+": begins"
	t.copies.mu.Lock()
	_, busy := t.copies.open[c.id]
	if !busy {
		t.copies.open[c.id] = c
		delete(t.copies.failed, c.id)
		delete(t.copies.refused, c.id)
	}
	t.copies.mu.Unlock()
	if busy {
		if c.plan != nil {
			t.tree.Release(c.plan)
		}
		return
	}
	t.log.Info("a copy of a volume is being made", "volume", uint32(c.id), "why", string(c.why), "to", string(c.to), "from", string(c.from))
	kick(t.copies.due)
}

// goOnCopying starts what is due and takes the next step of every copying.
func (t *term) goOnCopying() {
	t.startDrains()
	t.startRepairs()
	t.dropSurplus()
	for _, c := range t.copies.all() {
		t.copies.steps.start(c.id, func() error {
			over, err := t.advance(c)
			if over || err != nil {
				t.endCopying(c, err)
			}
			return err
		})
	}
}

// endCopying closes a copying, which has failed if err is not nil.
func (t *term) endCopying(c *copying, err error) {
	c.mu.Lock()
	plan, tried := c.plan, c.tried
	c.plan = nil
	c.mu.Unlock()
	if plan != nil {
		t.tree.Release(plan)
	}
	t.copies.mu.Lock()
	delete(t.copies.open, c.id)
	if err != nil {
		t.copies.failed[c.id] = failedCopying{c.from, c.to, err}
		if tried {
			t.copies.avoid[placeOfCopy{c.id, c.to}] = t.deps.Now()
		}
	}
	t.copies.mu.Unlock()
	if err != nil {
		t.log.Warn("a copy of a volume could not be made", "volume", uint32(c.id), "why", string(c.why), "to", string(c.to), "err", err)
	} else {
		t.log.Info("the copies of a volume are as they should be", "volume", uint32(c.id), "why", string(c.why), "to", string(c.to),
			"from", string(c.from), "seconds", int(t.deps.Now().Sub(c.began).Seconds()))
	}
	kick(t.copies.due)
	kick(t.settlingDue)
}

// advance takes the steps that can be taken now. It is over when there is nothing left to do; an error ends it too.
func (t *term) advance(c *copying) (over bool, err error) {
	var epoch uint64
	for { // each step may be followed by the next at once, when it has changed the record
		v, ok := t.machine.Volume(c.id)
		if !ok || !served(v) {
			return true, nil
		}
		if v.Epoch == epoch {
			return false, nil
		}
		epoch = v.Epoch
		c.mu.Lock()
		given := c.given
		c.mu.Unlock()
		isMember := slices.Contains(v.Members, c.to)
		switch {
		case !isMember && (given || c.why.needless(v) || t.isGone(c)):
			t.abandon(c)
			return true, nil
		case !isMember:
			err = t.bring(c, v)
		case c.from == "":
			return true, nil
		case slices.Contains(v.Members, c.from):
			t.takeOut(c, v)
		case t.removeLeft(c, v):
			return true, nil
		}
		if err != nil {
			t.abandon(c) // the primary may have begun already
			return false, err
		}
		if c.stalled(t.deps.Now()) {
			if !isMember {
				t.abandon(c)
			}
			return true, fmt.Errorf("there is no progress: %s", c.progress().Doing)
		}
	}
}

// isGone reports whether the copy that a copying is about is not there any more, as when a heartbeat from before its
// deletion was late: it is not made anew, since another server may be the better one then.
func (t *term) isGone(c *copying) bool {
	return (c.why == forReturn || c.why == forAdopt) && t.tree.Serves(string(c.to)) && !t.hasCopy(c.id, string(c.to))
}

// bring has the primary bring a server to its log, after an empty copy has been made there. What fails for now is
// tried again until the copying stalls.
func (t *term) bring(c *copying, v *state.Volume) error {
	to, primary := string(c.to), string(v.Primary)
	for _, server := range []string{primary, to} {
		if !t.tree.Serves(server) {
			c.does("%s: %s does not answer", c.why, server)
			return nil
		}
	}
	if !t.hasCopy(v.ID, to) {
		if there, err := t.makeCopy(c, v); err != nil || !there {
			return err
		}
	}
	var status wire.ReplicationStatus
	if err := t.order(primary, wire.PathVolumeCopies, wire.ChangeCopies{ID: uint32(v.ID), Add: to}, &status); err != nil {
		c.does("%s: the primary %s does not copy yet: %s", c.why, primary, reasonOf(err))
		return nil
	}
	if slices.Contains(status.Members, to) {
		c.came(status.Length, status.Length, t.deps.Now())
	} else {
		c.came(status.Learners[to], status.Length, t.deps.Now())
	}
	return nil
}

// hasCopy reports whether a server has told of a copy of a volume, be it a member or not.
func (t *term) hasCopy(id blob.VolumeID, server string) bool {
	return t.tree.Presence(id, server).Holds ||
		slices.ContainsFunc(t.tree.Strays(id), func(s topology.Stray) bool { return s.At.URL == server })
}

// makeCopy orders the empty copy that is to be filled. It is there when the server has made it; a copy that the server
// has already, and has yet to tell of, is waited for: it was not made for this, and may be a good one.
func (t *term) makeCopy(c *copying, v *state.Volume) (there bool, err error) {
	order := wire.CreateVolume{ID: uint32(v.ID), Collection: v.Collection, Replication: v.Placement.String(), TTL: v.TTL.String()}
	var info wire.VolumeInfo
	err = t.order(string(c.to), wire.PathVolumeCreate, order, &info)
	var refused *client.StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		c.does("%s: %s has a copy that it has yet to report", c.why, c.to)
		return false, nil
	}
	if refused != nil {
		c.came(0, 0, t.deps.Now())
		return false, fmt.Errorf("%s makes no copy: %s", c.to, refused.Message)
	}
	if err != nil {
		c.does("%s: %s does not answer", c.why, c.to)
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = true
	if c.plan != nil {
		t.tree.Settle(t.deps.Now(), c.plan, []wire.VolumeInfo{info})
		c.plan = nil
	}
	return true, nil
}

// takeOut has a member left out whose place another has taken, once all others have all that is committed.
func (t *term) takeOut(c *copying, v *state.Volume) {
	if waits := t.notInSync(v, c.from); waits != "" {
		c.does("%s: %s is not in sync yet", c.why, waits)
		return
	}
	order := wire.ChangeCopies{ID: uint32(v.ID), Drop: string(c.from)}
	if v.Primary == c.from {
		order = wire.ChangeCopies{ID: uint32(v.ID), Lead: string(c.to)}
	}
	c.does("%s: %s is being taken out", c.why, c.from)
	if err := t.order(string(v.Primary), wire.PathVolumeCopies, order, nil); err != nil {
		c.does("%s: the primary %s does not take %s out yet: %s", c.why, v.Primary, c.from, reasonOf(err))
	}
}

// notInSync returns a member that has not said, in the present epoch, that it has all that is committed; "" when
// all have. One of them does not count.
func (t *term) notInSync(v *state.Volume, but state.ServerID) string {
	for _, member := range v.Members {
		if p := t.tree.Presence(v.ID, string(member)); member != but && (!p.Heard || !p.InSync) {
			return string(member)
		}
	}
	return ""
}

// removeLeft deletes the copy that a volume was moved away from; it is true when there is none left.
func (t *term) removeLeft(c *copying, v *state.Volume) (over bool) {
	from := string(c.from)
	if !t.tree.Serves(from) || !t.hasCopy(v.ID, from) {
		return true
	}
	if waits := t.notInSync(v, ""); waits != "" || len(v.Members) == 0 {
		c.does("%s: %s is not in sync yet", c.why, waits)
		return false
	}
	if err := t.deleteCopy(from, v.ID, v.Collection); err != nil {
		c.does("%s: %s does not delete its copy: %s", c.why, from, reasonOf(err))
		return false
	}
	t.tree.Forget(v.ID, from)
	return true
}

// abandon takes an order to make a server a member back. A copy that was made for it goes, unless the server has
// become a member in the last moment, or the volume might need it.
func (t *term) abandon(c *copying) {
	t.copies.mu.Lock()
	t.copies.abandoned[c.id] = c.to
	t.copies.mu.Unlock()
	defer func() {
		t.copies.mu.Lock()
		delete(t.copies.abandoned, c.id)
		t.copies.mu.Unlock()
	}()
	t.swaps.settle()
	v, ok := t.machine.Volume(c.id)
	if !ok || slices.Contains(v.Members, c.to) {
		return
	}
	primary, to := string(v.Primary), string(c.to)
	if err := t.order(primary, wire.PathVolumeCopies, wire.ChangeCopies{ID: uint32(v.ID), Forget: to}, nil); err != nil {
		t.log.Warn("a primary goes on copying in vain", "volume", uint32(v.ID), "primary", primary, "to", to, "err", err)
		return
	}
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	if !made || !t.tree.Presence(v.ID, primary).Holds {
		return
	}
	if err := t.deleteCopy(to, v.ID, v.Collection); err != nil {
		t.log.Warn("a copy that was begun is left as a stray", "volume", uint32(v.ID), "server", to, "err", err)
		return
	}
	t.tree.Forget(v.ID, to)
}

// reasonOf returns what a server said, or that it said nothing.
func reasonOf(err error) string {
	var refused *client.StatusError
	if errors.As(err, &refused) {
		return refused.Message
	}
	return "it can't be reached"
}
