package topology

import (
	"time"

	"weed/internal/blob"
)

// maxGrace bounds Grace.
const maxGrace = 10 * time.Minute

// Grace is the time that a volume of a ttl is given at its end: so long before the last blob in it expires no fids of it
// are given out any more, and so long after that it is kept. It is a tenth of the ttl, at most ten minutes.
func Grace(ttl time.Duration) time.Duration { return min(ttl/10, maxGrace) }

// Aged is a volume in which every blob has expired.
type Aged struct {
	ID         blob.VolumeID
	Primary    string // URL of the server that leads
	ModifiedAt int64  // unix seconds of the last append
}

// Age takes volumes of a ttl that nobody has written to for nearly so long out of those that take blobs, puts others
// back, and returns those that are over at a time: their ttl has passed since their last append, and Grace. A volume that
// was never written to does not age; one of which the primary has not reported in sync is not over.
func (t *Tree) Age(now time.Time) (over []Aged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, v := range t.mortal {
		ttl := v.layout.key.TTL.Duration()
		last := v.modifiedAt()
		age := now.Sub(time.Unix(last, 0))
		if ending := last != 0 && age >= ttl-Grace(ttl); ending != v.ending {
			v.ending = ending
			t.settleState(v)
		}
		if !v.ending || !v.open || age < ttl+Grace(ttl) || len(v.copies) == 0 {
			continue
		}
		first := v.copies[v.primaryIndex()]
		led := v.members == nil || first.node.at.URL == v.members[0]
		if led && first.node.heard && first.counts() {
			over = append(over, Aged{ID: id, Primary: first.node.at.URL, ModifiedAt: first.modifiedAt})
		}
	}
	return over
}

// modifiedAt is the time of the last append that any copy reports, in unix seconds, 0 for none.
func (v *volume) modifiedAt() (last int64) {
	for _, r := range v.copies {
		last = max(last, r.modifiedAt)
	}
	return last
}

// noteMortal keeps t.mortal in line with a volume's layout.
func (t *Tree) noteMortal(v *volume) {
	if v.layout.key.TTL.IsZero() {
		delete(t.mortal, v.id)
		v.ending = false
		return
	}
	t.mortal[v.id] = v
}
