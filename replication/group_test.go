package replication

import "testing"

// A server whose disk gets full while it takes up its place in an epoch says so, for the epoch waits for it: nobody
// else would ever leave it out, as it is there and keeps its promises.
func TestNewMemberThatFailsResigns(t *testing.T) {
	g := NewGroup(7, "c", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{}, Origin{}, LogStart, false, 0)
	now := Instant(0)
	three := Config{Epoch: 3, Primary: "a", Members: []Server{"a", "b", "c"}, Copies: 3}
	g.Configured(three, now)
	g.Failed(now)
	told := map[Server]bool{}
	for range 20 {
		now += simLease / 10
		for _, e := range g.Tick(now) {
			if e.Kind == EffectSend && e.Message.Kind == MsgResign && e.Message.Epoch == 3 {
				told[e.To] = true
			}
		}
	}
	if !told["a"] || !told["b"] {
		t.Fatalf("only %v know that it can't go on", told)
	}
	// The one who leads asks for an epoch without it.
	a := NewGroup(7, "a", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{Config: three, Complete: 3}, Origin{}, LogStart, true, 0)
	asked := false
	for range 30 {
		now += simLease / 10
		effects := a.Receive("c", Message{Kind: MsgResign, Epoch: 3, Life: 1 << 20}, now)
		for _, e := range append(effects, a.Tick(now)...) {
			asked = asked || e.Kind == EffectConfigure && !e.Config.Has("c")
		}
	}
	if !asked {
		t.Fatal("it is not left out")
	}
}

// A follower to whom what is committed is no whole record has something else than the others, and serves nothing.
func TestCommittedRecordsAreWhole(t *testing.T) {
	two := Config{Epoch: 3, Primary: "a", Members: []Server{"a", "b"}, Copies: 2}
	g := NewGroup(7, "b", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{Config: two, Complete: 3}, Origin{}, 1000, false, 0)
	g.aligned, g.begun, g.committed, g.serveFrom = true, true, 1000, 500
	for whole, want := range map[int64]bool{600: false, 1000: true} {
		g.Whole(whole)
		if got := g.Status().InSync; got != want {
			t.Errorf("whole up to %d: in sync %v", whole, got)
		}
	}
}
