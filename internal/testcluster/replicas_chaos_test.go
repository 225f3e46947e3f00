package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/internal/testcluster"
)

const (
	chaosServers = 5
	chaosClients = 16
	chaosRound   = 20 * time.Second // how long faults happen to a cluster, before it must be whole again
	// againBound is the time in which every volume takes puts again when the faults are over: elections, heartbeats
	// and leases, several times over.
	againBound = 30 * time.Second
)

// ground is where the servers of a run stand, and what can happen to them there. What is nil can't.
type ground struct {
	place func() testcluster.Place
	disk  string // a small disk
	// cut loses every packet from one address to another until it is healed.
	cut  func(from, to string) (heal func())
	slow func(to string, kilobits int) (heal func(), err error)
}

// TestReplicasChaos lets faults happen to replicated volumes while clients use a few blobs in all ways. Each blob is
// a register: all answers of all servers fit one order of what the clients did. Then the faults end, and by
// themselves all volumes take puts again, and their copies are the same.
func TestReplicasChaos(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for began := time.Now(); ; seed++ {
		for _, fsync := range []string{"always", "never"} {
			t.Run(fmt.Sprintf("fsync=%s/seed=%d", fsync, seed), func(t *testing.T) { replicasRound(t, seed, fsync) })
		}
		if time.Since(began).Minutes() >= *chaosMinutes || t.Failed() {
			return
		}
	}
}

func replicasRound(t *testing.T, seed uint64, fsync string) {
	random := rand.New(rand.NewPCG(seed, uint64(len(fsync))))
	repairDelay := "10m"
	if seed%2 == 1 {
		repairDelay = "3s" // copies are made again elsewhere while faults happen
	}
	flips, garbage := seed%3 != 0, "0.3"
	if seed%3 == 1 {
		garbage = "1" // no vacuum
	}
	g := newGround(t)
	c := testcluster.New(t)
	var places []testcluster.Place
	var list []string
	for range 3 {
		at := g.place()
		places, list = append(places, at), append(list, at.Addr)
	}
	for _, at := range places {
		c.StartMasterAt(at, "-peers="+strings.Join(list, ","), "-repairDelay="+repairDelay, "-garbageThreshold="+garbage)
	}
	c.WaitLeader(c.Masters...)
	n := &nemesis{t: t, c: c, ground: g, random: random, down: make(map[*testcluster.Server]bool),
		lost: make(map[[2]*testcluster.Server]int), heals: make(map[[2]*testcluster.Server]func())}
	for i := range chaosServers {
		flags := []string{"-fsync=" + fsync, "-max=20", "-scrubMBps=1000"}
		if i == 0 && g.disk != "" {
			flags = append(flags, "-dir="+g.disk)
		}
		v := c.StartVolumeAt(g.place(), flags...)
		if i == 0 && g.disk != "" {
			v.Dir, n.small = g.disk, v
		}
	}
	c.WaitWritable()

	l := &registerLoad{t: t, c: c}
	for i, replication := range []string{"001", "002", "001", "002"} {
		l.volumes = append(l.volumes, newBlobs(t, c, fmt.Sprintf("c%d", i), replication))
	}
	if flips {
		n.volumes = l.volumes
	}
	l.began, n.began = time.Now(), time.Now()
	t.Cleanup(func() { n.report(l) })
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range chaosClients {
		own := rand.New(rand.NewPCG(seed, uint64(100+i)))
		wg.Go(func() { l.run(ctx, i, own) })
	}
	round := chaosRound
	if *chaosMinutes == 0 {
		round /= 2
	}
	n.run(round)
	stop()
	n.heal()
	healed := time.Now()
	wg.Wait()
	for _, b := range l.volumes {
		l.takesPuts(b)
	}
	if took := time.Since(healed); took > againBound {
		t.Errorf("all volumes take puts again %v after the faults", took)
	} else {
		n.note("all volumes take puts again")
	}
	l.readEverywhere()
	n.allMended()
	for _, b := range l.volumes {
		for _, h := range b.used {
			if err := h.check(); err != nil {
				t.Error(err)
			}
		}
	}
	l.compare()
	events, used := 0, 0
	for _, b := range l.volumes {
		for _, h := range b.used {
			used, events = used+1, events+len(h.events)
		}
	}
	t.Logf("faults in seconds from %s on:\n%s", n.began.Format(time.StampMicro), strings.Join(n.journal, "\n"))
	t.Logf("-chaos.seed=%d: %d faults, %d of them flipped bits, %d blobs, %d operations: %d done, %d failed, %d unknown", seed, n.faults, n.damages,
		used, events,
		l.counts[done].Load(), l.counts[failed].Load(), l.counts[unknown].Load())
}

// newBlobs makes a volume in a collection of its own, and has fids assigned to it.
func newBlobs(t *testing.T, c *testcluster.Cluster, collection, replication string) *blobs {
	t.Helper()
	query := "collection=" + collection + "&replication=" + replication
	b := &blobs{copies: 1 + int(replication[2]-'0')}
	testcluster.WaitFor(t, "a volume of "+collection, func() error {
		return testcluster.Do(http.MethodGet, c.Masters[0].URL("/vol/grow?count=1&"+query), "").Want(http.StatusOK)
	})
	testcluster.WaitFor(t, "fids of "+collection, func() error {
		a := testcluster.Do(http.MethodGet, c.Masters[0].URL("/dir/assign?count=10000&"+query), "")
		if err := a.Want(http.StatusOK); err != nil {
			return err
		}
		b.first = a.Field(t, "fid")
		b.volume, _, _ = strings.Cut(b.first, ",")
		return b.find(c)
	})
	return b
}

