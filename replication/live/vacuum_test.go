package live

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"weed/internal/blob"
	"weed/replication"
	"weed/storage"
)

// compact has servers compact their copies as the first one does.
func (c *cluster) compact(servers ...*server) storage.Origin {
	c.t.Helper()
	var origin storage.Origin
	c.eventually("compacted", func() bool {
		done, err := servers[0].v.Compact(storage.CompactOptions{})
		origin = done.Origin
		if err != nil && !errors.Is(err, replication.ErrNotYet) {
			c.t.Fatal(err)
		}
		return err == nil
	})
	for _, s := range servers[1:] {
		c.eventually("followed", func() bool {
			_, err := s.v.Compact(storage.CompactOptions{Follow: &origin})
			if err != nil && !errors.Is(err, replication.ErrNotYet) && !errors.Is(err, storage.ErrNotThere) {
				c.t.Fatal(err)
			}
			return err == nil
		})
	}
	return origin
}

// Copies are compacted one after the other while blobs are written, replaced and deleted, and are the same afterwards.
func TestVacuum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.settled("a", "b", "c")
	a, b, d := c.servers["a"], c.servers["b"], c.servers["c"]
	var stop atomic.Bool
	var last [4]atomic.Int64 // of each writer
	var group sync.WaitGroup
	for w := range last {
		group.Go(func() {
			for i := 1; !stop.Load(); i++ {
				must(t, a.put(blob.Key(w+1), fmt.Sprint(i)))
				must(t, a.put(blob.Key(100*i+w), "short-lived"))
				must(t, a.delete(blob.Key(100*i+w)))
				last[w].Store(int64(i))
			}
		})
	}
	for round, order := range [][]*server{{a, b, d}, {a, d, b}, {a, b, d}} {
		c.eventually("written", func() bool { return last[0].Load() > int64(5*round+5) })
		if o := c.compact(order...); o.Skipped == 0 {
			t.Errorf("%+v", o)
		}
	}
	stop.Store(true)
	group.Wait()
	for w := range last {
		c.want(blob.Key(w+1), fmt.Sprint(last[w].Load()), a, b, d)
	}
	c.wantAlike(a, b, d)
	c.compact(a, b, d)
	if n := len(a.dat()); n > 1000 {
		t.Errorf("%d bytes are left of four blobs", n)
	}
	c.wantAlike(a, b, d)
}

// A server that was away while the others compacted what it had not heard of is brought a new log; one that has what
// was compacted gets what is new, and is compacted afterwards.
func TestVacuumWhileAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.settled("a", "b", "c")
	a, b, d := c.servers["a"], c.servers["b"], c.servers["c"]
	for key := range blob.Key(20) {
		must(t, a.put(key+1, "old"))
	}
	c.wantAlike(a, b, d)
	disk := d.kill()
	c.settled("a", "b")
	for key := range blob.Key(19) {
		must(t, a.delete(key+1))
	}
	origin := c.compact(a, b)
	d = c.start("c", disk, nil)
	must(t, a.replica().Change("c", "", "", ""))
	c.settled("a", "b", "c")
	if d.v.Origin() != origin {
		t.Errorf("%+v came back to %+v", origin, d.v.Origin())
	}
	c.want(1, "", a, b, d)
	c.want(20, "old", a, b, d)
	c.wantAlike(a, b, d)

	c.compact(a, b) // which the third has all of
	disk = d.kill()
	c.settled("a", "b")
	must(t, a.delete(20))
	d = c.start("c", disk, nil)
	must(t, a.replica().Change("c", "", "", ""))
	c.settled("a", "b", "c")
	if d.v.Origin() != origin {
		t.Errorf("a copy that lacked nothing of what was compacted has become %+v", d.v.Origin())
	}
	c.compact(a, b, d)
	c.want(20, "", a, b, d)
	c.wantAlike(a, b, d)
}
