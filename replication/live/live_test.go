package live

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/replication"
	"weed/storage"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the primary has answered is read from every member.
func TestPutsAndDeletesAreEverywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	a, b, d := c.servers["a"], c.servers["b"], c.servers["c"]
	c.settled("a", "b", "c")
	must(t, a.put(1, "one"))
	must(t, a.put(2, strings.Repeat("two", 600<<10)))
	c.want(1, "one", a, b, d)
	c.want(2, strings.Repeat("two", 600<<10), a, b, d)
	must(t, a.put(1, "uno"))
	must(t, a.delete(2))
	c.want(1, "uno", a, b, d)
	c.want(2, "", a, b, d)
	if err := a.delete(2); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a second delete: %v", err)
	}
	if err := b.put(3, "three"); !errors.Is(err, replication.ErrNotPrimary) {
		t.Errorf("a put on a follower: %v", err)
	}
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 40 {
				if err := a.put(blob.Key(100+w), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				c.want(blob.Key(100+w), fmt.Sprint(i), []*server{a, b, d}[(w+i)%3])
			}
		})
	}
	group.Wait()
	c.wantAlike(a, b, d)
	c.eventually("rest", func() bool {
		return a.replica().rest.Load() == resting && b.replica().rest.Load() == resting && d.replica().rest.Load() == resting
	})
	must(t, a.put(4, "after the rest"))
	c.want(4, "after the rest", d, b, a)
}

// A follower that dies is left out: deletes go on, puts do not. When it comes back it has what it missed.
func TestFollowerDiesAndComesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	c.settled("a", "b", "c")
	must(t, a.put(1, "one"))
	must(t, a.put(2, "two"))
	disk := c.servers["b"].kill()
	must(t, a.delete(1)) // waits until b is left out
	if err := a.put(3, "three"); !errors.Is(err, replication.ErrCopies) {
		t.Errorf("a put with a copy missing: %v", err)
	}
	c.settled("a", "c")
	b := c.start("b", disk, nil)
	must(t, a.replica().Change("b", "", "", ""))
	c.settled("a", "b", "c")
	c.want(1, "", b, a)
	c.want(2, "two", b, a)
	must(t, a.put(3, "three"))
	c.want(3, "three", b, c.servers["c"])
	c.wantAlike(a, b, c.servers["c"])
}

// When the primary dies, another one decides what was in flight, and the old one comes back as a follower.
func TestPrimaryDiesAndComesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	c.settled("a", "b", "c")
	acked := map[blob.Key]bool{}
	var mu sync.Mutex // guards acked
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 1000 {
				key := blob.Key(1000*w + i + 1)
				if a.put(key, fmt.Sprint(key)) != nil {
					return
				}
				mu.Lock()
				acked[key] = true
				mu.Unlock()
			}
		})
	}
	c.eventually("puts", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acked) > 50
	})
	disk := a.kill()
	group.Wait()
	c.agreed([]replication.Server{"b", "c"}, func(replication.Config) bool { return true })
	leader := c.inForce().Primary
	b, d := c.servers[leader], c.servers[map[replication.Server]replication.Server{"b": "c", "c": "b"}[leader]]
	a = c.start("a", disk, nil)
	must(t, b.replica().Change("a", "", "", ""))
	c.settled(b.name, d.name, "a")
	for key := range acked {
		c.want(key, fmt.Sprint(key), a, b, d)
	}
	must(t, b.put(1, "1 again"))
	c.want(1, "1 again", a, d, b)
	c.wantAlike(a, b, d)
}

// All are killed at once and come back: nothing that was answered is lost, and the same one leads again.
func TestAllDieAndComeBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.settled("a", "b", "c")
	for key := range blob.Key(20) {
		must(t, c.servers["a"].put(key+1, fmt.Sprint(key)))
	}
	disks := map[replication.Server]*vfs.Mem{}
	for _, s := range c.alive() {
		disks[s.name] = s.kill()
	}
	for name, disk := range disks {
		c.start(name, disk, nil)
	}
	c.eventually("a leader", func() bool {
		for _, s := range c.alive() {
			if st := s.replica().Status(); st.Role != replication.Primary || !st.InSync || len(st.Config.Members) < 3 {
				continue
			}
			return true
		}
		return false
	})
	for key := range blob.Key(20) {
		c.want(key+1, fmt.Sprint(key), c.alive()...)
	}
	c.wantAlike(c.alive()...)
}

// A put that asks to be durable is synced on all copies before it is acknowledged, whatever their policy, also if it
// takes several shipments.
func TestDurablePutIsSyncedEverywhere(t *testing.T) {
	t.Parallel()
	c := newClusterThatSyncs(t, storage.SyncNever, "a", "b", "c")
	c.settled("a", "b", "c")
	for i, data := range [][]byte{[]byte("durable"), bytes.Repeat([]byte("long "), 1<<20)} {
		key := blob.Key(2*i + 1)
		must(t, c.servers["a"].put(key, "may be lost"))
		must(t, c.servers["a"].v.PutDurable(&storage.Needle{Key: key + 1, Cookie: cookie, Data: data}))
		for _, s := range c.alive() {
			if left := s.datOn(s.disk.Image(vfs.LoseUnsynced, nil)); !bytes.Contains(left, data) {
				t.Errorf("%s would lose what it was told to keep: it has %d bytes", s.name, len(left))
			}
		}
	}
}