// find asks a master who the members are, which must be as many as are wanted.
func (b *blobs) find(c *testcluster.Cluster) error {
	at, err := locations(c.Masters[0], b.volume)
	if err == nil && len(at) != b.copies {
		err = fmt.Errorf("volume %s is at %v", b.volume, at)
	}
	b.members = nil
	for _, v := range c.Volumes {
		if slices.Contains(at, v.Addr) {
			b.members = append(b.members, v)
		}
	}
	return err
}

// takesPuts waits until a volume has all its copies and takes puts through each of them, and these stay its members.
func (l *registerLoad) takesPuts(b *blobs) {
	l.t.Helper()
	for before := []*testcluster.Server(nil); before == nil || !slices.Equal(before, b.members); {
		testcluster.WaitFor(l.t, "volume "+b.volume+" has all its copies", func() error { return b.find(l.c) })
		before = b.members
		for _, v := range b.members {
			testcluster.WaitFor(l.t, "volume "+b.volume+" takes puts at "+v.Addr, func() error {
				h := b.fresh()
				l.put(chaosClients, h, v, nil, testcluster.Patience)
				if last := h.events[len(h.events)-1]; last.result != done {
					return errors.New(last.say)
				}
				return nil
			})
		}
		testcluster.WaitFor(l.t, "volume "+b.volume+" has all its copies still", func() error { return b.find(l.c) })
	}
}

// readEverywhere gets every blob from every member, which must have it or know that it is not there.
func (l *registerLoad) readEverywhere() {
	l.t.Helper()
	var wg sync.WaitGroup
	for _, b := range l.volumes {
		for i, v := range b.members {
			wg.Go(func() {
				reader := chaosClients + 1 + i
				for _, h := range b.used {
					// A member that is sent away from has just been left out, by a machine that is too busy for leases.
					for deadline := time.Now().Add(againBound); !l.get(reader, h, v, nil, testcluster.Patience) || h.lastOf(reader).sent(); {
						if time.Now().After(deadline) {
							l.t.Errorf("%s can't be read from %s: %v", h.fid, v.Addr, h.lastOf(reader))
							return
						}
					}
				}
			})
		}
	}
	wg.Wait()
}

// lastOf returns the last event of a client.
func (h *history) lastOf(client int) (last event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.client == client {
			last = e
		}
	}
	return last
}

// compare stops all volume servers, and wants the copies to be the same, and the index of each to say what its log
// says.
func (l *registerLoad) compare() {
	l.t.Helper()
	for _, b := range l.volumes {
		waitSame(l.t, b.log(l.t)+".dat", b.members...)
	}
	for _, v := range l.c.Volumes {
		if code := v.Term(); code != 0 {
			l.t.Errorf("%s: exit code %d", v.Addr, code)
		}
	}
	// Those that were left out may end with what nobody has decided on, and so may the others: a put that a network has kept for
	// seconds may still come, and its outcome have been on the way when the servers were stopped.
	for _, b := range l.volumes {
		for _, v := range b.members {
			base := filepath.Join(v.Dir, b.log(l.t))
			scanCopy(l.t, base, decidedLog(l.t, base))
		}
	}
}

// log returns the name of the volume's log, without the suffix.
func (b *blobs) log(t *testing.T) string {
	t.Helper()
	names := files(t, b.members[0].Dir, "*_"+b.volume+".dat")
	if len(names) != 1 {
		t.Fatalf("volume %s on %s: %v", b.volume, b.members[0].Addr, names)
	}
	return strings.TrimSuffix(names[0], ".dat")
}

// report writes what people need who look for the cause of a failure.
func (n *nemesis) report(l *registerLoad) {
	if !n.t.Failed() {
		return
	}
	n.t.Logf("what happened, in seconds from %s on:\n%s", n.began.Format(time.StampMicro), strings.Join(n.journal, "\n"))
	dir, err := os.MkdirTemp("", "weed-chaos-")
	if err != nil {
		n.t.Error(err)
		return
	}
	keep := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			n.t.Error(err)
		}
	}
	keep("faults.txt", strings.Join(n.journal, "\n"))
	for i, s := range append(append([]*testcluster.Server{}, n.c.Masters...), n.c.Volumes...) {
		keep(fmt.Sprintf("%02d-%s.log", i, strings.ReplaceAll(s.Addr, ":", "-")), s.Log())
	}
	for _, b := range l.volumes {
		for _, h := range b.used {
			var text strings.Builder
			for _, e := range h.events {
				fmt.Fprintln(&text, e)
			}
			keep(h.fid+".history", text.String())
		}
		for _, v := range b.members {
			for _, name := range files(n.t, v.Dir, "*_"+b.volume+".*") {
				keep(strings.ReplaceAll(v.Addr, ":", "-")+"-"+name, string(read(n.t, filepath.Join(v.Dir, name))))
			}
		}
	}
	n.t.Logf("the logs of the servers, all histories and the volumes are kept in %s", dir)
}
