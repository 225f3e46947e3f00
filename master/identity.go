package master

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// maxFormer bounds the earlier lives of a server that are remembered.
const maxFormer = 4

// identities tell a server that was restarted from two servers that report as one address. After a restart the
// earlier process is heard of no more, except for what was under way. Of two processes each goes on: the one that
// was taken for an earlier life answers when it is asked to send everything.
type identities struct {
	mu        sync.Mutex
	byAddress map[string]*identity
}

// identity is who reports as an address.
type identity struct {
	life
	seen   time.Time // when it was heard of last
	former []life    // those that it has followed, the last one last
	// disputedUntil ends three pulses after another process was refused the address: until then any other is, as
	// long as the present one is heard of.
	disputedUntil time.Time
}

// life is one process that reports as an address.
type life struct {
	incarnation uint64
	holds       int    // copies that the records name, in its last full heartbeat
	asked       uint64 // the heartbeat on which a former life was asked for everything; 0 for none
}

// verdict is what becomes of a heartbeat.
type verdict int

const (
	believed verdict = iota
	asked            // it is not taken in: its sender has to send everything
	refused          // another server has the address
)

// judge decides on a heartbeat of a server that holds so many copies on record, which counts for full ones. found
// is true when it shows for the first time that there are two servers.
func (ids *identities) judge(hb *wire.Heartbeat, holds int, now time.Time, patience time.Duration) (v verdict, found bool) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.byAddress == nil {
		ids.byAddress = map[string]*identity{}
	}
	id := ids.byAddress[hb.URL]
	switch {
	case hb.Leaving:
		if id != nil && id.incarnation == hb.Incarnation {
			delete(ids.byAddress, hb.URL)
		}
		return believed, false // a goodbye of another process does nothing
	case id != nil && id.incarnation == hb.Incarnation:
		id.seen = now
		if hb.Full {
			id.holds = holds
		}
		return believed, false
	case id == nil || now.Sub(id.seen) >= patience:
		ids.byAddress[hb.URL] = &identity{life: life{incarnation: hb.Incarnation, holds: holds}, seen: now}
		return believed, false
	case now.Before(id.disputedUntil):
		id.disputedUntil = now.Add(patience)
		return refused, false
	}
	i := slices.IndexFunc(id.former, func(l life) bool { return l.incarnation == hb.Incarnation })
	if i < 0 {
		id.follow(life{incarnation: hb.Incarnation, holds: holds}, now)
		return believed, false
	}
	if earlier := &id.former[i]; earlier.asked == 0 || hb.Sequence <= earlier.asked || !hb.Full {
		if earlier.asked == 0 {
			earlier.asked = hb.Sequence
		}
		return asked, false
	}
	id.disputedUntil = now.Add(patience)
	if id.holds > holds { // the address came to the wrong one first, as it may after a change of leaders
		return refused, true
	}
	id.former, id.life, id.seen = nil, life{incarnation: hb.Incarnation, holds: holds}, now
	return believed, true
}

// follow makes another process the present one.
func (id *identity) follow(next life, now time.Time) {
	id.former = append(id.former, life{incarnation: id.incarnation, holds: id.holds})
	if len(id.former) > maxFormer {
		id.former = id.former[1:]
	}
	id.life, id.seen = next, now
}

// identify judges a heartbeat. The error is errTwoServers.
func (t *term) identify(hb *wire.Heartbeat) (v verdict, err error) {
	patience := silentPulses * t.cfg.Pulse
	v, found := t.identities.judge(hb, t.holdsOnRecord(hb), t.deps.Now(), patience)
	if found {
		t.log.Error("two volume servers report as one address: one of them is refused", "server", hb.URL,
			"do", "give each its own -ip and -port")
	}
	if v == refused {
		return v, fmt.Errorf("%w %s: give each volume server its own -ip and -port. If the other one has just been stopped, "+
			"this one is taken in %s after that", errTwoServers, hb.URL, patience)
	}
	return v, nil
}

// holdsOnRecord counts the copies of a full heartbeat that its server holds according to the records.
func (t *term) holdsOnRecord(hb *wire.Heartbeat) (n int) {
	if !hb.Full {
		return 0
	}
	for i := range hb.Volumes {
		v, ok := t.machine.Volume(blob.VolumeID(hb.Volumes[i].ID))
		if ok && slices.Contains(v.Members, state.ServerID(hb.URL)) {
			n++
		}
	}
	return n
}

// warnOfSharing tells the log when clients are sent to one address for two servers.
func (t *term) warnOfSharing(at *topology.Location) {
	for s := range t.machine.View().Servers() {
		other := string(s.ID)
		if other != at.URL && t.tree.Serves(other) &&
			(s.PublicURL == at.PublicURL || other == at.PublicURL || s.PublicURL == at.URL) {
			t.log.Warn("two volume servers have one public address: clients find only one of them", "server", at.URL,
				"publicUrl", at.PublicURL, "other", other, "otherPublicUrl", s.PublicURL, "do", "give each its own -publicUrl")
			return
		}
	}
}