// A primary that is cut off from the others serves nothing once they may go on without it.
func TestPrimaryIsCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	c.settled("a", "b", "c")
	must(t, a.put(1, "old"))
	c.separate("a", "b", true)
	c.separate("a", "c", true)
	c.mu.Lock()
	c.mute = true
	c.mu.Unlock()
	// Without masters nothing changes but that a, alone, is not sure of itself.
	c.eventually("a is unsure", func() bool { return !a.replica().Readable() })
	if err := a.put(2, "two"); !errors.Is(err, storage.ErrOutcomeUnknown) && !errors.Is(err, storage.ErrUnsettled) {
		t.Errorf("a put that nobody can settle: %v", err)
	}
	if err := a.delete(77); !errors.Is(err, storage.ErrUnsettled) {
		t.Errorf("a delete of what is not here, on a copy that may be stale: %v", err)
	}
	c.separate("a", "b", false)
	c.separate("a", "c", false)
	c.mu.Lock()
	c.mute = false
	c.mu.Unlock()
	c.eventually("all in sync", func() bool {
		n := 0
		for _, s := range c.alive() {
			if st := s.replica().Status(); st.InSync && s.replica().Readable() {
				n++
			}
			if st := s.replica().Status(); st.Role == replication.Primary && len(st.Config.Members) < 3 {
				for _, name := range []replication.Server{"a", "b", "c"} {
					must(t, s.replica().Change(name, "", "", ""))
				}
			}
		}
		return n == 3
	})
	c.want(1, "old", c.alive()...)
	found := map[string]bool{}
	for _, s := range c.alive() {
		got, err := s.get(2)
		must(t, err)
		found[got] = true
	}
	if len(found) != 1 {
		t.Errorf("an unknown outcome differs: %v", found)
	}
}

// A new server gets the log and becomes a member, another is dropped, a third leads: what moves and drains do.
func TestMembersChange(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	a := c.servers["a"]
	c.settled("a", "b")
	big := strings.Repeat("0123456789", 300<<10)
	must(t, a.put(1, big))
	must(t, a.put(2, "two"))
	d := c.start("d", vfs.NewMem(), nil)
	if st := d.replica().Status(); st.Role != replication.Outside {
		t.Errorf("a new server is %v", st.Role)
	}
	must(t, a.replica().Change("d", "", "", ""))
	c.settled("a", "b", "d")
	c.want(1, big, d)
	must(t, a.replica().Change("", "", "b", ""))
	c.settled("a", "d")
	b := c.servers["b"]
	c.eventually("b knows", func() bool { return b.replica().Status().Role == replication.Outside })
	if b.replica().Readable() || b.replica().Await(deadline) {
		t.Error("who was dropped is read from")
	}
	must(t, a.replica().Change("", "", "", "d"))
	c.settled("d", "a")
	must(t, d.put(3, "three"))
	c.want(3, "three", a, d)
	c.wantAlike(a, d)
	if err := a.replica().Change("b", "", "", ""); !errors.Is(err, replication.ErrNotPrimary) {
		t.Errorf("an order to a follower: %v", err)
	}
}

// A copy whose disk fails is left out, and the last one is still read from.
func TestDisksFail(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	a, b := c.servers["a"], c.servers["b"]
	c.settled("a", "b")
	must(t, a.put(1, "one"))
	must(t, a.put(5, "five"))
	failing := func(op vfs.Op) error {
		if op.Is("*.dat", vfs.OpWrite, vfs.OpSync) {
			return errors.New("the disk fails")
		}
		return nil
	}
	b.disk.SetFault(failing)
	if err := a.put(2, "two"); !errors.Is(err, replication.ErrCopies) {
		t.Errorf("a put that a copy could not keep: %v", err)
	}
	c.settled("a")
	must(t, a.delete(1))
	c.want(1, "", a)
	c.want(2, "", a)
	a.disk.SetFault(failing)
	if err := a.delete(5); err == nil {
		t.Error("a delete on a disk that fails was answered")
	}
	c.want(1, "", a)
	c.want(5, "five", a)
	a.disk.SetFault(nil)
	b.disk.SetFault(nil)
}

