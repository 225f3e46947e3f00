package replication

import (
	"runtime"
	"sync"
	"testing"
)

// pairNet is two servers with one volume, whose messages arrive at once, but for those that are held back.
type pairNet struct {
	t      *testing.T
	now    Instant
	groups map[Server]*Group
	leases map[Server]*Leases
	held   []Message // MsgResign of b, on their way
	asked  []Config
}

func (n *pairNet) carry(from Server, effects []Effect) {
	for _, e := range append([]Effect(nil), effects...) {
		switch e.Kind {
		case EffectSend:
			if e.Message.Kind == MsgResign {
				n.held = append(n.held, e.Message)
				continue
			}
			m := e.Message
			m.Bytes = make([]byte, m.Size)
			n.carry(e.To, n.groups[e.To].Receive(from, m, n.now))
		case EffectWrite:
			n.groups[from].Whole(e.Offset + int64(len(e.Bytes)))
			n.carry(from, n.groups[from].AllPersisted(n.now))
		case EffectConfigure:
			n.asked = append(n.asked, e.Config)
		}
	}
}

func (n *pairNet) letters(from Server, ls []Letter) {
	for _, l := range ls {
		to := l.To
		n.letters(to, n.leases[to].Receive(from, l.Message, n.now, func(volumeID) {
			n.carry(to, n.groups[to].Uncovered(from, n.now))
		}))
	}
}

func (n *pairNet) tick() {
	n.now += simLease / 10
	for _, s := range []Server{"a", "b"} {
		n.letters(s, n.leases[s].Tick(n.now))
		n.carry(s, n.groups[s].Tick(n.now))
	}
}

// TestResignationThatComesLate: a follower that could not note down an epoch resigns in it, and then begins anew in it. Who
// hears late that it had resigned leaves it out, but only when what it was promised since has run out.
func TestResignationThatComesLate(t *testing.T) {
	n := &pairNet{t: t, now: 100 * simLease, groups: map[Server]*Group{}, leases: map[Server]*Leases{}}
	one := Config{Epoch: 1, Primary: "a", Members: []Server{"a"}, Copies: 2}
	two := Config{Epoch: 2, Primary: "a", Members: []Server{"a", "b"}, Copies: 2}
	for _, s := range []Server{"a", "b"} {
		n.leases[s] = NewLeases(1<<20, Times{Lease: simLease}, 0)
	}
	history := History{{1, LogStart}}
	n.groups["a"] = NewGroup(7, "a", n.leases["a"], Durable{Config: one, Complete: 1, History: history}, Origin{}, 1000, true, n.now)
	kept := Durable{Config: one, History: history} // b's: it is being made a member
	b := NewGroup(7, "b", n.leases["b"], kept, Origin{}, 1000, false, n.now)
	n.groups["b"] = b
	n.tick()

	b.Configured(two, n.now) // the save fails, so that nothing of what follows is done
	for _, e := range b.Failed(n.now) {
		if e.Kind == EffectSend && e.Message.Kind == MsgResign {
			n.held = append(n.held, e.Message) // a is busy with its disk, and hears that later
		}
	}
	n.now += simLease
	effects, done := b.Restart(kept, Origin{}, 1000, 1000, n.now)
	if !done || len(n.held) == 0 {
		t.Fatal(done, n.held)
	}
	n.carry("b", effects)
	n.carry("a", n.groups["a"].Configured(two, n.now))
	for range 10 {
		n.tick()
	}
	if !b.Readable(n.now) || !n.groups["a"].Readable(n.now) {
		t.Fatalf("not in sync: %+v %+v", n.groups["a"].Status(), b.Status())
	}

	n.carry("a", n.groups["a"].Receive("b", n.held[0], n.now))
	for range 40 {
		if len(n.asked) > 0 {
			n.carry("a", n.groups["a"].Configured(n.asked[0], n.now))
		}
		if n.groups["a"].Accepts(false) == nil && len(n.groups["a"].Status().Config.Members) == 1 {
			if b.Readable(n.now) {
				t.Errorf("a leads %+v, and takes deletes; b, which is left out, still answers reads", n.asked[0])
			}
			return
		}
		n.tick()
	}
	t.Error("a does not go on alone")
}

// TestNothingIsPromisedToWhomANewLifeLeavesOut: a server that comes back, and had asked for a configuration without
// another one, promises that one nothing in between.
func TestNothingIsPromisedToWhomANewLifeLeavesOut(t *testing.T) {
	two := Config{Epoch: 1, Primary: "a", Members: []Server{"a", "b"}, Copies: 2}
	alone := Config{Epoch: 2, Primary: "a", Members: []Server{"a"}, Copies: 2}
	kept := Durable{Config: two, Complete: 1, History: History{{1, LogStart}}, Asked: &alone}
	leases := NewLeases(1<<20, Times{Lease: simLease}, 0)
	now := 100 * simLease
	g := NewGroup(7, "a", leases, kept, Origin{}, 1000, false, now)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for seq := uint64(1); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			ask := LeaseMessage{Kind: LeaseAsk, Life: 1, Seq: seq, Listed: true, Claims: []Claim{{7, 1}}}
			for _, l := range leases.Receive("b", ask, now, nil) {
				if l.Message.Granted && len(l.Message.Except) == 0 {
					t.Error("b is promised something, though it is asked for a configuration without it")
					return
				}
			}
			runtime.Gosched()
		}
	})
	for range 20_000 {
		g.Failed(now)
		if _, done := g.Restart(kept, Origin{}, 1000, 1000, now); !done {
			t.Fatal("not done")
		}
	}
	close(stop)
	asking.Wait()
}
