package topology

import (
	"fmt"
	"slices"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

// MaxSlots bounds what a server may claim, so that sums cannot overflow.
const MaxSlots = 1 << 24

// Outcome says what a heartbeat did.
type Outcome struct {
	// Resend asks the server for a full heartbeat: this one builds on others that were never seen.
	Resend bool
	// Joined says that the server is new here, or has been restarted; Left, that it said goodbye.
	Joined, Left bool
	// At is where the server is or was, nil when it is unknown.
	At *Location
	// Conflicts are the copies that were refused, each reported once.
	Conflicts []Conflict
	// Crowded are the layouts of the reported copies in which every writable volume is near its limit.
	Crowded []LayoutKey
}

// Conflict is a copy that was refused.
type Conflict struct {
	ID     blob.VolumeID
	URL    string // of the server
	Reason string
}

func (c Conflict) String() string {
	return fmt.Sprintf("volume %d on %s refused: %s", c.ID, c.URL, c.Reason)
}

// LocationOf returns where a heartbeat says that its server is, with the defaults filled in.
func LocationOf(hb *wire.Heartbeat) Location {
	at := Location{URL: hb.URL, PublicURL: hb.PublicURL, DataCenter: hb.DataCenter, Rack: hb.Rack}
	if at.PublicURL == "" {
		at.PublicURL = at.URL
	}
	if at.DataCenter == "" {
		at.DataCenter = DefaultDataCenter
	}
	if at.Rack == "" {
		at.Rack = DefaultRack
	}
	return at
}

// Heartbeat takes in what a server reports at a time. A heartbeat that was seen before, or that is older
// than one that was, changes nothing. It fails with ErrBadHeartbeat.
func (t *Tree) Heartbeat(now time.Time, hb *wire.Heartbeat) (Outcome, error) {
	if hb.URL == "" || hb.Max < 0 {
		return Outcome{}, fmt.Errorf("%w: url %q, max %d", ErrBadHeartbeat, hb.URL, hb.Max)
	}
	at := LocationOf(hb)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[hb.URL]
	same := n != nil && n.heard && n.incarnation == hb.Incarnation
	switch {
	case hb.Leaving:
		if n == nil || n.heard && !same {
			return Outcome{}, nil // an earlier life of the server, or one that is gone already
		}
		t.detach(n)
		return Outcome{Left: true, At: n.at}, nil
	case same && hb.Sequence <= n.sequence:
		return Outcome{At: n.at}, nil
	case !hb.Full && !same:
		return Outcome{Resend: true}, nil
	case !hb.Full && (hb.Sequence != n.sequence+1 || *n.at != at):
		n.seen = now
		return Outcome{Resend: true, At: n.at}, nil
	}
	if n != nil && *n.at != at {
		t.detach(n)
		n, same = nil, false
	}
	if n == nil {
		n = t.attach(&at)
	}
	n.incarnation, n.sequence, n.seen, n.max = hb.Incarnation, hb.Sequence, now, min(hb.Max, MaxSlots)
	n.heard = true
	out := Outcome{Joined: !same, At: n.at}
	t.takeVolumes(now, n, hb, &out)
	t.recount(n)
	return out, nil
}

// takeVolumes takes in the copies of a heartbeat.
func (t *Tree) takeVolumes(now time.Time, n *node, hb *wire.Heartbeat, out *Outcome) {
	if hb.Full {
		n.round++
	}
	var crowded []*layout
	for i := range hb.Volumes {
		info := &hb.Volumes[i]
		if conflict := t.put(n, info, n.round); conflict != nil {
			out.Conflicts = append(out.Conflicts, *conflict)
			continue
		}
		id := blob.VolumeID(info.ID)
		delete(n.settled, id)
		if r := n.volumes[id]; r != nil && r.volume.crowded && !slices.Contains(crowded, r.volume.layout) {
			crowded = append(crowded, r.volume.layout)
		}
	}
	for _, id := range hb.Gone {
		t.forget(n, blob.VolumeID(id))
	}
	if hb.Full {
		t.dropUnnamed(now, n)
	}
	for _, l := range crowded {
		if l.writables > 0 && l.crowded == l.writables {
			out.Crowded = append(out.Crowded, l.key)
		}
	}
}

// dropUnnamed forgets the copies that the full heartbeat just taken in did not name.
func (t *Tree) dropUnnamed(now time.Time, n *node) {
	for id, r := range n.volumes {
		if r.round == n.round {
			continue
		}
		if since, ok := n.settled[id]; ok && now.Sub(since) < expiryPulses*t.cfg.Pulse {
			continue
		}
		t.dropReplica(r)
	}
	for id, s := range n.strays {
		if s.round != n.round {
			t.dropStray(n, id)
		}
	}
}

// forget drops whatever copy a server has of a volume.
func (t *Tree) forget(n *node, id blob.VolumeID) {
	if n.strays[id] != nil {
		t.dropStray(n, id)
	}
	if r := n.volumes[id]; r != nil {
		t.dropReplica(r)
	}
}

// Forget drops the copy that a server has of a volume, because it was told to delete it.
func (t *Tree) Forget(id blob.VolumeID, url string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[url]; n != nil {
		t.forget(n, id)
		t.recount(n)
	}
}