// Closed volumes answer, and keep a replica that serves nothing.
func TestClosedVolume(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	c.settled("a", "b")
	a := c.servers["a"]
	r := a.replica()
	must(t, a.v.Close())
	if st := r.Look(); st.Role != replication.Primary {
		t.Errorf("%+v", st)
	}
	if err := r.Change("d", "", "", ""); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("an order: %v", err)
	}
	c.eventually("noticed", func() bool {
		_, err := a.node.Open(a.v, nil)
		return errors.Is(err, storage.ErrClosed)
	})
	if r.Readable() || a.node.Replica(volume) != r {
		t.Error("who has a closed volume open again would read from it as if it had no copies")
	}
	c.servers["b"].node.Close(volume)
	c.servers["b"].node.Close(volume)
	if c.servers["b"].replica() != nil {
		t.Error("still there")
	}
}

// noRoomForMeta is a full disk that can't keep what the replication has to remember.
func noRoomForMeta(op vfs.Op) error {
	if op.Is("*.meta.tmp", vfs.OpWrite, vfs.OpOpen) {
		return syscall.ENOSPC
	}
	return nil
}

// A primary that can't note down an epoch, or whom it is about to leave out, leads again when its disk has room: nobody
// else could, and no operator is needed.
func TestPrimaryWithoutRoomForItsState(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	a := c.servers["a"]
	c.settled("a", "b")
	must(t, a.put(1, "one"))

	a.disk.SetFault(noRoomForMeta)
	disk := c.servers["b"].kill()
	c.eventually("a can't note down that it leaves b out", func() bool { return a.replica().Look().Failed })
	if a.replica().Readable() {
		t.Error("who may be left out is read from")
	}
	a.disk.SetFault(nil)
	c.settled("a")
	must(t, a.delete(1))
	if err := a.put(2, "two"); !errors.Is(err, replication.ErrCopies) {
		t.Errorf("a put with a copy missing: %v", err)
	}

	b := c.start("b", disk, nil)
	a.disk.SetFault(noRoomForMeta)
	must(t, a.replica().Change("b", "", "", ""))
	c.eventually("b is a member", func() bool { return len(c.inForce().Members) == 2 })
	c.eventually("a can't note down the epoch", func() bool { return a.replica().Look().Failed })
	if b.replica().Readable() || a.replica().Readable() {
		t.Error("an epoch that its primary has not noted down is read from")
	}
	a.disk.SetFault(nil)
	c.settled("a", "b")
	must(t, a.put(2, "two"))
	c.want(1, "", a, b)
	c.want(2, "two", a, b)
	c.wantAlike(a, b)
}

// Neither does one that is alone go on as if it had noted down an epoch.
func TestLonelyPrimaryWithoutRoomForItsState(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	a := c.servers["a"]
	c.settled("a", "b")
	must(t, a.put(1, "one"))
	full := func(op vfs.Op) error {
		if c.inForce().Epoch == 1 { // it may note down that it asks
			return nil
		}
		return noRoomForMeta(op)
	}
	a.disk.SetFault(full)
	c.servers["b"].kill()
	c.eventually("a can't note down that it is alone", func() bool { return a.replica().Look().Failed })
	a.disk.SetFault(nil)
	c.settled("a")
	must(t, a.delete(1))
	c.want(1, "", a)
}

// TestDiskFillsUpWithinABatch: a follower whose disk fills up in the last of several shipments acknowledges none of the bytes
// that it could not write.
func TestDiskFillsUpWithinABatch(t *testing.T) {
	t.Parallel()
	for range 5 {
		c := newCluster(t, "a", "b")
		a, b := c.servers["a"], c.servers["b"]
		c.settled("a", "b")
		room := b.replica().Look().Length + 7<<19
		b.disk.SetFault(func(op vfs.Op) error {
			if op.Is("7.dat", vfs.OpWrite) && op.Offset+int64(op.Len) > room {
				return syscall.ENOSPC
			}
			return nil
		})
		c.mu.Lock()
		c.mute = true // b stays a member
		c.mu.Unlock()
		done := make(chan error, 1)
		go func() { done <- a.put(2, strings.Repeat("x", 15<<18)) }()
		c.eventually("b has failed", func() bool { return b.replica().Look().Failed })
		for range 50 { // each waits for what the other one has sent before
			b.replica().Look()
			a.replica().Look()
		}
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("a put was acknowledged of which b has %d bytes, a %d", len(b.dat()), len(a.dat()))
			}
		default: // it is not decided, as the masters are away
		}
		a.end()
		b.end()
	}
}

// TestPrimaryOnANearlyFullDisk: a primary whose disk takes bytes again, but has less room than is to be kept, answers reads
// and takes deletes.
func TestPrimaryOnANearlyFullDisk(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	a := c.servers["a"]
	c.settled("a", "b")
	must(t, a.put(1, "one"))
	a.disk.SetFault(noRoomForMeta)
	must(t, a.v.SetReadOnly(storage.CauseNoSpace, true))
	c.servers["b"].kill()
	c.eventually("a can't note down that it leaves b out", func() bool { return a.replica().Look().Failed })
	a.disk.SetFault(nil)
	c.settled("a")
	c.want(1, "one", a)
	must(t, a.delete(1))
}
